//! Hooks: what is known of phases, and of other tools' ways with scripts.

mod phase;
mod names;

pub use names::Dialect;
pub use phase::{Phase, Side};
