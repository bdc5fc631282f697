//! Files that name scripts, one a line, in the order in which they run: mkve's `hooks-lists/HYPERVISOR`.
//!
//! mkve (of ALT Linux) takes the lines as they are. Here blank lines and what follows a `#` at the beginning of a line
//! or behind a blank mean nothing, and a line that cannot be a script's name is a fault.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fault::{Fault, Faults, Place, Source};
use crate::lang::Spanned;
use crate::wording;

/// More faults of one file help nobody.
const MOST_FAULTS: usize = 10;

/// The names in the order of the file; what is wrong with its lines goes to `faults`.
///
/// A name that stands there twice counts once, where it stands first, and is warned of: mkve would run it twice, which
/// nobody means.
pub fn names(source: &Arc<Source>, faults: &mut Faults) -> Vec<Spanned<String>> {
    let before = faults.list.len();
    let mut names: Vec<Spanned<String>> = Vec::new();
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    for line in lines(source).filter_map(without_comment) {
        if faults.list.len() - before >= MOST_FAULTS {
            faults.push(gave_up(&line));
            break;
        }
        if let Some(fault) = misnamed(&line) {
            faults.push(fault);
            continue;
        }
        if let Some(first) = seen.get(&line.value) {
            faults.push(doubled(&line, first));
            continue;
        }
        seen.insert(line.value.clone(), line.place.clone());
        names.push(line);
    }
    names
}

/// The lines that are not blank, without the blanks around what is in them.
pub(crate) fn lines(source: &Arc<Source>) -> impl Iterator<Item = Spanned<String>> {
    let mut start = 0;
    source.text.split_inclusive('\n').filter_map(move |line| {
        let here = start;
        start += line.len();
        let at = here + (line.len() - line.trim_start().len());
        let text = line.trim();
        let place = Place::new(source, at..at + text.len());
        (!text.is_empty()).then(|| Spanned::new(text.to_string(), &place))
    })
}

fn without_comment(line: Spanned<String>) -> Option<Spanned<String>> {
    let mut before = ' ';
    let comment = line.value.char_indices().find(|(_, letter)| {
        let begins = *letter == '#' && before.is_whitespace();
        before = *letter;
        begins
    });
    let text =
        line.value.get(..comment.map_or(line.value.len(), |(at, _)| at)).unwrap_or_default().trim_end();
    let place = Place::new(&line.place.source, line.place.start..line.place.start + text.len());
    (!text.is_empty()).then(|| Spanned::new(text.to_string(), &place))
}

fn misnamed(line: &Spanned<String>) -> Option<Fault> {
    let text = &line.value;
    let shown = wording::printable(text);
    let fault = |message: String, label: &str, help: &str| {
        Some(Fault::error("hooks/order", message).at(&line.place, label).help(help))
    };
    if text.contains(char::is_whitespace) {
        return fault(
            format!("`{shown}` is more than one name"),
            "one name belongs here",
            "write one name a line; `#` begins a comment",
        );
    }
    if text.contains('/') || text == "." || text == ".." {
        return fault(
            format!("`{shown}` is a path"),
            "a name belongs here",
            "write the script's name alone: it is looked for in the folders of hooks",
        );
    }
    if text.contains(char::is_control) {
        return fault(
            format!("`{shown}` is no name of a script"),
            "there is a control character in it",
            "write one name a line; `#` begins a comment",
        );
    }
    None
}

fn doubled(line: &Spanned<String>, first: &Place) -> Fault {
    Fault::warning("hooks/order-twice", format!("`{}` stands here twice", line.value))
        .at(&line.place, "left out")
        .at(first, "it runs here")
        .help("take one of the lines out")
}

fn gave_up(line: &Spanned<String>) -> Fault {
    Fault::error("hooks/order", format!("gave up after {MOST_FAULTS} faults"))
        .at(&line.place, "not read from here on")
        .help("is this a list of scripts?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_the_order_of_the_file_with_their_places() {
        let text = "# hooks\nvery-simple-hook\n\n  03-chkconfig_ssh\t# on\r\n01-a#b\n";
        let mut faults = Faults::new();
        let names = names(&Source::new("hooks-lists/kvm", text), &mut faults);
        assert!(faults.list.is_empty(), "{faults:#?}");
        let told: Vec<String> = names.iter().map(|name| format!("{} {}", name.place, name.value)).collect();
        assert_eq!(
            told,
            [
                "hooks-lists/kvm:2 very-simple-hook",
                "hooks-lists/kvm:4 03-chkconfig_ssh",
                "hooks-lists/kvm:5 01-a#b",
            ]
        );
        assert!(names.iter().all(|name| name.place.text() == name.value));
    }

    #[test]
    fn what_is_no_name_is_a_fault_and_a_second_time_is_a_warning() {
        let mut faults = Faults::new();
        let names = names(&Source::new("l", "a b\n../x\na\u{7}\nc\nc\n"), &mut faults);
        assert_eq!(names.iter().map(|name| name.value.as_str()).collect::<Vec<_>>(), ["c"]);
        let told: Vec<&str> = faults.list.iter().map(|fault| fault.message.as_str()).collect();
        assert_eq!(
            told,
            [
                "`a b` is more than one name",
                "`../x` is a path",
                "`a\u{fffd}` is no name of a script",
                "`c` stands here twice"
            ]
        );
    }

    #[test]
    fn a_file_that_is_no_list_is_given_up() {
        let mut faults = Faults::new();
        assert!(names(&Source::new("l", "a b\n".repeat(100)), &mut faults).is_empty());
        assert_eq!(faults.list.len(), MOST_FAULTS + 1);
    }
}
