//! The manual: a page a word for the terminal, and all of them as one Markdown document.

mod flow;
mod markdown;
mod page;
mod plain;

use super::find::find;
use super::words::words;
use crate::fault::Fault;

/// The page that `imgbuild help WORD` shows, for a terminal of eighty columns; see [`find`] for what `path` may be.
///
/// # Errors
///
/// No word, or more than one, is called so.
pub fn word(path: &str) -> Result<String, Fault> {
    let found = find(path)?;
    Ok(plain::page(&found.topic, &found.others, &words()))
}

/// The reference manual of the manifest, in Markdown.
pub fn reference() -> String {
    markdown::reference(&words())
}

#[cfg(test)]
mod tests;
