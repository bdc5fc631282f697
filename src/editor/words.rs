//! The table of words as a list: every word once, in the order in which people read.

use crate::lang::{Child, Field, Word};
use crate::manifest;

/// A word, where it stands in a manifest, and what help calls it.
#[derive(Clone, Debug)]
pub struct Topic {
    /// The word.
    pub word: &'static Word,
    /// The word that it is a kind of: `output` for `output "tar"`.
    pub kind_of: Option<&'static Word>,
    /// Names from the top of a manifest to it, at the first place where it stands.
    pub path: Vec<&'static str>,
    /// What help calls it: the shortest end of its path that is its alone, such as `output tar`.
    pub title: String,
    /// The blocks that it may stand in; of a kind, those of the word that it is a kind of.
    pub standing: Vec<Standing>,
}

/// A block that a word may stand in, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// The word, or the kind, whose block it is; none for the top of a manifest.
    pub within: Option<&'static Word>,
    /// The word as the block declares it.
    pub child: Child,
}

/// Every word and every kind of a manifest once: a word before those that stand in it, and all of a block in the block's
/// order.
///
/// A word that may stand in several blocks is listed under the outermost of them.
pub fn words() -> Vec<Topic> {
    words_of(manifest::words::TOP)
}

/// The words of any other text that may have these at its top, in the same way.
pub fn words_of(top: &'static [Child]) -> Vec<Topic> {
    let mut listing = Listing::default();
    listing.block(top, None, &[]);
    let paths: Vec<Vec<&str>> = listing.topics.iter().map(|topic| topic.path.clone()).collect();
    let standing: Vec<Vec<Standing>> =
        listing.topics.iter().map(|topic| standing(topic, top, &listing.topics)).collect();
    for (topic, standing) in listing.topics.iter_mut().zip(standing) {
        topic.title = title(topic, &paths);
        topic.standing = standing;
    }
    listing.topics
}

impl Topic {
    /// Its name in the manifest: the word, or the kind.
    pub fn name(&self) -> &'static str {
        self.word.name
    }

    /// Whether it is that word, and not only one of the same name.
    pub fn is(&self, word: &'static Word) -> bool {
        std::ptr::eq(self.word, word)
    }

    /// Arguments in their order; a kind's come behind its name.
    pub fn arguments(&self) -> impl Iterator<Item = &'static Field> {
        self.declaring().flat_map(|word| word.arguments)
    }

    /// What any further arguments are.
    pub fn rest(&self) -> Option<&'static Field> {
        self.declaring().find_map(|word| word.rest.as_ref())
    }

    /// Properties, a kind's own first.
    pub fn properties(&self) -> impl Iterator<Item = &'static Field> {
        self.declaring().flat_map(|word| word.properties)
    }

    /// What properties of any other name are.
    pub fn free_properties(&self) -> Option<&'static Field> {
        self.declaring().find_map(|word| word.free_properties.as_ref())
    }

    /// Words that may stand in its block.
    pub fn children(&self) -> impl Iterator<Item = &'static Child> {
        self.declaring().flat_map(|word| word.children)
    }

    /// What any other node in its block is.
    pub fn free_children(&self) -> Option<&'static Word> {
        self.declaring().find_map(|word| word.free_children)
    }

    /// Everything that may have a value in it.
    pub fn fields(&self) -> impl Iterator<Item = &'static Field> {
        self.word
            .own_name
            .iter()
            .chain(self.arguments())
            .chain(self.rest())
            .chain(self.properties())
            .chain(self.free_properties())
    }

    /// The words whose declarations hold for it.
    fn declaring(&self) -> impl Iterator<Item = &'static Word> + use<> {
        [self.word].into_iter().chain(self.kind_of)
    }
}

#[derive(Default)]
struct Listing {
    topics: Vec<Topic>,
    seen: Vec<&'static Word>,
}

impl Listing {
    /// All of a block is claimed before any of it is entered, so that a word stands under its outermost block.
    fn block(&mut self, children: &'static [Child], free: Option<&'static Word>, path: &[&'static str]) {
        let words = children.iter().map(|child| child.word).chain(free);
        let fresh: Vec<_> = words.filter(|word| self.claim(word)).collect();
        for word in fresh {
            self.topic(word, None, path);
        }
    }

    fn claim(&mut self, word: &'static Word) -> bool {
        let fresh = !self.seen.iter().any(|seen| std::ptr::eq(*seen, word));
        if fresh {
            self.seen.push(word);
        }
        fresh
    }

    fn topic(&mut self, word: &'static Word, kind_of: Option<&'static Word>, outer: &[&'static str]) {
        let path = [outer, &[word.name]].concat();
        let standing = Vec::new();
        self.topics.push(Topic { word, kind_of, path: path.clone(), title: String::new(), standing });
        for kind in word.kinds() {
            self.topic(kind, Some(word), &path);
        }
        self.block(word.children, word.free_children, &path);
    }
}

fn standing(topic: &Topic, top: &'static [Child], all: &[Topic]) -> Vec<Standing> {
    let word = topic.kind_of.unwrap_or(topic.word);
    let top = top.iter().map(|child| Standing { within: None, child: *child });
    let blocks = all.iter().flat_map(|outer| {
        let free = outer.word.free_children.map(Child::many);
        let children = outer.word.children.iter().copied().chain(free);
        children.map(|child| Standing { within: Some(outer.word), child })
    });
    top.chain(blocks).filter(|standing| std::ptr::eq(standing.child.word, word)).collect()
}

/// A kind is never called without the word that it is a kind of.
fn title(topic: &Topic, all: &[Vec<&str>]) -> String {
    let last = topic.path.len() - 1 - usize::from(topic.kind_of.is_some());
    let mut ends = (0..=last).rev().filter_map(|start| topic.path.get(start..));
    let alone = |end: &&[&str]| all.iter().filter(|other| other.ends_with(end)).count() == 1;
    ends.find(alone).unwrap_or(&topic.path).join(" ")
}
