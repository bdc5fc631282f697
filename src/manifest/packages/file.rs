//! Files that name packages, as other tools' lists do.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::wish_of;
use crate::deb::Wish;
use crate::fault::{Fault, Faults, Place, Source, reason};
use crate::lang::Spanned;
use crate::lang::field::package::is_package;
use crate::lang::syntax;
use crate::wording;

/// Larger files are no lists.
const LARGEST: u64 = 1 << 20;

/// More faults of one file help nobody.
const MOST_FAULTS: usize = 10;

/// What the file at `path` asks for; `shown` is its name in messages, `list` that of the list.
///
/// # Errors
///
/// It cannot be read at all. What is wrong inside it goes to `faults`, with its lines.
pub fn read(path: &Path, shown: &str, list: &str, faults: &mut Faults) -> Result<Vec<Wish>, Fault> {
    let unreadable =
        |why: String| Fault::error("packages-list/read", format!("cannot read `{shown}`: {why}"));
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(reason(&error)))?;
    if !metadata.is_file() {
        return Err(unreadable("it is not a file".into()));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(reason(&error)))?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| unreadable(reason(&error)))?;
    if bytes.len() as u64 > LARGEST {
        return Err(unreadable(format!("it is larger than {}", wording::size(LARGEST))));
    }
    match syntax::from_bytes(shown, bytes) {
        Ok(source) => Ok(wishes(&source, list, faults)),
        Err(unfit) => {
            faults.extend(unfit);
            Ok(Vec::new())
        }
    }
}

fn wishes(source: &Arc<Source>, list: &str, faults: &mut Faults) -> Vec<Wish> {
    let before = faults.list.len();
    let mut wishes = Vec::new();
    for item in items(source) {
        if faults.list.len() - before == MOST_FAULTS {
            faults.push(gave_up(&item));
            break;
        }
        wishes.extend(wish(item, list, faults));
    }
    wishes
}

/// What stands in the text outside comments, between blanks.
fn items(source: &Arc<Source>) -> impl Iterator<Item = Spanned<String>> {
    let mut start = 0;
    let lines = source.text.split_inclusive('\n').map(move |line| {
        let here = start;
        start += line.len();
        (here, line.split('#').next().unwrap_or_default())
    });
    lines.flat_map(move |(start, line)| {
        line.split_whitespace().map(move |item| {
            let at = start + (item.as_ptr() as usize - line.as_ptr() as usize);
            Spanned::new(item.to_string(), &Place::new(source, at..at + item.len()))
        })
    })
}

fn wish(item: Spanned<String>, list: &str, faults: &mut Faults) -> Option<Wish> {
    let (name, version, suite) = match (item.value.split_once('='), item.value.split_once('/')) {
        (Some((name, version)), _) => (name, Some(version), None),
        (None, Some((name, suite))) => (name, None, Some(suite)),
        (None, None) => (item.value.as_str(), None, None),
    };
    if !is_package(name) {
        faults.push(
            Fault::error("packages-list/line", format!("`{}` is not a package", wording::printable(&item.value)))
                .at(&item.place, "a package belongs here")
                .help("a list has names such as `curl`, `curl=8.14.1-2`, `curl/trixie-backports`, `!nano`; `#` begins a comment"),
        );
        return None;
    }
    let spanned = |text: &str| Spanned::new(text.to_string(), &item.place);
    wish_of(spanned(name), version.map(spanned), suite.map(spanned), Some(list), faults)
}

fn gave_up(item: &Spanned<String>) -> Fault {
    Fault::error("packages-list/line", format!("gave up after {MOST_FAULTS} faults"))
        .at(&item.place, "not read from here on")
        .help("is this a list of packages?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_with_the_places_of_its_items() {
        let source =
            Source::new("list", "# tools\ncurl  g++ #more\n\t!nano\r\nnginx=1.26.* vim/sid\nlibc6:i386\n");
        let mut faults = Faults::new();
        let told: Vec<String> = wishes(&source, "l", &mut faults)
            .iter()
            .map(|wish| {
                let part = |part: &Option<Spanned<String>>| {
                    part.as_ref().map_or("-".into(), |part| part.value.clone())
                };
                let out = if wish.out { "!" } else { "" };
                let place = wish.name.place.to_string();
                format!("{place} {out}{} {} {}", wish.name.value, part(&wish.version), part(&wish.suite))
            })
            .collect();
        assert!(faults.list.is_empty(), "{faults:#?}");
        assert_eq!(
            told,
            [
                "list:2 curl - -",
                "list:2 g++ - -",
                "list:3 !nano - -",
                "list:4 nginx 1.26.* -",
                "list:4 vim - sid",
                "list:5 libc6:i386 - -",
            ]
        );
    }

    #[test]
    fn a_file_that_is_no_list_is_given_up() {
        let mut faults = Faults::new();
        assert_eq!(wishes(&Source::new("list", "? ".repeat(100)), "l", &mut faults), []);
        assert_eq!(faults.list.len(), MOST_FAULTS + 1);
    }
}
