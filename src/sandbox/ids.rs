//! Users and groups of a sandbox: which ids of the host stand behind the ids that its programs know.
//!
//! See user_namespaces(7), newuidmap(1), subuid(5). A map that has more than the caller's own id is written by a process
//! outside of the namespace that it is for, so a helper process is made first, and stays behind.

use std::fs;
use std::io::{self, PipeReader, Read, Write};
use std::process::{Command, Stdio};

use rustix::process::{Pid, WaitOptions, getegid, geteuid, getppid, waitpid};
use rustix::thread::{Gid, Uid, UnshareFlags, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::host_programs::{PATH, resolve_program};
use super::kernel::{self, Forked};
use super::wire::Refusal;

/// The user and the group that a program of the host is, inside. Not root, so that `tar` and `cp` work as they do for
/// people: as root they insist on owners that do not exist here. Always the same, so that a layer does not depend on
/// who built it.
const INSIDE: u32 = 1000;
/// The ids that an image has: 0 to 65535, what Debian's policy and every distribution use.
const IMAGE_IDS: u32 = 65536;

/// Enters a user namespace that knows the caller's ids only, as [`INSIDE`].
pub(super) fn enter_with_one() -> Result<(), Refusal> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    unshare_users()?;
    Refusal::of("set up the user namespace", map_one(user, group))
}

fn unshare_users() -> Result<(), Refusal> {
    Refusal::of("make a user namespace", kernel::unshare(UnshareFlags::NEWUSER))
}

fn map_one(user: u32, group: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{INSIDE} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{INSIDE} {group} 1"))
}

/// Enters a user namespace that knows all the ids of an image, and becomes user 0 in it.
///
/// For root every id stands for itself. For anyone else 0 is the caller, and the others are the ids that this machine
/// has given to the caller in `/etc/subuid` and `/etc/subgid`.
pub(super) fn enter_with_all() -> Result<(), Refusal> {
    let maps = if geteuid().is_root() { Maps::same()? } else { Maps::of_caller()? };
    let (go_read, go) = Refusal::of("make a pipe", io::pipe())?;
    let (mut told, tell) = Refusal::of("make a pipe", io::pipe())?;
    let helper = match Refusal::of("start a process", kernel::fork())? {
        Forked::Child => {
            drop(go);
            drop(told);
            help(&maps, go_read, tell);
        }
        Forked::Parent(helper) => helper,
    };
    drop((go_read, tell));
    let entered = unshare_users();
    if entered.is_ok() {
        // A helper that is gone says nothing, which is noticed below.
        let _ = (&go).write_all(b"go");
    }
    drop(go);
    let mut said = String::new();
    let heard = told.read_to_string(&mut said);
    let _ = waitpid(Some(helper), WaitOptions::empty());
    entered?;
    match (heard, said.strip_suffix("done")) {
        (Ok(_), Some("")) => Refusal::of("become user 0", become_root()),
        _ => Err(maps.refused(said.trim())),
    }
}

fn become_root() -> io::Result<()> {
    set_thread_groups(&[])?;
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    Ok(set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?)
}

/// The helper: waits until its parent is in the new namespace, writes the maps, says how that went, and ends.
fn help(maps: &Maps, mut go: PipeReader, mut tell: impl Write) -> ! {
    let parent = getppid().map(Pid::as_raw_nonzero).map_or(0, |pid| pid.get());
    let mut word = [0; 2];
    if go.read_exact(&mut word).is_ok() {
        let said = maps.write(parent).err().unwrap_or_else(|| "done".into());
        let _ = tell.write_all(said.as_bytes());
    }
    std::process::exit(0)
}

/// Lines of `uid_map` and `gid_map`: the first id inside, the first outside, how many.
type Lines = Vec<[u32; 3]>;

/// The maps of users and of groups.
struct Maps {
    users: Lines,
    groups: Lines,
    /// `newuidmap` and `newgidmap`, for who may not write them.
    programs: Option<[std::path::PathBuf; 2]>,
}

impl Maps {
    /// Every id that this process knows, as itself.
    fn same() -> Result<Maps, Refusal> {
        let read = |file: &str| {
            let text = Refusal::of(format!("read `{file}`"), fs::read_to_string(file))?;
            Ok(identity(&text))
        };
        Ok(Maps { users: read("/proc/self/uid_map")?, groups: read("/proc/self/gid_map")?, programs: None })
    }

    /// The caller as 0, and the caller's further ids.
    fn of_caller() -> Result<Maps, Refusal> {
        let (user, group) = (geteuid().as_raw(), getegid().as_raw());
        let name = user_name(user);
        let shown = name.clone().unwrap_or_else(|| user.to_string());
        let find = |program: &str| {
            resolve_program(program, PATH).ok_or_else(|| {
                Refusal::new(format!("find the program `{program}`"), "it is not installed").help(
                    "install it (Debian: the package `uidmap`; elsewhere `shadow-utils`): it gives a sandbox the \
                     users of an image",
                )
            })
        };
        let lines = |file: &str, own: u32| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let ranges = ranges(&text, name.as_deref(), user);
            map_caller(own, &ranges).ok_or_else(|| {
                let reason = format!("`{file}` gives `{shown}` fewer than {} ids", IMAGE_IDS - 1);
                Refusal::new("give the sandbox the users of an image", reason).help(format!(
                    "give this user ids that nobody else has: `sudo usermod --add-subuids 100000-165535 \
                     --add-subgids 100000-165535 {shown}`"
                ))
            })
        };
        let programs = Some([find("newuidmap")?, find("newgidmap")?]);
        Ok(Maps { users: lines("/etc/subuid", user)?, groups: lines("/etc/subgid", group)?, programs })
    }

    /// Writes the maps of the process `pid`; on failure, a sentence.
    fn write(&self, pid: i32) -> Result<(), String> {
        let Some([users, groups]) = &self.programs else {
            let write = |name: &str, lines: &Lines| {
                let file = format!("/proc/{pid}/{name}");
                fs::write(&file, text(lines)).map_err(|error| crate::fault::reason(&error))
            };
            return write("uid_map", &self.users).and_then(|()| write("gid_map", &self.groups));
        };
        run(users, pid, &self.users).and_then(|()| run(groups, pid, &self.groups))
    }

    fn refused(&self, said: &str) -> Refusal {
        let said = if said.is_empty() { "the process that does it was killed" } else { said };
        let refusal = Refusal::new("give the sandbox the users of an image", crate::wording::printable(said));
        match self.programs {
            None => refusal,
            Some(_) => refusal.help(
                "see that `newuidmap` and `newgidmap` are set-user-ID root or have their file capabilities, and that \
                 `/etc/subuid` and `/etc/subgid` give this user ids of its own",
            ),
        }
    }
}

fn run(program: &std::path::Path, pid: i32, lines: &Lines) -> Result<(), String> {
    let numbers = lines.iter().flatten().map(u32::to_string);
    let done = Command::new(program).arg(pid.to_string()).args(numbers).stdin(Stdio::null()).output();
    match done {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr);
            Err(format!("`{}` said: {}", program.display(), said.lines().next().unwrap_or_default()))
        }
        Err(error) => Err(format!("cannot start `{}`: {}", program.display(), crate::fault::reason(&error))),
    }
}

fn text(lines: &Lines) -> String {
    lines.iter().map(|[inside, outside, count]| format!("{inside} {outside} {count}\n")).collect()
}

/// A map of `/proc`, as one in which every id inside is itself.
fn identity(text: &str) -> Lines {
    let first = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(|word| word.parse::<u32>().ok());
        let (start, _, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some([start, start, count])
    };
    text.lines().filter_map(first).collect()
}

/// The name of a user in `/etc/passwd`.
fn user_name(user: u32) -> Option<String> {
    let accounts = fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = accounts.lines().map(|line| line.split(':'));
    let user = user.to_string();
    fields.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)? == user).then(|| name.to_string())
    })
}

/// The ranges that a file such as `/etc/subuid` gives to a user, by name or by number: the first id, how many.
fn ranges(text: &str, name: Option<&str>, user: u32) -> Vec<(u32, u32)> {
    let user = user.to_string();
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (owner == user || Some(owner) == name).then_some(range)
    };
    text.lines().filter_map(range).collect()
}

/// The caller as 0, then as many ids of the ranges as an image has; none if there are fewer.
fn map_caller(own: u32, ranges: &[(u32, u32)]) -> Option<Lines> {
    let mut lines = vec![[0, own, 1]];
    let mut inside = 1;
    for (start, count) in ranges {
        let count = (*count).min(IMAGE_IDS - inside);
        if count > 0 {
            lines.push([inside, *start, count]);
            inside += count;
        }
    }
    (inside == IMAGE_IDS).then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_gets_all_ids_of_an_image_or_none() {
        let file = "other:1:65536\nme:100000:65536\n1000:300000:10\nme:bad:1\n";
        assert_eq!(ranges(file, Some("me"), 1000), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(ranges(file, None, 1000), [(300_000, 10)]);
        let lines = map_caller(1000, &[(100_000, 65_536)]).unwrap();
        assert_eq!(lines, [[0, 1000, 1], [1, 100_000, 65_535]]);
        let two = map_caller(1000, &[(100_000, 5), (200_000, 70_000)]).unwrap();
        assert_eq!(two, [[0, 1000, 1], [1, 100_000, 5], [6, 200_000, 65_530]]);
        assert_eq!(map_caller(1000, &[(100_000, 65_534)]), None);
    }

    #[test]
    fn root_keeps_the_ids_that_it_has() {
        let map = "         0       1000          1\n         1     100000      65535\n";
        assert_eq!(text(&identity(map)), "0 0 1\n1 1 65535\n");
    }
}
