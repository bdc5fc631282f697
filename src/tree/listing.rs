//! Listings: a tree as text, and the difference of two.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use super::{Detail, Folder, Item, Tree, What, visit_folder};
use crate::layer::index::{escape, unescape};

/// The text: `PATH KIND MODE …`, a line a path.
pub(super) fn listing(root: &Folder, detail: Detail) -> String {
    let mut text = String::new();
    let mut first_names: HashMap<u64, Vec<u8>> = HashMap::new();
    let mut line = |path: &[u8], item: &Item| -> Result<(), std::convert::Infallible> {
        escape(path, &mut text);
        text.push(' ');
        what(item, &mut text);
        let _ = write!(text, " {:04o}", item.mode(detail));
        if detail == Detail::Whole {
            whole(item, &mut text);
        }
        if detail >= Detail::Packed && matches!(item.what, What::File(_)) {
            let first = first_names.entry(item.stamp.inode).or_insert_with(|| path.to_vec());
            if first != path {
                text.push_str(" same-as ");
                escape(first, &mut text);
            }
        }
        text.push('\n');
        Ok(())
    };
    let Ok(()) = visit_folder(root, &mut Vec::new(), &mut line);
    text
}

fn what(item: &Item, text: &mut String) {
    let _ = match &item.what {
        What::Folder(_) => write!(text, "folder"),
        What::File(digest) => write!(text, "file {digest}"),
        What::Symlink(target) => {
            text.push_str("link ");
            escape(target, text);
            Ok(())
        }
        What::Fifo => write!(text, "fifo"),
        What::Character(major, minor) => write!(text, "character {major}:{minor}"),
        What::Block(major, minor) => write!(text, "block {major}:{minor}"),
    };
}

fn whole(item: &Item, text: &mut String) {
    let _ = write!(text, " {}:{} {}", item.owner.0, item.owner.1, item.stamp.mtime.div_euclid(1_000_000_000));
    for (name, value) in &item.xattrs {
        text.push_str(" xattr ");
        escape(name, text);
        text.push('=');
        escape(value, text);
    }
}

/// A path that differs between two listings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The path, relative, lossy.
    pub path: String,
    /// What the old listing says of it, if it has it.
    pub was: Option<String>,
    /// What the new listing says of it, if it has it.
    pub now: Option<String>,
}

/// The paths that differ between the listing `old` and the tree, in order.
pub fn changes(old: &str, new: &Tree) -> Vec<Change> {
    let text = new.listing();
    let (was, now) = (by_path(old), by_path(&text));
    let paths = was.keys().chain(now.keys()).collect::<std::collections::BTreeSet<_>>();
    paths
        .into_iter()
        .filter(|path| was.get(*path) != now.get(*path))
        .map(|path| Change {
            path: String::from_utf8_lossy(&unescape(path).unwrap_or_default()).into_owned(),
            was: was.get(path).map(|text| text.to_string()),
            now: now.get(path).map(|text| text.to_string()),
        })
        .collect()
}

fn by_path(listing: &str) -> BTreeMap<&str, &str> {
    listing.lines().filter_map(|line| line.split_once(' ')).collect()
}
