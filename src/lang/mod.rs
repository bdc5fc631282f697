//! The language, knowing no particular word.
//!
//! Text becomes a tree of plain nodes with places ([`raw`]); a table of [`Word`]s says which nodes, arguments and
//! properties there are; [`check()`] holds one against the other, reports every fault at once, and leaves only what is
//! right: a tree of [`Node`]s whose values have been read, once, into their types.
//!
//! The same table feeds the schema, the manual, completion and the decoders, so they cannot disagree.

pub mod guard;
pub mod syntax;
pub mod raw;
pub mod value;
pub mod field;
pub mod word;
pub mod node;
pub mod check;

pub use check::{Scope, check};
pub use field::{Field, Form};
pub use node::{Node, Spanned};
pub use value::{Owner, Share, Value};
pub use word::{Child, Word};
