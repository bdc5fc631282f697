//! Words: what a node may be called and what may stand in it, declared once.

use super::field::Field;

/// A word of the language.
///
/// The checker, the decoders, the schema, completion and the manual all read this declaration. Keep `example` a whole,
/// small manifest text: a test checks and decodes it, and it stands in the manual as it is.
#[derive(Debug)]
pub struct Word {
    /// The node's name; for a kind (`output "tar"`), the kind's.
    pub name: &'static str,
    /// One line, without a full stop.
    pub summary: &'static str,
    /// Markdown: what it does, and what a newcomer would ask.
    pub docs: &'static str,
    /// A manifest that uses it.
    pub example: &'static str,
    /// Arguments in their order.
    pub arguments: &'static [Field],
    /// What any further arguments are; none allowed without it.
    pub rest: Option<Field>,
    /// Properties.
    pub properties: &'static [Field],
    /// What properties of any other name are (`when SETUP="ipv6"`); none allowed without it.
    pub free_properties: Option<Field>,
    /// Words that may stand in its block.
    pub children: &'static [Child],
    /// What any other node in its block is; none allowed without it. Each name may stand there once.
    pub free_children: Option<&'static Word>,
    /// What a node's own name says, for a word that stands where names are free (`curl` in `packages`).
    ///
    /// Such a word has no fixed name in a manifest: `name` is only what help calls it, and decoders read the node's name
    /// as they read any other field, by the name that is declared here.
    pub own_name: Option<Field>,
    /// Kinds that the first argument chooses from (`output "tar"`); a kind adds its own fields and children.
    pub kinds: Option<fn() -> Vec<&'static Word>>,
}

impl Word {
    /// A word without fields or children, to be filled in with `..Word::BARE`.
    pub const BARE: Word = Word {
        name: "",
        summary: "",
        docs: "",
        example: "",
        arguments: &[],
        rest: None,
        properties: &[],
        free_properties: None,
        children: &[],
        free_children: None,
        own_name: None,
        kinds: None,
    };

    /// The kinds, if the first argument chooses one.
    pub fn kinds(&self) -> Vec<&'static Word> {
        self.kinds.map(|list| list()).unwrap_or_default()
    }
}

/// A word in a block.
#[derive(Clone, Copy, Debug)]
pub struct Child {
    /// The word.
    pub word: &'static Word,
    /// Whether it may stand there more than once.
    pub many: bool,
    /// Whether it must stand there.
    pub required: bool,
}

impl Child {
    /// A word that may stand any number of times.
    pub const fn many(word: &'static Word) -> Child {
        Child { word, many: true, required: false }
    }

    /// A word that may stand once.
    pub const fn once(word: &'static Word) -> Child {
        Child { word, many: false, required: false }
    }
}
