//! Which names in a folder are scripts that run, and in which order.
//!
//! - `run-parts`: run-parts(8) of Debian's debianutils, without options: a name of ASCII letters, digits, `_` and `-`,
//!   a file or a link to one, executable; in the order of the names' bytes. (The LSB's namespaces, which allow dots, are
//!   only for those who give it `--lsbsysinit`.)
//! - `dib`: `dib-run-parts` of diskimage-builder: the same names, in the order of `LC_ALL=C sort -n` (POSIX, sort(1)):
//!   by the number that a name begins with, a minus included; names without one count as 0; names of the same number in
//!   the order of their bytes. Names that have a line feed in them are two names to that program; here they do not
//!   count.
//! - `list`: the order is written in a file ([`order`](super::order)); a folder alone is taken as `run-parts` takes it.
//!
//! What does not run is often right as it is: data and helpers stand beside scripts. So each name that is skipped says
//! whether somebody should be told ([`Skipped::is_suspicious`]).

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::fault::Fault;
use crate::wording;

/// Whose way of choosing and ordering scripts is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// A list says which scripts run, in its order.
    List,
    /// Debian's run-parts(8).
    RunParts,
    /// diskimage-builder's `dib-run-parts`.
    Dib,
}

/// A name in a folder and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name's bytes.
    pub name: Vec<u8>,
    /// What it is; of a link, what it leads to.
    pub what: What,
    /// Whether root could execute it: one of its three bits for that is set.
    pub executable: bool,
    /// Whether its first bytes are `#!`.
    pub interpreted: bool,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A file, or a link to one.
    File,
    /// A folder, or a link to one.
    Folder,
    /// A link that leads nowhere.
    Dangling,
    /// A device, a pipe, a socket.
    Other,
}

/// What becomes of the entries of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The names that run, in the order in which they run.
    pub run: Vec<Vec<u8>>,
    /// The names that do not, in the order of their bytes, and why.
    pub skipped: Vec<(Vec<u8>, Skipped)>,
}

/// Why a name is skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// It looks like a script, but its name does not count.
    Name {
        /// A name that would count, run at the same place, and is free.
        better: Option<String>,
        /// Whether it can be executed.
        executable: bool,
    },
    /// It looks like a script and its name counts, but it cannot be executed.
    NotExecutable,
    /// It has a script's name but is a link that leads nowhere.
    Dangling,
    /// It has a script's name but is a device, a pipe or a socket.
    NotAFile,
    /// An older or a newer version of a file, as editors and packages leave them behind.
    Backup,
    /// A folder, or a file of data beside the scripts.
    Helper,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Dialect; 3] = [Dialect::List, Dialect::RunParts, Dialect::Dib];

    /// The words of all of them.
    pub const WORDS: &[&str] = &["list", "run-parts", "dib"];

    /// `run-parts`.
    pub fn word(self) -> &'static str {
        match self {
            Dialect::List => "list",
            Dialect::RunParts => "run-parts",
            Dialect::Dib => "dib",
        }
    }

    /// The dialect of that word.
    pub fn of_word(word: &str) -> Option<Dialect> {
        Dialect::ALL.into_iter().find(|dialect| dialect.word() == word)
    }

    /// How two names follow each other.
    pub fn compare(self, one: &[u8], other: &[u8]) -> Ordering {
        match self {
            Dialect::Dib => Number::leading(one).cmp(&Number::leading(other)).then_with(|| one.cmp(other)),
            Dialect::List | Dialect::RunParts => one.cmp(other),
        }
    }

    /// Whether a script may have this name.
    pub fn counts(self, name: &[u8]) -> bool {
        !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte))
    }

    /// What becomes of the entries of a folder, which may come in any order.
    pub fn select(self, entries: &[Entry]) -> Selection {
        let taken: BTreeSet<&[u8]> = entries.iter().map(|entry| entry.name.as_slice()).collect();
        let mut selection = Selection::default();
        for entry in entries {
            match self.skipped(entry, &taken) {
                Some(why) => selection.skipped.push((entry.name.clone(), why)),
                None => selection.run.push(entry.name.clone()),
            }
        }
        selection.run.sort_by(|one, other| self.compare(one, other));
        selection.skipped.sort_by(|one, other| one.0.cmp(&other.0));
        selection
    }

    fn skipped(self, entry: &Entry, taken: &BTreeSet<&[u8]>) -> Option<Skipped> {
        let counts = self.counts(&entry.name);
        match entry.what {
            What::File if counts && entry.executable => None,
            What::File if counts && entry.interpreted => Some(Skipped::NotExecutable),
            What::Dangling if counts => Some(Skipped::Dangling),
            What::Other if counts => Some(Skipped::NotAFile),
            _ if is_backup(&entry.name) => Some(Skipped::Backup),
            What::File if !counts && (entry.executable || is_numbered_script(&entry.name)) => {
                Some(Skipped::Name { better: self.better(&entry.name, taken), executable: entry.executable })
            }
            _ => Some(Skipped::Helper),
        }
    }

    /// A name that counts and is free: without the ending of a script, and with what does not count left out.
    fn better(self, name: &[u8], taken: &BTreeSet<&[u8]>) -> Option<String> {
        let text = String::from_utf8_lossy(name);
        let stem = SCRIPTS.iter().find_map(|ending| text.strip_suffix(ending)).unwrap_or(&text);
        let whole = text.replace('.', "-");
        let free = |name: &String| self.counts(name.as_bytes()) && !taken.contains(name.as_bytes());
        [stem, &whole].into_iter().map(allowed).find(free)
    }
}

impl Skipped {
    /// Whether it is likely a slip that this does not run.
    pub fn is_suspicious(&self) -> bool {
        !matches!(self, Skipped::Backup | Skipped::Helper)
    }

    /// One sentence on why `shown`, the path of the entry as people would type it, does not run.
    pub fn sentence(&self, shown: &str) -> String {
        let shown = wording::printable(shown);
        match self {
            Skipped::Name { .. } => format!("`{shown}` does not run: its name does not count"),
            Skipped::NotExecutable => format!("`{shown}` does not run: it is not executable"),
            Skipped::Dangling => format!("`{shown}` does not run: it is a link to nothing"),
            Skipped::NotAFile => format!("`{shown}` does not run: it is no file"),
            Skipped::Backup => {
                format!("`{shown}` does not run: it is a copy that an editor or a package left")
            }
            Skipped::Helper => format!("`{shown}` does not run: it is no script"),
        }
    }

    /// What to do about it, where there is something to do.
    pub fn way_out(&self, shown: &str) -> Option<String> {
        let shown = wording::printable(shown);
        match self {
            Skipped::Name { better: Some(better), executable: true } => {
                Some(format!("rename it to `{better}`; {RULE}"))
            }
            Skipped::Name { better: Some(better), executable: false } => {
                Some(format!("rename it to `{better}` and make it executable; {RULE}"))
            }
            Skipped::Name { better: None, .. } => Some(String::from(RULE)),
            Skipped::NotExecutable => Some(format!("`chmod +x {shown}`")),
            Skipped::Dangling => Some(String::from("mend the link or remove it")),
            Skipped::NotAFile => Some(String::from("remove it, or give it a name that is no script's")),
            Skipped::Backup | Skipped::Helper => None,
        }
    }

    /// A warning for what is likely a slip; what is right as it is has none.
    pub fn warning(&self, shown: &str) -> Option<Fault> {
        let warning = || Fault::warning("hooks/skipped", self.sentence(shown));
        self.is_suspicious().then(|| warning().maybe_help(self.way_out(shown)))
    }
}

/// What becomes of the files of an `environment.d`, which a shell reads before the scripts of each phase.
///
/// `dib-run-parts` takes names of ASCII letters, digits, `_`, `.` and `-` (and, by a slip of its expression, `\`),
/// whether executable or not, in the order of their bytes: it does sort by number, but whole paths, which begin alike.
pub fn environment(entries: &[Entry]) -> Selection {
    let counts = |name: &[u8]| {
        !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.-\\".contains(byte))
    };
    let mut selection = Selection::default();
    for entry in entries {
        let name = entry.name.clone();
        match entry.what {
            What::File if counts(&name) => selection.run.push(name),
            What::Dangling if counts(&name) => selection.skipped.push((name, Skipped::Dangling)),
            _ if is_backup(&name) => selection.skipped.push((name, Skipped::Backup)),
            _ => selection.skipped.push((name, Skipped::Helper)),
        }
    }
    selection.run.sort();
    selection.skipped.sort_by(|one, other| one.0.cmp(&other.0));
    selection
}

const RULE: &str = "names of scripts are of ASCII letters, digits, `_` and `-`";

/// What names of scripts end in where an ending is allowed.
const SCRIPTS: &[&str] = &[".sh", ".bash", ".py", ".pl", ".rb"];

/// What names end in, or are, that editors, patch(1), dpkg and rpm leave behind.
const BACKUPS: &[&str] = &[
    "~",
    ".bak",
    ".orig",
    ".rej",
    ".swp",
    ".dpkg-old",
    ".dpkg-dist",
    ".dpkg-new",
    ".dpkg-tmp",
    ".rpmnew",
    ".rpmsave",
    ".rpmorig",
];

fn is_backup(name: &[u8]) -> bool {
    BACKUPS.iter().any(|ending| name.ends_with(ending.as_bytes()))
        || (name.len() > 2 && name.starts_with(b"#") && name.ends_with(b"#"))
}

/// `30-network.sh`: nobody numbers what is not meant to run.
fn is_numbered_script(name: &[u8]) -> bool {
    name.first().is_some_and(u8::is_ascii_digit)
        && SCRIPTS.iter().any(|ending| name.ends_with(ending.as_bytes()))
}

/// What of a name may stand in a script's, with `-` for each dot, blank and unknown letter between what may.
fn allowed(name: &str) -> String {
    let parts = name.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != '-');
    parts.filter(|part| !part.is_empty()).collect::<Vec<&str>>().join("-")
}

/// A whole number of any length, as sort(1) sees it at the beginning of a name.
#[derive(Debug, PartialEq, Eq)]
struct Number<'a> {
    negative: bool,
    /// Without leading zeros; nothing is 0.
    digits: &'a [u8],
}

impl Number<'_> {
    fn leading(name: &[u8]) -> Number<'_> {
        let (minus, rest) = match name {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, name),
        };
        let end = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        let digits = rest.get(..end).unwrap_or_default();
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        let digits = digits.get(zeros..).unwrap_or_default();
        Number { negative: minus && !digits.is_empty(), digits }
    }
}

impl Ord for Number<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let size = |number: &Self| number.digits.len();
        let magnitude = || size(self).cmp(&size(other)).then_with(|| self.digits.cmp(other.digits));
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => magnitude(),
            (true, true) => magnitude().reverse(),
        }
    }
}

impl PartialOrd for Number<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(name: &str) -> Entry {
        Entry { name: name.into(), what: What::File, executable: true, interpreted: true }
    }

    fn order(dialect: Dialect, names: &[&str]) -> Vec<String> {
        let entries: Vec<Entry> = names.iter().map(|name| script(name)).collect();
        let run = dialect.select(&entries).run;
        run.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    fn why(dialect: Dialect, entry: Entry) -> Option<Skipped> {
        dialect.select(&[entry]).skipped.pop().map(|(_, why)| why)
    }

    #[test]
    fn each_dialect_has_its_order() {
        let names = ["a-noprefix", "100-d", "10-a", "9-b", "-5neg", "20_x", "09-c"];
        assert_eq!(
            order(Dialect::Dib, &names),
            ["-5neg", "a-noprefix", "09-c", "9-b", "10-a", "20_x", "100-d"]
        );
        let bytes = ["-5neg", "09-c", "10-a", "100-d", "20_x", "9-b", "a-noprefix"];
        assert_eq!(order(Dialect::RunParts, &names), bytes);
        assert_eq!(order(Dialect::List, &names), bytes);
    }

    #[test]
    fn numbers_may_be_longer_than_any_integer() {
        let names =
            ["18446744073709551617", "18446744073709551616", "-18446744073709551617", "-0", "--9", "00"];
        assert_eq!(
            order(Dialect::Dib, &names),
            ["-18446744073709551617", "--9", "-0", "00", "18446744073709551616", "18446744073709551617"]
        );
    }

    #[test]
    fn what_does_not_count_is_told_apart_from_what_is_merely_beside_scripts() {
        let plain = |name: &str| Entry { executable: false, interpreted: false, ..script(name) };
        let sourced = |name: &str| Entry { executable: false, ..script(name) };
        for dialect in Dialect::ALL {
            let better = |name: &str| Some(String::from(name));
            assert_eq!(
                why(dialect, script("30-net.sh")),
                Some(Skipped::Name { better: better("30-net"), executable: true })
            );
            assert_eq!(
                why(dialect, plain("30-net.sh")),
                Some(Skipped::Name { better: better("30-net"), executable: false })
            );
            assert_eq!(
                why(dialect, script("grüß gott")),
                Some(Skipped::Name { better: better("gr-gott"), executable: true })
            );
            assert_eq!(why(dialect, script("…")), Some(Skipped::Name { better: None, executable: true }));
            assert_eq!(why(dialect, sourced("10-net")), Some(Skipped::NotExecutable));
            assert_eq!(
                why(dialect, Entry { what: What::Dangling, ..plain("10-net") }),
                Some(Skipped::Dangling)
            );
            assert_eq!(why(dialect, Entry { what: What::Other, ..plain("10-net") }), Some(Skipped::NotAFile));
            for helper in [plain("defaults"), plain("my.cnf"), sourced("functions.sh"), plain(".gitkeep")] {
                assert_eq!(why(dialect, helper), Some(Skipped::Helper));
            }
            assert_eq!(why(dialect, Entry { what: What::Folder, ..script("files") }), Some(Skipped::Helper));
            for backup in ["10-a~", "10-a.bak", "10-a.dpkg-old", "#10-a#"] {
                assert_eq!(why(dialect, script(backup)), Some(Skipped::Backup), "{backup}");
            }
            assert_eq!(why(dialect, script("10-net")), None);
        }
    }

    #[test]
    fn a_better_name_is_one_that_is_free() {
        let selection = Dialect::Dib.select(&[script("30-net.sh"), script("30-net")]);
        let (_, why) = &selection.skipped[0];
        assert_eq!(
            why.way_out("install.d/30-net.sh").as_deref(),
            Some("rename it to `30-net-sh`; names of scripts are of ASCII letters, digits, `_` and `-`")
        );
        let all = [script("30-net.sh"), script("30-net"), script("30-net-sh")];
        let (_, why) = &Dialect::Dib.select(&all).skipped[0];
        assert_eq!(why.way_out("x").as_deref(), Some(RULE));
    }

    #[test]
    fn only_a_slip_is_warned_of() {
        assert_eq!(Skipped::Helper.warning("install.d/defaults"), None);
        let fault = Skipped::NotExecutable.warning("install.d/10-net").unwrap();
        assert_eq!(fault.message, "`install.d/10-net` does not run: it is not executable");
        assert_eq!(fault.help.as_deref(), Some("`chmod +x install.d/10-net`"));
    }

    #[test]
    fn an_environment_is_read_in_the_order_of_bytes_and_whatever_its_mode() {
        let file = |name: &str| Entry { executable: false, ..script(name) };
        let entries =
            [file("9-x.bash"), file("10-x.bash"), file("a b"), Entry { what: What::Folder, ..file("d") }];
        let selection = environment(&entries);
        assert_eq!(selection.run, [b"10-x.bash".to_vec(), b"9-x.bash".to_vec()]);
        assert_eq!(selection.skipped.len(), 2);
    }
}
