//! From what somebody typed behind `help` to the word that was meant.

use super::words::{Topic, words};
use crate::fault::Fault;
use crate::wording;

/// The word that was meant.
#[derive(Clone, Debug)]
pub struct Found {
    /// The word.
    pub topic: Topic,
    /// Other words that are called the same, further inside a manifest.
    pub others: Vec<Topic>,
}

/// The word that `typed` names: `output tar`, `output/tar`, `output "tar"`, or `cpio` where there is only one.
///
/// Names follow the way through a manifest (`hypervisor output tar`), beginning at any word.
///
/// # Errors
///
/// No word, or more than one, is called so; the fault says what there is.
pub fn find(typed: &str) -> Result<Found, Fault> {
    let all = words();
    let separates = |letter: char| letter.is_whitespace() || "/\"".contains(letter);
    let names: Vec<&str> = typed.split(separates).filter(|name| !name.is_empty()).collect();
    let mut candidates = walk(&all, &names);
    // A word at the top of a manifest has no longer name that would tell it apart.
    candidates.sort_by_key(|topic| topic.path != names);
    match candidates.as_slice() {
        [] => Err(unknown(&all, &names)),
        [topic, others @ ..] if others.is_empty() || topic.path == names => {
            Ok(Found { topic: topic.clone(), others: others.to_vec() })
        }
        _ => Err(ambiguous(&candidates, &names)),
    }
}

/// Every word that these names lead to, each step into a block or to a kind.
fn walk(all: &[Topic], names: &[&str]) -> Vec<Topic> {
    let Some((first, rest)) = names.split_first() else { return Vec::new() };
    let mut reached: Vec<&Topic> = all.iter().filter(|topic| topic.name() == *first).collect();
    for name in rest {
        let follows = |topic: &&Topic| reached.iter().any(|outer| leads(outer, topic));
        reached = all.iter().filter(|topic| topic.name() == *name).filter(follows).collect();
    }
    reached.into_iter().cloned().collect()
}

fn leads(outer: &Topic, inner: &Topic) -> bool {
    match inner.kind_of {
        Some(word) => outer.is(word),
        None => {
            let mut words = outer.children().map(|child| child.word).chain(outer.free_children());
            words.any(|word| inner.is(word))
        }
    }
}

fn ambiguous(candidates: &[Topic], names: &[&str]) -> Fault {
    let typed = names.join(" ");
    let titles = candidates.iter().map(|topic| topic.title.as_str());
    Fault::error("help/ambiguous", format!("more than one word is called `{typed}`"))
        .help(format!("say {}", wording::either(titles)))
}

fn unknown(all: &[Topic], names: &[&str]) -> Fault {
    let Some((last, outer)) = names.split_last() else {
        return Fault::error("help/unknown", "help on which word?").help(top(all));
    };
    let message = format!("no word of a manifest is called `{}`", wording::printable(&names.join(" ")));
    let help = near(all, last, outer).or_else(|| holders(all, last)).unwrap_or_else(|| top(all));
    Fault::error("help/unknown", message).help(help)
}

/// Words whose names are near; of those that the names before lead to, any.
fn near(all: &[Topic], last: &str, outer: &[&str]) -> Option<String> {
    let outers = walk(all, outer);
    let inside = |topic: &&Topic| outers.iter().any(|outer| leads(outer, topic));
    let within: Vec<&Topic> = all.iter().filter(inside).collect();
    if let Some(name) = wording::nearest(last, within.iter().map(|topic| topic.name())) {
        return titles(within.iter().filter(|topic| topic.name() == name).copied());
    }
    let name = match all.iter().any(|topic| topic.name() == last) {
        true => last,
        false => wording::nearest(last, all.iter().map(|topic| topic.name()))?,
    };
    titles(all.iter().filter(|topic| topic.name() == name))
}

fn titles<'a>(topics: impl Iterator<Item = &'a Topic>) -> Option<String> {
    Some(format!("did you mean {}?", wording::either(topics.map(|topic| topic.title.as_str()))))
}

/// Words that have a property or an argument of that name.
fn holders(all: &[Topic], name: &str) -> Option<String> {
    let has = |topic: &&Topic| topic.word.properties.iter().any(|field| field.name == name);
    let holders: Vec<&str> = all.iter().filter(has).map(|topic| topic.title.as_str()).collect();
    (!holders.is_empty()).then(|| format!("it is a property of {}", wording::all(holders)))
}

fn top(all: &[Topic]) -> String {
    let names = all.iter().filter(|topic| topic.path.len() == 1).map(Topic::name);
    format!("a manifest is made of {}", wording::all(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(typed: &str) -> String {
        find(typed).map_or_else(
            |fault| format!("{fault}; {}", fault.help.as_deref().unwrap_or_default()),
            |found| found.topic.path.join("/"),
        )
    }

    #[test]
    fn a_word_is_found_by_any_part_of_its_way() {
        for typed in ["cpio", "output cpio", "output/cpio", "output \"cpio\"", "image hypervisor output cpio"]
        {
            assert_eq!(found(typed), "image/output/cpio");
        }
        assert_eq!(found("hypervisor when"), "image/hypervisor/when");
        assert_eq!(found("image when when"), "image/when");
    }

    #[test]
    fn every_word_is_found_by_its_title_alone() {
        for topic in words() {
            assert_eq!(found(&topic.title), topic.path.join("/"));
        }
    }

    #[test]
    fn what_is_not_one_word_gets_a_way_out() {
        assert_eq!(found("tar"), "more than one word is called `tar`; say `base tar` or `output tar`");
        assert_eq!(found("include"), "include", "at the top, it has no longer name");
        assert_eq!(find("include").expect("found").others[0].title, "overlay include");
        assert_eq!(found("overlya"), "no word of a manifest is called `overlya`; did you mean `overlay`?");
        assert_eq!(
            found("output tra"),
            "no word of a manifest is called `output tra`; did you mean `output tar`?"
        );
        assert_eq!(
            found("compression"),
            "no word of a manifest is called `compression`; it is a property of `output tar`, `output cpio`, \
             `output oci`, `output squashfs`, `output erofs` and `output qcow2`"
        );
        assert!(found("zebra").contains("`overlay`, `packages-list`, `hook-list`"));
        assert!(found(" ").starts_with("help on which word?; a manifest is made of `variable`"));
    }
}
