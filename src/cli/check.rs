//! `imgbuild check`: what is wrong with the manifest.

use super::exit::Exit;
use super::session::Session;
use crate::fault::Faults;
use crate::manifest::{self, Texts};
use crate::plan::Graph;
use crate::resolve::Resolved;
use crate::store::Access;
use crate::wording;

/// Reads the manifest and says everything that is wrong with it; builds nothing.
pub fn run(session: &Session) -> Result<Exit, Faults> {
    let said = session.said()?;
    let path = session.manifest_path();
    let store = session.store(Access::Look).ok();
    let texts = Texts::load(&path, &said.folders, store.as_ref());
    let read = manifest::read(&texts, &said);
    let mut faults = read.faults;
    let graph =
        read.manifest.as_ref().and_then(|manifest| faults.keep(Graph::of(manifest, &Resolved::default())));
    if !faults.list.is_empty() || session.tells_programs() {
        return Ok(session.report(faults));
    }
    let (images, targets) = match (&read.manifest, &graph) {
        (Some(manifest), Some(graph)) => (manifest.images.len(), graph.targets.len()),
        _ => (0, 0),
    };
    session.terminal.tell(&format!(
        "{}: nothing is wrong ({}, {})\n",
        path.display(),
        wording::count(images, "image"),
        wording::count(targets, "target")
    ));
    Ok(Exit::Done)
}
