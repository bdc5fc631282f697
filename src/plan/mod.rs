//! The plan: what a manifest means. Which steps there are and what they stand on ([`graph`]), what state each is in
//! ([`judge()`]), and why ([`cause`]). Nothing is written and no program is started.

pub mod cause;
pub mod graph;
pub mod judge;
mod overlap;
mod hooks;
mod packages;
pub mod select;

pub use cause::Cause;
pub use graph::{Graph, StepId, Target, Task, Work};
pub use judge::{Judged, Plan, State, judge};
pub use select::{Wanted, select};
