//! Accounts: the numbers of users and groups that an image's own `/etc/passwd` and `/etc/group` give to names.

use std::collections::HashMap;

use super::entry::Entry;
use super::merge::Merged;
use super::path::EntryPath;
use crate::lang::value::Id;

/// Names and numbers as passwd(5) and group(5) state them.
#[derive(Debug, Default)]
pub struct Accounts {
    users: HashMap<String, u32>,
    groups: HashMap<String, u32>,
}

/// A name that the image does not know.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownAccount {
    /// `user` or `group`.
    pub what: &'static str,
    /// The name.
    pub name: String,
    /// A path that is to belong to it.
    pub path: EntryPath,
    /// The names that there are.
    pub known: Vec<String>,
}

impl Accounts {
    /// Reads the texts of `/etc/passwd` and `/etc/group`; lines that make no sense are passed over, as libc does.
    pub fn read(passwd: &[u8], group: &[u8]) -> Accounts {
        Accounts { users: numbers(passwd), groups: numbers(group) }
    }

    /// Puts numbers for all names of `merged`.
    ///
    /// # Errors
    ///
    /// The first name that there is no number for.
    pub fn resolve(&self, merged: &mut Merged) -> Result<(), UnknownAccount> {
        merged.nodes_mut().try_for_each(|node| self.resolve_entry(&mut node.entry))
    }

    fn resolve_entry(&self, entry: &mut Entry) -> Result<(), UnknownAccount> {
        number(&mut entry.owner.user, "user", &self.users, &entry.path)?;
        number(&mut entry.owner.group, "group", &self.groups, &entry.path)
    }
}

fn number(
    id: &mut Id,
    what: &'static str,
    known: &HashMap<String, u32>,
    path: &EntryPath,
) -> Result<(), UnknownAccount> {
    let Id::Name(name) = id else { return Ok(()) };
    match known.get(name) {
        Some(number) => *id = Id::Number(*number),
        None => {
            let mut names: Vec<String> = known.keys().cloned().collect();
            names.sort();
            return Err(UnknownAccount { what, name: name.clone(), path: path.clone(), known: names });
        }
    }
    Ok(())
}

/// `name:password:number:…`, a line each; the first line of a name counts.
fn numbers(text: &[u8]) -> HashMap<String, u32> {
    let mut known = HashMap::new();
    for line in String::from_utf8_lossy(text).lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(_), Some(Ok(number))) =
            (fields.next(), fields.next(), fields.next().map(str::parse))
        {
            known.entry(name.to_string()).or_insert(number);
        }
    }
    known
}
