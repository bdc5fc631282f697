//! The edge.

pub mod messages;
