//! Wishes from several places made into one for each package.

use crate::deb::Wish;
use crate::fault::{Fault, Faults};
use crate::lang::Spanned;

/// `more` with each package once, without what `below` asks for already.
///
/// What one leaves open, another fills in; where two contradict each other, that is a fault and the first one counts.
pub fn merge(below: &[Wish], more: Vec<Wish>, faults: &mut Faults) -> Vec<Wish> {
    let mut merged: Vec<Wish> = Vec::new();
    for wish in more {
        if let Some(first) = below.iter().find(|first| first.name.value == wish.name.value) {
            faults.extend(contradiction(first, &wish));
            continue;
        }
        match merged.iter_mut().find(|first| first.name.value == wish.name.value) {
            None => merged.push(wish),
            Some(first) => match contradiction(first, &wish) {
                Some(fault) => faults.push(fault),
                None => {
                    first.version = first.version.take().or(wish.version);
                    first.suite = first.suite.take().or(wish.suite);
                    first.hold |= wish.hold;
                }
            },
        }
    }
    merged
}

/// `wishes`, but for those that `stronger` says something of, and then `stronger`.
pub fn over(mut wishes: Vec<Wish>, stronger: Vec<Wish>) -> Vec<Wish> {
    wishes.retain(|wish| !stronger.iter().any(|other| other.name.value == wish.name.value));
    wishes.extend(stronger);
    wishes
}

fn contradiction(first: &Wish, again: &Wish) -> Option<Fault> {
    let differs = |one: &Option<Spanned<String>>, other: &Option<Spanned<String>>| match (one, other) {
        (Some(one), Some(other)) => one.value != other.value,
        _ => false,
    };
    let name = &first.name.value;
    let message = if first.out != again.out {
        format!("`{name}` is asked for and left out")
    } else if differs(&first.version, &again.version) {
        format!("`{name}` is asked for in two versions")
    } else if differs(&first.suite, &again.suite) {
        format!("`{name}` is asked for from two suites")
    } else {
        return None;
    };
    Some(
        Fault::error("packages/contradiction", message)
            .at(&again.name.place, "here")
            .at(&first.name.place, "otherwise here")
            .help("keep one of them; an image's own block is stronger than its lists"),
    )
}
