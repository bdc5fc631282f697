//! Causes: why a step runs. The root causes, with what was and what is; what merely follows names the step it follows
//! from.

mod packages;

use super::graph::{StepId, Task, Work};
use super::judge::Plan;
use crate::key::{self, Key};
use crate::steps::packages::AUTOMATIC;
use crate::store::Past;
use crate::tree;
use crate::work::{Facts, OUTPUT, TOOLS, World, failed};
pub use packages::PACKAGE;

/// Why a step runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The fact that differs: a key's, or a file.
    pub fact: String,
    /// What it was when the step ran last.
    pub was: Option<String>,
    /// What it is now.
    pub now: Option<String>,
    /// The same in words.
    pub text: String,
    /// The step that this follows from; none for a root cause.
    pub follows: Option<String>,
}

/// Facts that state the layers below one by one.
const LAYERS: [&str; 3] = ["layer", TOOLS, OUTPUT];

/// Facts that state layers in another way: with some of these still to be made, nothing is known of them.
const OF_LAYERS: [&str; 2] = ["extra-data", "hook"];

/// How many changed files of a folder are told one by one.
const MOST_FILES: usize = 8;

impl Cause {
    /// A root cause.
    pub fn of(fact: &str, was: Option<String>, now: Option<String>, text: &str) -> Cause {
        Cause { fact: fact.to_string(), was, now, text: text.to_string(), follows: None }
    }

    fn follows(step: &str, text: String) -> Cause {
        Cause { fact: "layer".into(), was: None, now: None, text, follows: Some(step.to_string()) }
    }
}

/// What tells a step's key from the last one.
pub fn of_key(facts: &Facts, past: Option<&Past>, world: &World) -> Vec<Cause> {
    let Some(past) = past else {
        return vec![Cause::of("step", None, None, "it has not been built yet")];
    };
    let old = past.key();
    let changes = key::difference(&old, &facts.key);
    if changes.is_empty() {
        return vec![Cause::of("record", None, None, "its result is no longer in the cache")];
    }
    changes.into_iter().flat_map(|change| of_change(change, &old, facts, world)).collect()
}

fn of_change(change: key::Change, old: &Key, facts: &Facts, world: &World) -> Vec<Cause> {
    let Some(source) = facts.sources.iter().find(|source| source.fact == change.fact) else {
        return vec![Cause::of(&change.fact, change.was.clone(), change.now.clone(), &words(&change))];
    };
    let listing = source.tree.as_ref().and_then(|tree| {
        let (_, was) = old.facts().find(|(name, _)| *name == change.fact)?;
        Some((tree, world.store.listing(was.parse().ok()?)?))
    });
    let Some((tree, listing)) = listing else {
        return vec![Cause::of(&source.shown, change.was, change.now, &format!("{} changed", source.shown))];
    };
    let files = tree::changes(&listing, tree);
    let mut causes: Vec<Cause> =
        files.iter().take(MOST_FILES).map(|file| of_file(&source.shown, file)).collect();
    if files.len() > MOST_FILES {
        let more = format!("and {} more files in {}", files.len() - MOST_FILES, source.shown);
        causes.push(Cause::of(&source.shown, None, None, &more));
    }
    causes
}

fn of_file(folder: &str, file: &tree::Change) -> Cause {
    let path = format!("{folder}/{}", crate::wording::printable(&file.path));
    let text = match (&file.was, &file.now) {
        (None, _) => format!("{path} is new"),
        (_, None) => format!("{path} is gone"),
        (Some(was), Some(now)) if mode_only(was, now) => format!("the mode of {path} changed"),
        _ => format!("{path} changed"),
    };
    Cause::of(&path, file.was.clone(), file.now.clone(), &text)
}

fn mode_only(was: &str, now: &str) -> bool {
    matches!((was.rsplit_once(' '), now.rsplit_once(' ')), (Some((was, _)), Some((now, _))) if was == now)
}

fn words(change: &key::Change) -> String {
    let fact = match change.fact.as_str() {
        "step" => "imgbuild's way of making it",
        fact => fact,
    };
    match (&change.was, &change.now) {
        (Some(was), Some(now)) => format!("{fact} was `{}`, now `{}`", short(was), short(now)),
        (None, Some(now)) => format!("{fact} is now `{}`", short(now)),
        (Some(was), None) => format!("{fact} was `{}`, now nothing", short(was)),
        (None, None) => format!("{fact} changed"),
    }
}

fn short(value: &str) -> String {
    let value = crate::wording::printable(value);
    match value.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &value[..at]),
        None => value,
    }
}

/// What tells the key of a step that stands on layers from the last one: its own facts, and these layers.
pub fn of_stacked(plan: &Plan, step: StepId, past: Option<&Past>, key: &Key, world: &World) -> Vec<Cause> {
    let Some(facts) = plan.steps.get(&step).map(|judged| &judged.facts) else { return Vec::new() };
    let stack = plan.graph.needs(step);
    let Some(past) = past else {
        return vec![Cause::of("step", None, None, "it has not been built yet")];
    };
    let old = past.key();
    let id = |below: &StepId| plan.graph.task(*below).id.as_str();
    // These have to make their layers first.
    let made: Vec<&str> = stack.iter().filter(|below| !plan.is_made(**below)).map(id).collect();
    let (mut causes, mut asked) = (Vec::new(), Vec::new());
    for change in key::difference(&old, key) {
        if change.fact == AUTOMATIC {
            asked.extend(packages::of_asking(&change));
        } else if !LAYERS.contains(&change.fact.as_str())
            && (made.is_empty() || !OF_LAYERS.contains(&change.fact.as_str()))
        {
            causes.extend(of_change(change, &old, facts, world));
        }
    }
    let names: Vec<&str> = stack.iter().map(id).collect();
    let was = past.stack.as_slice();
    causes.extend(of_made(&made, was));
    if was.iter().map(String::as_str).ne(names.iter().copied()) {
        causes.extend(of_stack(was, &names));
        // Of a package that came or went, that is said already.
        asked.retain(|(name, _)| !packages::is_changed(name, was, &names));
    } else if made.is_empty() {
        causes.extend(of_layers(plan, &old, key, stack));
    }
    causes.extend(packages::limited(asked.into_iter().map(|(_, cause)| cause)));
    if causes.is_empty() && made.is_empty() && plan.graph.layer(step).is_some() {
        causes.push(Cause::of("record", None, None, "its result is no longer in the cache"));
    }
    causes
}

/// What follows from the steps that have to make their layers first, where the stack has been `was`.
fn of_made(made: &[&str], was: &[String]) -> Vec<Cause> {
    let follows = |id: &str| Cause::follows(id, format!("follows from {id}"));
    // That a package is new is told with the stack.
    let known = made.iter().filter(|id| !packages::is_one(id) || was.iter().any(|was| was == *id));
    let (debs, ids): (Vec<&str>, Vec<&str>) = known.partition(|id| packages::is_one(id));
    let debs = packages::limited(debs.into_iter().map(follows));
    ids.into_iter().map(follows).chain(debs).collect()
}

/// An output that nothing is new of, and that failed when it was written last, is written again for that.
pub fn tell_failure(causes: &mut [Cause], task: &Task, world: &World) {
    let is_output = matches!(task.work, Work::Output { .. });
    for cause in causes.iter_mut().filter(|_| is_output) {
        let never_built = cause.fact == "step" && cause.was.is_none() && cause.now.is_none();
        if (never_built || cause.fact == "file") && failed::read(&task.id, world).is_some() {
            *cause = Cause::of(&cause.fact, None, None, "it failed when it ran last");
        }
    }
}

/// Steps that came, went, or changed places.
fn of_stack(was: &[String], now: &[&str]) -> Vec<Cause> {
    let gone = was.iter().filter(|step| !now.contains(&step.as_str()) && !packages::is_one(step));
    let new = now.iter().filter(|step| !was.iter().any(|was| was == *step) && !packages::is_one(step));
    let mut causes: Vec<Cause> = gone
        .map(|step| Cause::of("stack", Some(step.clone()), None, &format!("{step} is not used any more")))
        .chain(new.map(|step| Cause::of("stack", None, Some(step.to_string()), &format!("{step} is new"))))
        .collect();
    causes.extend(packages::limited(packages::of_stack(was, now).into_iter()));
    if causes.is_empty() {
        let (was, now) = (was.join(", "), now.join(", "));
        causes.push(Cause::of("stack", Some(was), Some(now), "the order of its layers changed"));
    }
    causes
}

/// Layers that are others than last time though their steps are fresh: they ran for another build.
fn of_layers(plan: &Plan, old: &Key, new: &Key, stack: &[StepId]) -> Vec<Cause> {
    let layers = |key: &Key| -> Vec<String> {
        key.facts().filter(|(name, _)| LAYERS.contains(name)).map(|(_, value)| value.to_string()).collect()
    };
    let (was, now) = (layers(old), layers(new));
    if was.len() != now.len() || now.len() != stack.len() {
        return Vec::new();
    }
    let changed = was.iter().zip(&now).zip(stack).filter(|((was, now), _)| was != now);
    changed
        .map(|((was, now), below)| {
            let id = &plan.graph.task(*below).id;
            let what =
                if plan.graph.layer(*below).is_some() { "made another layer" } else { "is another one" };
            Cause {
                fact: "layer".into(),
                was: Some(was.clone()),
                now: Some(now.clone()),
                text: format!("{id} {what}"),
                follows: Some(id.clone()),
            }
        })
        .collect()
}
