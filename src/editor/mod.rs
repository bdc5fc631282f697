//! What the table of words gives to people and to editors: help, a reference manual, a schema.
//!
//! Everything here is told from the same declarations ([`crate::lang::Word`]) that the checker and the decoders read, so
//! that none of it can say what is not so. Nothing here reads a manifest, and nothing here prints.

mod find;
pub mod manual;
pub mod schema;
mod words;

pub use find::{Found, find};
pub use words::{Standing, Topic, words, words_of};

#[cfg(test)]
mod tests;
