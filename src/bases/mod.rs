//! Bases: what an image starts from. A file a kind; [`KINDS`] lists them.

mod archive;
pub mod debian;
mod folder;
mod scratch;

use std::sync::Arc;

use crate::fault::Faults;
use crate::lang::{Node, Word};
use crate::work::{Folders, Step};

/// A kind of base.
#[derive(Debug)]
pub struct Kind {
    /// Its declaration.
    pub word: &'static Word,
    /// The step that makes it; none if the image starts from nothing, or from packages ([`packages`]).
    pub decode: fn(&Node, &Folders) -> Option<Arc<dyn Step>>,
}

/// Every kind of base.
pub static KINDS: &[Kind] = &[debian::DEBIAN, debian::UBUNTU, scratch::KIND, archive::KIND, folder::KIND];

/// `base KIND …`
pub static WORD: Word = Word {
    name: "base",
    summary: "what the image starts from",
    docs: "The lowest layer of an image. Without a `base`, an image starts from nothing, as with `base \"scratch\"`.",
    example: "image \"router\" {\n    base \"tar\" from=\"rootfs.tar.xz\"\n    output \"tar\"\n}\n",
    kinds: Some(|| KINDS.iter().map(|kind| kind.word).collect()),
    ..Word::BARE
};

/// The step of a `base` node; none for `scratch` and for what is not whole.
pub fn decode(node: &Node, folders: &Folders) -> Option<Arc<dyn Step>> {
    let kind = KINDS.iter().find(|kind| node.kind.is_some_and(|word| std::ptr::eq(word, kind.word)))?;
    if node.whole { (kind.decode)(node, folders) } else { None }
}

/// What a `base` node says whose kind is made of packages; none for other kinds and for what is not whole.
pub fn packages(
    node: &Node,
    folders: &Folders,
    defaults: &[debian::Defaults],
    faults: &mut Faults,
) -> Option<debian::Spec> {
    let of_packages = is_of_packages(node);
    if node.whole && of_packages { debian::decode(node, folders, defaults, faults) } else { None }
}

/// Whether a `base` node is of a kind that `packages` can be added to.
pub fn is_of_packages(node: &Node) -> bool {
    let kinds = [debian::DEBIAN.word, debian::UBUNTU.word];
    node.kind.is_some_and(|kind| kinds.iter().any(|word| std::ptr::eq(*word, kind)))
}
