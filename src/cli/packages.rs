//! Packages on the command line: which there are, what the lock becomes, and what changes with it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::arguments::{Packages, Update};
use super::contract::{PackageAnswer, UpdateAnswer};
use super::exit::Exit;
use super::session::{Project, Session};
use crate::fault::{Fault, Faults};
use crate::lock::{Change, Changes, Lock, Locked};
use crate::plan::Wanted;
use crate::resolve::{Resolved, Set};
use crate::store::Access;
use crate::wording;

/// `imgbuild packages`: what a target's packages are, lowest set first.
pub fn list(session: &Session, asked: &Packages) -> Result<Exit, Faults> {
    let project = session.project(Access::Look)?;
    session.warn(&project.warnings);
    let graph = project.graph()?;
    let wanted = crate::plan::select(&graph, &asked.targets, Wanted::Tests, super::arguments::COMMANDS)?;
    let targets: BTreeSet<usize> =
        wanted.iter().flat_map(|step| graph.task(*step).targets.iter().copied()).collect();
    let named: Vec<&str> = targets
        .iter()
        .filter_map(|target| graph.targets.get(*target))
        .filter(|target| asked.targets.is_empty() || is_named(target, &asked.targets))
        .map(|target| target.name.as_str())
        .collect();
    let mut answers: Vec<PackageAnswer> = Vec::new();
    for target in named {
        for set in project.resolved.sets_of(&project.manifest, target) {
            answers.extend(set.packages.iter().map(|locked| answer(target, &set, locked)));
        }
    }
    let text = if asked.json { json_lines(&answers) } else { table(&answers) };
    session.terminal.answer(&text);
    Ok(Exit::Done)
}

fn is_named(target: &crate::plan::graph::Target, names: &[String]) -> bool {
    let parts = [Some(&target.name), Some(&target.image), target.hypervisor.as_ref()];
    names.iter().any(|name| parts.contains(&Some(name)))
}

fn answer(target: &str, set: &Set, locked: &Locked) -> PackageAnswer {
    PackageAnswer {
        target: target.to_string(),
        name: locked.deb.name.clone(),
        version: locked.deb.version.clone(),
        arch: locked.deb.arch.clone(),
        size: locked.deb.size,
        set: set.name.clone(),
        asked: locked.asked.clone(),
    }
}

fn json_lines<T: serde::Serialize>(answers: &[T]) -> String {
    // Plain data: it can be written.
    let line = |answer: &T| format!("{}\n", serde_json::to_string(answer).unwrap_or_default());
    answers.iter().map(line).collect()
}

fn table(answers: &[PackageAnswer]) -> String {
    let width =
        |of: &dyn Fn(&PackageAnswer) -> usize| answers.iter().map(of).max().unwrap_or_default().min(48);
    let (names, versions) = (width(&|answer| answer.name.len()), width(&|answer| answer.version.len()));
    let mut text = String::new();
    let mut target = "";
    for answer in answers {
        if answer.target != target {
            target = &answer.target;
            let _ = writeln!(text, "{target}");
        }
        let PackageAnswer { name, version, size, asked, .. } = answer;
        let asked = asked.as_ref().map(|asked| format!("for {asked}")).unwrap_or_default();
        let size = wording::size(*size);
        let line = format!("  {name:<names$}  {version:<versions$}  {size:>8}  {asked}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let bytes: u64 = answers.iter().map(|answer| answer.size).sum();
    let _ = writeln!(text, "{}, {}", wording::count(answers.len(), "package"), wording::size(bytes));
    text
}

/// `imgbuild update`: lets versions go, says what changes, and writes the lock.
pub fn update(session: &Session, asked: &Update) -> Result<Exit, Faults> {
    let cancel = super::build::cancelled_by_signals();
    check_names(session, &asked.packages)?;
    let how = session.how_to_resolve(Some(asked.packages.clone()));
    let project = session.project_with(Access::Use, &how, &cancel)?;
    session.warn(&project.warnings);
    let resolved = &project.resolved;
    if resolved.sets.is_empty() {
        let fault = Fault::error("update/nothing", "the manifest asks for no packages");
        return Err(fault.help("a base of packages is `base \"debian\" suite=\"…\"`").into());
    }
    let text = match asked.json {
        true => json_lines(&update_answers(resolved)),
        false => changes(session, resolved, true),
    };
    session.terminal.answer(&text);
    let path = session.lock_path();
    let told = if resolved.changes.is_empty() {
        format!("{}: all packages are the newest there are\n", path.display())
    } else if asked.dry_run {
        format!("{} stays as it is\n", path.display())
    } else {
        resolved.lock.write(&path)?;
        format!("wrote {}; `imgbuild` builds with it\n", path.display())
    };
    session.terminal.tell(&told);
    Ok(Exit::Done)
}

/// A name that no locked package has is a slip.
fn check_names(session: &Session, names: &[String]) -> Result<(), Faults> {
    let lock = Lock::read(&session.lock_path())?.unwrap_or_default();
    let packages = lock.solutions.iter().flat_map(|solution| &solution.packages);
    let known: BTreeSet<&str> = packages.map(|locked| locked.deb.name.as_str()).collect();
    let mut faults = Faults::new();
    for name in names.iter().filter(|name| !known.contains(name.as_str())) {
        let message = format!("the lock has no package `{}`", wording::printable(name));
        let near = wording::nearest(name, known.iter().copied());
        let fault = Fault::error("update/unknown", message);
        faults.push(match near {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault.help("`imgbuild packages` tells which there are"),
        });
    }
    if faults.has_errors() { Err(faults) } else { Ok(()) }
}

/// Writes the lock if it changed, and says what did.
pub fn write_lock(session: &Session, project: &Project) -> Result<(), Faults> {
    let resolved = &project.resolved;
    if resolved.sets.is_empty() {
        return Ok(());
    }
    let path = session.lock_path();
    if resolved.lock.write(&path)? {
        let what = if resolved.first { "wrote" } else { "brought up" };
        let told = changes(session, resolved, false);
        session.terminal.tell(&format!("{told}{what} {}: commit it\n", path.display()));
    }
    Ok(())
}

/// The packages that come, go and change; of a set that is all new only those that were asked for, unless `all`.
pub fn changes(session: &Session, resolved: &Resolved, all: bool) -> String {
    let mut text = String::new();
    for (id, changes) in &resolved.changes {
        let Some(set) = resolved.sets.get(id) else { continue };
        let is_new = changes.list.iter().all(|change| matches!(change, Change::Added(_)));
        let _ = writeln!(text, "{}: {}", session.terminal.bold(&set.name), summary(changes, is_new));
        let asked: BTreeSet<&str> = set
            .packages
            .iter()
            .filter(|locked| locked.asked.is_some())
            .map(|locked| locked.deb.name.as_str())
            .collect();
        let told = |change: &&Change| match change {
            Change::Added(deb) if is_new && !all => asked.contains(deb.name.as_str()) && set.is_on_top,
            _ => true,
        };
        for change in changes.list.iter().filter(told) {
            let _ = writeln!(text, "  {change}");
        }
    }
    text
}

fn summary(changes: &Changes, is_new: bool) -> String {
    let (count, bytes) = changes.total();
    let gone = changes.list.iter().filter(|change| matches!(change, Change::Removed(_))).count();
    let mut parts = Vec::new();
    if count > 0 {
        let what = if is_new { "package" } else { "changed package" };
        parts.push(format!("{}, {}", wording::count(count, what), wording::size(bytes)));
    }
    if gone > 0 {
        parts.push(format!("{gone} removed"));
    }
    parts.join(", ")
}

/// The same for programs.
pub fn update_answers(resolved: &Resolved) -> Vec<UpdateAnswer> {
    let mut answers = Vec::new();
    for (id, changes) in &resolved.changes {
        let set = resolved.sets.get(id).map(|set| set.name.clone()).unwrap_or_default();
        answers.extend(changes.list.iter().map(|change| {
            let (name, was, now) = match change {
                Change::Added(deb) => (&deb.name, None, Some(&deb.version)),
                Change::Removed(deb) => (&deb.name, Some(&deb.version), None),
                Change::Changed { from, to, .. } => (&to.name, Some(&from.version), Some(&to.version)),
            };
            UpdateAnswer { set: set.clone(), name: name.clone(), was: was.cloned(), now: now.cloned() }
        }));
    }
    answers
}
