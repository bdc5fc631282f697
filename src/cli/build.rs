//! `imgbuild`: builds what is out of date, shows it going on, and says what was done and why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::Receiver;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::arguments::Build;
use super::contract::{EventAnswer, OutputAnswer};
use super::exit::Exit;
use super::folded;
use super::messages;
use super::progress::Progress;
use super::session::{Project, Session};
use super::timings::{self, Ran};
use super::{packages, planning};
use crate::exec::{self, Event, Options, Outcome};
use crate::fault::{Fault, Faults};
use crate::plan::{Cause, Plan, State, StepId, Work};
use crate::store::{Access, Journal};
use crate::wording;

/// Builds.
pub fn run(session: &Session, asked: &Build) -> Result<Exit, Faults> {
    let start = Instant::now();
    let cancel = cancelled_by_signals();
    let project = session.project_with(Access::Use, &session.how_to_resolve(None), &cancel)?;
    session.warn(&project.warnings);
    let plan = project.plan(&asked.targets)?;
    packages::write_lock(session, &project)?;
    let impossible = planning::impossible(&plan, &project);
    if impossible.has_errors() && !asked.keep_going {
        return Err(impossible);
    }
    let mut teller = Teller::new(session, &plan, asked.json, start);
    teller.packages.to_fetch = plan.to_fetch(&project.world).into_iter().collect();
    teller.planned();
    let options = Options {
        jobs: asked.jobs.map_or_else(|| session.jobs(), usize::from),
        keep_going: asked.keep_going,
    };
    carry_out(&plan, &project, options, &cancel, &mut |event| teller.take(event));
    project.world.memory.save();
    Journal::tidy(&project.folder);
    if let Some(path) = &asked.timings {
        let path = session.folder().join(path);
        let page = timings::page(&plan, &teller.ran, teller.start.elapsed().as_secs_f64());
        crate::store::write_whole(&path, page.as_bytes())?;
    }
    Ok(teller.finished(cancel.load(Ordering::Relaxed)))
}

/// Builds, and hands every event to `take` on this thread.
pub fn carry_out(
    plan: &Plan,
    project: &Project,
    options: Options,
    cancel: &AtomicBool,
    take: &mut dyn FnMut(Event),
) {
    let (sender, receiver): (_, Receiver<Event>) = crossbeam_channel::unbounded();
    std::thread::scope(|scope| {
        scope.spawn(move || exec::build(plan, &project.world, &project.journal, options, cancel, &sender));
        receiver.iter().for_each(take);
    });
}

/// A flag that the first signal sets; a second one ends the process at once.
pub fn cancelled_by_signals() -> Arc<AtomicBool> {
    let cancel = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // Where a signal cannot be caught, it ends the process, which loses nothing that was finished.
        let _ = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&cancel));
        let _ = signal_hook::flag::register(signal, Arc::clone(&cancel));
    }
    cancel
}

/// Tells what happens, in a terminal, as plain lines, or to a program.
struct Teller<'a> {
    session: &'a Session,
    plan: &'a Plan,
    json: bool,
    progress: Progress,
    start: Instant,
    started: BTreeMap<StepId, f64>,
    ran: Vec<Ran>,
    written: BTreeMap<StepId, (PathBuf, u64)>,
    fresh: BTreeSet<StepId>,
    skipped: usize,
    failed: Vec<Fault>,
    interrupted: bool,
    packages: Packages,
}

/// Packages are told as one, when all are done; one that takes long is told by itself.
#[derive(Default)]
struct Packages {
    /// Those that will run and have not ended.
    left: BTreeSet<StepId>,
    /// Those whose files have to be fetched.
    to_fetch: BTreeSet<StepId>,
    /// Those that ran and are not told yet, and what a line for each would be.
    ran: Vec<(StepId, String)>,
    began: Option<f64>,
    ended: f64,
}

/// Seconds from which on a package is told by itself.
const SLOW: f64 = 10.0;

impl<'a> Teller<'a> {
    fn new(session: &'a Session, plan: &'a Plan, json: bool, start: Instant) -> Teller<'a> {
        let run = plan.steps.iter().filter(|(_, judged)| judged.state == State::Run).map(|(step, _)| *step);
        let left = run.filter(|step| folded::is_package(&plan.graph, *step)).collect();
        Teller {
            packages: Packages { left, ..Packages::default() },
            session,
            plan,
            json,
            progress: Progress::new(&session.terminal, plan.steps.len() - plan.count(State::Fresh)),
            start,
            started: BTreeMap::new(),
            ran: Vec::new(),
            written: BTreeMap::new(),
            fresh: BTreeSet::new(),
            skipped: 0,
            failed: Vec::new(),
            interrupted: false,
        }
    }

    fn id(&self, step: StepId) -> &'a str {
        &self.plan.graph.task(step).id
    }

    fn planned(&self) {
        let count = |state| self.plan.count(state);
        self.event(&EventAnswer::Planned {
            run: count(State::Run),
            fresh: count(State::Fresh),
            maybe: count(State::Maybe),
        });
    }

    fn event(&self, event: &EventAnswer) {
        if self.json {
            // Plain data: it can be written.
            self.session.terminal.answer(&format!("{}\n", serde_json::to_string(event).unwrap_or_default()));
        }
    }

    fn take(&mut self, event: Event) {
        let at = self.start.elapsed().as_secs_f64();
        match event {
            Event::Started(step) => {
                self.started.insert(step, at);
                self.progress.start(step, self.id(step));
                self.event(&EventAnswer::Started { step: self.id(step).to_string(), at });
            }
            Event::Said(step, line) => {
                self.progress.say(step, &line);
                let (step, line) = (self.id(step).to_string(), wording::printable(&line));
                self.event(&EventAnswer::Said { step, line });
            }
            Event::Warned(step, fault) => {
                let value = messages::json::value(&fault);
                self.event(&EventAnswer::Warning { step: self.id(step).to_string(), fault: value });
                if !self.json {
                    self.progress.above(|| _ = self.session.report((*fault).into()));
                }
            }
            Event::Fetching { packages, bytes, of } => {
                self.progress.fetching(packages, bytes, of);
                self.event(&EventAnswer::Fetching { at, packages, of: of.0, bytes, total: of.1 });
            }
            Event::Ended(step, outcome) => {
                self.ended(step, outcome, at);
                if self.packages.left.remove(&step) && self.packages.left.is_empty() {
                    self.tell_packages();
                }
            }
        }
    }

    fn ended(&mut self, step: StepId, outcome: Outcome, at: f64) {
        let id = self.id(step).to_string();
        match outcome {
            Outcome::Fresh => {
                self.fresh.insert(step);
                if self.plan.steps.get(&step).is_some_and(|judged| judged.state != State::Fresh) {
                    self.progress.end(step);
                }
            }
            Outcome::Skipped => {
                self.skipped += 1;
                self.event(&EventAnswer::Skipped { step: id });
            }
            Outcome::Ran { seconds, changed, wrote } => {
                // A layer that was there when its turn came can turn out to be damaged when it is read.
                self.fresh.remove(&step);
                self.progress.end(step);
                self.event(&EventAnswer::Ran { step: id.clone(), at, seconds, changed });
                let began = self.started.get(&step).copied().unwrap_or(at - seconds);
                let line = self.ran_line(&id, seconds, changed, wrote.as_ref());
                if folded::is_package(&self.plan.graph, step) && seconds < SLOW {
                    self.packages.began.get_or_insert(began);
                    self.packages.ended = at;
                    self.packages.ran.push((step, line));
                } else {
                    self.stay(&line);
                }
                self.ran.push(Ran { step, began, ended: at });
                if let Some(wrote) = wrote {
                    self.written.insert(step, wrote);
                }
            }
            Outcome::Failed(fault) => {
                self.progress.end(step);
                let interrupted = fault.is_interruption();
                let value = messages::json::value(&fault);
                self.event(&EventAnswer::Failed { step: id, fault: value });
                if interrupted {
                    self.interrupted = true;
                    return;
                }
                if !self.json {
                    self.progress.above(|| _ = self.session.report((*fault).clone().into()));
                }
                self.failed.push(*fault);
            }
        }
    }

    fn ran_line(&self, id: &str, seconds: f64, changed: bool, wrote: Option<&(PathBuf, u64)>) -> String {
        let terminal = &self.session.terminal;
        let time = terminal.dim(&wording::duration(seconds));
        let what = match wrote {
            Some((path, _)) if path.is_dir() => format!(" → {}/", self.session.shown(path)),
            Some((path, size)) => format!(" → {} ({})", self.session.shown(path), wording::size(*size)),
            None if !changed => " (the same layer as before)".to_string(),
            None => String::new(),
        };
        format!("{} {id}{what} {time}\n", terminal.green("ran"))
    }

    /// `ran 96 packages: fetched 37 MiB, unpacked in 3.2 s`.
    fn tell_packages(&mut self) {
        let Packages { ran, to_fetch, began, ended, .. } = &mut self.packages;
        let time = wording::duration(*ended - began.take().unwrap_or(*ended));
        let ran = std::mem::take(ran);
        if let [(_, line)] = ran.as_slice() {
            return self.stay(line);
        }
        let size = |step: &StepId| Some(self.plan.graph.layer(*step)?.file()?.0.size);
        let steps = ran.iter().map(|(step, _)| step).filter(|step| to_fetch.contains(step));
        let fetched = match steps.filter_map(size).sum() {
            0 => String::new(),
            bytes => format!("fetched {}, ", wording::size(bytes)),
        };
        if !ran.is_empty() {
            let (green, count) = (self.session.terminal.green("ran"), wording::count(ran.len(), "package"));
            self.stay(&format!("{green} {count}: {fetched}unpacked in {time}\n"));
        }
    }

    fn stay(&self, line: &str) {
        if !self.json {
            self.progress.above(|| self.session.terminal.tell(line));
        }
    }

    fn finished(&mut self, cancelled: bool) -> Exit {
        self.tell_packages();
        self.progress.clear();
        self.event(&EventAnswer::Finished {
            ran: self.ran.len(),
            fresh: self.fresh.len(),
            failed: self.failed.len(),
            skipped: self.skipped,
            seconds: self.start.elapsed().as_secs_f64(),
            outputs: self.outputs(),
        });
        if !self.json {
            self.session.terminal.tell(&format!("{}\n", self.closing(cancelled)));
        }
        if cancelled || self.interrupted {
            return Exit::Interrupted;
        }
        Exit::of(&Faults::from(self.failed.clone()))
    }

    /// Every output that was asked for and is there.
    fn outputs(&self) -> Vec<OutputAnswer> {
        let mut outputs = Vec::new();
        for step in self.plan.steps.keys() {
            let task = self.plan.graph.task(*step);
            let Work::Output { output, path, .. } = &task.work else { continue };
            let target = task.targets.first().and_then(|target| self.plan.graph.targets.get(*target));
            if path.exists() {
                outputs.push(OutputAnswer {
                    target: target.map(|target| target.name.clone()).unwrap_or_default(),
                    kind: output.kind().to_string(),
                    path: path.display().to_string(),
                    written: self.written.contains_key(step),
                });
            }
        }
        outputs
    }

    fn closing(&self, cancelled: bool) -> String {
        let (ran, total) = (self.ran.len(), self.plan.steps.len());
        let time = wording::duration(self.start.elapsed().as_secs_f64());
        if cancelled || self.interrupted {
            return format!("interrupted: {ran} of {} ran and are kept", wording::count(total, "step"));
        }
        if !self.failed.is_empty() {
            let failed = wording::count(self.failed.len(), "step");
            let rest = if self.skipped > 0 { format!(", {} not begun", self.skipped) } else { String::new() };
            return format!("{failed} of {total} failed, {ran} ran{rest}");
        }
        if ran == 0 {
            let fresh = wording::count(total, "step");
            return format!("nothing to do: {fresh} fresh ({time})");
        }
        match self.reason() {
            Some(reason) => {
                format!("{ran} of {} ran because {reason}, in {time}", wording::count(total, "step"))
            }
            None => format!("{ran} of {} ran in {time}", wording::count(total, "step")),
        }
    }

    /// The root cause of what ran, and how many others there are.
    fn reason(&self) -> Option<String> {
        let mut causes: Vec<(&Cause, StepId)> = Vec::new();
        for ran in &self.ran {
            let judged = self.plan.steps.get(&ran.step)?;
            if folded::is_package(&self.plan.graph, ran.step) {
                // What its set has become says why.
                continue;
            }
            for cause in judged.why.iter().filter(|cause| cause.follows.is_none()) {
                if !causes.iter().any(|(other, _)| other.text == cause.text) {
                    causes.push((cause, ran.step));
                }
            }
        }
        causes.sort_by_key(|(_, step)| *step);
        let (first, step) = causes.first()?;
        if first.fact == "step" {
            // The first build: that nothing was there is no news.
            return None;
        }
        let place = &self.plan.graph.task(*step).place;
        let more = match causes.len() - 1 {
            0 => String::new(),
            more => format!(" and {}", wording::count(more, "other change")),
        };
        Some(format!("{} ({place}){more}", first.text))
    }
}
