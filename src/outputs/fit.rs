//! What is said where an image does not fit into the size that is stated.

use std::collections::{BTreeMap, BTreeSet};

use crate::fault::{Fault, Place};
use crate::lang::Spanned;
use crate::layer::Merged;
use crate::wording;

/// The size of a file system is a multiple of this: bytes.
pub const STEP: u64 = 1 << 20;

/// What is wrong where `size` bytes are stated, and a file system with `merged` needs `least`.
pub fn too_small(size: &Spanned<u64>, least: u64, merged: &Merged, place: &Place) -> Option<Fault> {
    if size.value >= least {
        return None;
    }
    // Not rounded: it is to be written there.
    let (told, needed) = (wording::size(size.value), least.div_ceil(STEP));
    let message = format!("the image does not fit into {told}: it needs {needed} MiB");
    let help = match largest(merged) {
        folders if folders.is_empty() => "make it larger".to_string(),
        folders => format!("make it larger; the largest folders are {folders}"),
    };
    let fault = Fault::build("output/too-small", message).at(&size.place, "this size").help(help);
    Some(if size.place == *place { fault } else { fault.at(place, "of this output") })
}

/// The five largest folders, two levels deep, with their sizes.
fn largest(merged: &Merged) -> String {
    let mut sizes: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for node in merged.nodes() {
        let parts: BTreeSet<Vec<u8>> = node
            .entry
            .path
            .parent()
            .into_iter()
            .map(|folder| folder.components().take(2).collect::<Vec<_>>().join(&b'/'))
            .collect();
        parts.into_iter().for_each(|part| *sizes.entry(part).or_default() += node.entry.kind.size());
    }
    let mut sizes: Vec<(Vec<u8>, u64)> = sizes.into_iter().filter(|(_, size)| *size > 0).collect();
    sizes.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let told = |(path, size): &(Vec<u8>, u64)| {
        let path = wording::printable(&String::from_utf8_lossy(path));
        format!("`/{path}` ({})", wording::size(*size))
    };
    sizes.iter().take(5).map(told).collect::<Vec<_>>().join(", ")
}
