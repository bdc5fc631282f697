//! Folders of scripts, read as the tools do that they come from.
use std::path::Path;
use super::{Looking, OfAll};
use crate::fault::Faults;
use crate::lang::Spanned;
use crate::steps::hook::{Hook, ShownFolder};

/// What is said of the folder.
pub(super) struct Said<'a> {
    /// As the manifest states it.
    pub from: &'a Spanned<String>,
    /// Where it is.
    pub path: &'a Path,
    /// Whether all run, whatever becomes of one.
    pub go_on: bool,
    /// Where they start.
    pub directory: Option<ShownFolder>,
}

/// Its hooks.
pub(super) fn hooks(_said: &Said<'_>, _all: &OfAll, _looking: Looking<'_>, _faults: &mut Faults) -> Vec<Hook> {
    Vec::new()
}
