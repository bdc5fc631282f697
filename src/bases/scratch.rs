//! `base "scratch"`: nothing.

use super::Kind;
use crate::lang::Word;

pub(super) const KIND: Kind = Kind { word: &WORD, decode: |_, _| None };

static WORD: Word = Word {
    name: "scratch",
    summary: "nothing: the image is what its overlays bring",
    docs: "The image has no layer but those that it asks for: right for overlay CD-ROMs, initramfs and OCI images that \
           carry one program.",
    example: "image \"overlays\" {\n    base \"scratch\"\n    output \"iso\"\n}\n",
    ..Word::BARE
};
