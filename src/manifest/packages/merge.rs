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
            // What an image says itself is stronger than a list, here as there.
            if wish.list.is_some() && first.list.is_none() {
                continue;
            }
            let help =
                "what a hypervisor asks for goes on top of the image's packages, and leaves them as they are";
            faults.extend(contradiction(first, &wish).map(|fault| fault.help(help)));
            continue;
        }
        match merged.iter_mut().find(|first| first.name.value == wish.name.value) {
            None => merged.push(wish),
            Some(first) => match contradiction(first, &wish) {
                Some(fault) => faults.push(
                    fault.help("keep one of them; what an image says itself is stronger than its lists"),
                ),
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

/// As [`merge`], where what `own` says of a package is stronger than all that `lists` say of it.
pub fn lists_and_own(mut lists: Vec<Wish>, own: Vec<Wish>, faults: &mut Faults) -> Vec<Wish> {
    lists.retain(|wish| !own.iter().any(|other| other.name.value == wish.name.value));
    let mut merged = merge(&[], lists, faults);
    merged.extend(merge(&[], own, faults));
    merged
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
            .at(&first.name.place, "otherwise here"),
    )
}
