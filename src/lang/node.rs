//! Nodes: what was said, checked, each value in its type and with its place.

use super::field::Form;
use super::value::{Owner, Share, Value};
use super::word::Word;
use crate::fault::Place;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

impl<T> Spanned<T> {
    /// A value with its place.
    pub fn new(value: T, place: &Place) -> Spanned<T> {
        Spanned { value, place: place.clone() }
    }

    /// The value made into another, at the same place.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: change(self.value), place: self.place }
    }
}

/// A node that fits its word; what did not fit was reported and left out.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its word.
    pub word: &'static Word,
    /// The kind that its first argument chose, if the word has kinds.
    pub kind: Option<&'static Word>,
    /// From its name to its last entry.
    pub place: Place,
    /// Its name alone.
    pub name: Place,
    /// Whether everything that must be there is there: a node that is not whole defines its name and nothing else.
    pub whole: bool,
    /// Whether every word in its block was known: if not, what seems to be missing may merely be misspelt.
    pub understood: bool,
    /// The values of its fields; a kind's name is not among them.
    pub given: Vec<Given>,
    /// The nodes in its block.
    pub children: Vec<Node>,
}

/// The value of a field.
#[derive(Clone, Debug)]
pub struct Given {
    /// The field's name: the declared one, or the free property's own.
    pub field: String,
    /// Its form.
    pub form: Form,
    /// The value.
    pub value: Spanned<Value>,
}

impl Node {
    /// The text of the field (of any textual form), if given.
    pub fn text(&self, field: &str) -> Option<Spanned<String>> {
        self.texts(field).into_iter().next()
    }

    /// All texts of a field that can be given more than once (further arguments).
    pub fn texts(&self, field: &str) -> Vec<Spanned<String>> {
        self.all(field)
            .filter_map(|value| match &value.value {
                Value::Text(text) => Some(Spanned::new(text.clone(), &value.place)),
                _ => None,
            })
            .collect()
    }

    /// Whether the flag is given and `#true`.
    pub fn flag(&self, field: &str) -> bool {
        self.all(field).any(|value| value.value == Value::Flag(true))
    }

    /// The flag, if given.
    pub fn maybe_flag(&self, field: &str) -> Option<bool> {
        self.all(field).find_map(|value| match value.value {
            Value::Flag(flag) => Some(flag),
            _ => None,
        })
    }

    /// The whole number, if given.
    pub fn integer(&self, field: &str) -> Option<Spanned<i64>> {
        self.all(field).find_map(|value| match value.value {
            Value::Integer(number) => Some(Spanned::new(number, &value.place)),
            _ => None,
        })
    }

    /// The permission bits, if given.
    pub fn mode(&self, field: &str) -> Option<u32> {
        self.all(field).find_map(|value| match value.value {
            Value::Mode(mode) => Some(mode),
            _ => None,
        })
    }

    /// The owner, if given.
    pub fn owner(&self, field: &str) -> Option<Spanned<Owner>> {
        self.all(field).find_map(|value| match &value.value {
            Value::Owner(owner) => Some(Spanned::new(owner.clone(), &value.place)),
            _ => None,
        })
    }

    /// The time in seconds since 1970, if given.
    pub fn time(&self, field: &str) -> Option<i64> {
        self.all(field).find_map(|value| match value.value {
            Value::Time(seconds) => Some(seconds),
            _ => None,
        })
    }

    /// The size in bytes, if given.
    pub fn size(&self, field: &str) -> Option<Spanned<u64>> {
        self.all(field).find_map(|value| match value.value {
            Value::Size(bytes) => Some(Spanned::new(bytes, &value.place)),
            _ => None,
        })
    }

    /// The size or the part, if given.
    pub fn share(&self, field: &str) -> Option<Spanned<Share>> {
        self.all(field).find_map(|value| match value.value {
            Value::Share(share) => Some(Spanned::new(share, &value.place)),
            _ => None,
        })
    }

    /// Properties whose names the word leaves free, in their order.
    pub fn free(&self) -> impl Iterator<Item = (&str, Spanned<String>)> {
        for field in
            std::iter::once(self.word).chain(self.kind).filter_map(|word| word.free_properties.as_ref())
        {
            reads::note(&self.place, field.name);
        }
        self.given.iter().filter(|given| !self.declares(&given.field)).filter_map(|given| {
            match &given.value.value {
                Value::Text(text) => {
                    Some((given.field.as_str(), Spanned::new(text.clone(), &given.value.place)))
                }
                _ => None,
            }
        })
    }

    /// Says of values, here and below, that they stand elsewhere, where `to` knows of a place.
    pub fn moved(&mut self, to: &dyn Fn(&Place) -> Option<Place>) {
        for given in &mut self.given {
            if let Some(place) = to(&given.value.place) {
                given.value.place = place;
            }
        }
        self.children.iter_mut().for_each(|child| child.moved(to));
    }

    /// The children of that word.
    pub fn children(&self, name: &str) -> impl Iterator<Item = &Node> {
        reads::note(&self.place, name);
        self.children.iter().filter(move |child| child.word.name == name)
    }

    /// The children of the word whose nodes have free names.
    pub fn free_children(&self) -> impl Iterator<Item = &Node> {
        let words = std::iter::once(self.word).chain(self.kind);
        let free = words.filter_map(|word| word.free_children).next();
        if let Some(word) = free {
            reads::note(&self.place, word.name);
        }
        self.children.iter().filter(move |child| free.is_some_and(|word| std::ptr::eq(child.word, word)))
    }

    /// The child of that word, if there is one.
    pub fn child(&self, name: &str) -> Option<&Node> {
        self.children(name).next()
    }

    fn all(&self, field: &str) -> impl Iterator<Item = &Spanned<Value>> {
        reads::note(&self.place, field);
        self.given.iter().filter(move |given| given.field == field).map(|given| &given.value)
    }

    fn declares(&self, field: &str) -> bool {
        let fields = |word: &'static Word| {
            word.arguments.iter().chain(&word.rest).chain(word.properties).chain(&word.own_name)
        };
        fields(self.word).chain(self.kind.into_iter().flat_map(fields)).any(|declared| declared.name == field)
    }
}

/// Which fields the decoders read: a test compares it with what is declared.
pub mod reads {
    use crate::fault::Place;

    /// A field, or a word in a block, that a decoder asked a node for, and where that node stands.
    #[cfg(test)]
    pub type Read = (Place, String);

    #[cfg(test)]
    thread_local! {
        static SEEN: std::cell::RefCell<Vec<Read>> = const { std::cell::RefCell::new(Vec::new()) };
    }

    #[cfg(test)]
    pub(super) fn note(node: &Place, field: &str) {
        SEEN.with_borrow_mut(|seen| seen.push((node.clone(), field.to_string())));
    }

    #[cfg(not(test))]
    pub(super) fn note(_node: &Place, _field: &str) {}

    /// What was read on this thread since the last call.
    #[cfg(test)]
    pub fn take() -> Vec<Read> {
        SEEN.with_borrow_mut(std::mem::take)
    }
}
