//! Packages on the command line: what the lock becomes, and what changes with it.

use std::fmt::Write as _;

use super::session::{Project, Session};
use crate::fault::Faults;
use crate::resolve::Resolved;

/// Writes the lock if it changed, and says what did.
pub fn write_lock(session: &Session, project: &Project) -> Result<(), Faults> {
    let resolved = &project.resolved;
    if resolved.sets.is_empty() {
        return Ok(());
    }
    let path = session.lock_path();
    if resolved.lock.write(&path)? {
        let what = if resolved.first { "wrote" } else { "brought up" };
        let told = changes(resolved, &|_| false);
        session.terminal.tell(&format!("{told}{what} {}\n", path.display()));
    }
    Ok(())
}

/// The packages that come, go and change; of a set that is all new, only how many.
pub fn changes(resolved: &Resolved, all: &dyn Fn(&str) -> bool) -> String {
    let mut text = String::new();
    for (name, changes) in &resolved.changes {
        let (count, bytes) = changes.total();
        let is_new = changes.list.iter().all(|change| matches!(change, crate::lock::Change::Added(_)));
        let _ = writeln!(
            text,
            "{name}: {}, {}",
            crate::wording::count(count, if is_new { "new package" } else { "changed package" }),
            crate::wording::size(bytes)
        );
        if is_new && !all(name) {
            continue;
        }
        for change in &changes.list {
            let _ = writeln!(text, "  {change}");
        }
    }
    text
}
