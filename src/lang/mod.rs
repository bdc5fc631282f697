//! The language, knowing no particular word.

pub mod guard;
pub mod syntax;
