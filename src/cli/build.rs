//! `imgbuild`: builds what is out of date, shows it going on, and says what was done and why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::Receiver;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::arguments::{Build, Only};
use super::contract::{EventAnswer, OutputAnswer};
use super::exit::Exit;
use super::folded;
use super::inside;
use super::junit::{self, Case, Ended};
use super::messages;
use super::pause::{Pause, Paused};
use super::progress::Progress;
use super::ramdisk;
use super::session::{self, Project, Session};
use super::timings::{self, Ran};
use super::{packages, planning};
use crate::exec::{self, Event, Options, Outcome};
use crate::fault::{Fault, Faults};
use crate::plan::{Cause, Plan, State, StepId, Work};
use crate::store::Access;
use crate::wording;
use crate::work::failed;
use crate::work::{TEST, World};

/// Builds.
pub fn run(session: &Session, asked: &Build) -> Result<Exit, Faults> {
    let start = Instant::now();
    asked.junit.as_ref().map_or(Ok(()), |path| junit::forget(&session.folder().join(path)))?;
    let cancel = cancelled_by_signals();
    let mut project = session.project_with(Access::Use, &session.how_to_resolve(None), &cancel)?;
    session.warn(&project.warnings);
    let plan = match &asked.only {
        Some(Only::Ramdisk(asked)) => ramdisk::plan(&mut project, asked, &session.folder())?,
        Some(Only::Steps(ids)) => project.plan_of(project.graph()?, ids)?,
        None => project.plan(&asked.targets, asked.wanted())?,
    };
    if asked.tests && !plan.steps.keys().any(|step| plan.graph.task(*step).kind == TEST) {
        return Err(no_test(&asked.targets).into());
    }
    let pause = Pause::asked(&asked.pause, &plan)?;
    packages::write_lock(session, &project)?;
    let impossible = planning::impossible(&plan, &project);
    if impossible.has_errors() && !asked.keep_going {
        return Err(impossible);
    }
    let mut teller = Teller::new(session, &plan, asked, start);
    teller.continues_at = continues_at(&plan, &project.world);
    teller.packages.to_fetch = plan.to_fetch(&project.world).into_iter().collect();
    teller.planned();
    let options = Options {
        jobs: asked.jobs.map_or_else(|| session.jobs(), usize::from),
        keep_going: asked.keep_going,
    };
    match pause {
        Some(pause) => with_pause(session, &mut project, asked, &pause, options, &cancel, &mut teller)?,
        None => carry_out(&plan, &project, options, &cancel, &mut |event| teller.take(event, &project.world)),
    }
    project.world.memory.save();
    project.journal.tidy();
    write_reports(session, asked, &plan, &teller)?;
    Ok(teller.finished(cancel.load(Ordering::Relaxed)))
}

/// Writes what is asked for of how the build went: when each step ran, and how tests ended.
fn write_reports(session: &Session, asked: &Build, plan: &Plan, teller: &Teller<'_>) -> Result<(), Fault> {
    if let Some(path) = &asked.timings {
        let path = session.folder().join(path);
        let page = timings::page(plan, &teller.ran, teller.start.elapsed().as_secs_f64());
        crate::store::write_whole(&path, page.as_bytes())?;
    }
    if let Some(path) = &asked.junit {
        junit::write(&session.folder().join(path), &junit::report(&teller.tests()))?;
    }
    Ok(())
}

fn no_test(targets: &[String]) -> Fault {
    let what = if targets.is_empty() { "the manifest has" } else { "these targets have" };
    Fault::error("test/none", format!("{what} no test"))
        .help("add one beside an output that boots: `test \"boots\" { wait-for \"login:\" }`")
}

/// Builds what is needed up to the pause, and the rest behind it.
fn with_pause(
    session: &Session,
    project: &mut Project,
    asked: &Build,
    pause: &Pause,
    options: Options,
    cancel: &AtomicBool,
    teller: &mut Teller<'_>,
) -> Result<(), Faults> {
    let first = pause.plan(project)?;
    carry_out(&first, project, options, cancel, &mut |event| teller.take(event, &project.world));
    if !teller.failed.is_empty() || cancel.load(Ordering::Relaxed) {
        return Ok(());
    }
    project.world.memory.save();
    project.read_journal();
    teller.tell_packages();
    teller.progress.clear();
    let somebody = inside::on_terminal() && !asked.json;
    // Bars that move would be drawn over what is typed.
    let paused = teller.progress.aside(|| pause.open(session, project, somebody, cancel))?;
    if paused != Paused::GoOn {
        teller.stopped = Some((pause.clone(), paused));
        return Ok(());
    }
    let rest = project.plan(&asked.targets, asked.wanted())?;
    carry_out(&rest, project, options, cancel, &mut |event| teller.take(event, &project.world));
    Ok(())
}

/// The place in the plan, from 1, of the step that failed last time, if all before it are fresh.
fn continues_at(plan: &Plan, world: &World) -> Option<usize> {
    let mut steps = plan.steps.iter().enumerate();
    let (at, (step, _)) = steps.find(|(_, (_, judged))| judged.state != State::Fresh)?;
    (at > 0 && failed::read(&plan.graph.task(*step).id, world).is_some()).then_some(at + 1)
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
    /// Seconds that each took that failed.
    failed_after: BTreeMap<StepId, f64>,
    ran: Vec<Ran>,
    written: BTreeMap<StepId, (PathBuf, u64)>,
    fresh: BTreeSet<StepId>,
    skipped: usize,
    failed: Vec<(StepId, Fault)>,
    interrupted: bool,
    packages: Packages,
    /// Whether several steps can fail.
    keep_going: bool,
    /// Where it goes on behind an earlier build that failed.
    continues_at: Option<usize>,
    /// The pause that was the end.
    stopped: Option<(Pause, Paused)>,
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
    fn new(session: &'a Session, plan: &'a Plan, asked: &Build, start: Instant) -> Teller<'a> {
        let run = plan.steps.iter().filter(|(_, judged)| judged.state == State::Run).map(|(step, _)| *step);
        let left = run.filter(|step| folded::is_package(&plan.graph, *step)).collect();
        Teller {
            packages: Packages { left, ..Packages::default() },
            session,
            plan,
            json: asked.json,
            progress: Progress::new(&session.terminal, plan.steps.len() - plan.count(State::Fresh)),
            start,
            started: BTreeMap::new(),
            failed_after: BTreeMap::new(),
            ran: Vec::new(),
            written: BTreeMap::new(),
            fresh: BTreeSet::new(),
            skipped: 0,
            failed: Vec::new(),
            interrupted: false,
            keep_going: asked.keep_going,
            continues_at: None,
            stopped: None,
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
            continues_at: self.continues_at,
        });
        if let Some(at) = self.continues_at {
            let (total, id) =
                (self.plan.steps.len(), self.plan.steps.keys().nth(at - 1).map(|step| self.id(*step)));
            let line = format!("continues at step {at} of {total}, {}", id.unwrap_or_default());
            self.stay(&format!("{}\n", self.session.terminal.dim(&line)));
        }
    }

    fn event(&self, event: &EventAnswer) {
        if self.json {
            // Plain data: it can be written.
            self.session.terminal.answer(&format!("{}\n", serde_json::to_string(event).unwrap_or_default()));
        }
    }

    fn take(&mut self, event: Event, world: &World) {
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
                self.ended(step, outcome, at, world);
                if self.packages.left.remove(&step) && self.packages.left.is_empty() {
                    self.tell_packages();
                }
            }
        }
    }

    fn ended(&mut self, step: StepId, outcome: Outcome, at: f64, world: &World) {
        match outcome {
            // It ran before the build paused.
            Outcome::Fresh if self.has_run(step) => {}
            Outcome::Fresh => {
                self.fresh.insert(step);
                if self.plan.steps.get(&step).is_some_and(|judged| judged.state != State::Fresh) {
                    self.progress.end(step);
                }
            }
            Outcome::Skipped => {
                self.skipped += 1;
                self.event(&EventAnswer::Skipped { step: self.id(step).to_string() });
            }
            Outcome::Ran { seconds, changed, wrote } => {
                self.progress.end(step);
                self.event(&EventAnswer::Ran { step: self.id(step).to_string(), at, seconds, changed });
                let line = self.ran_line(self.id(step), seconds, changed, wrote.as_ref());
                self.written.extend(wrote.map(|wrote| (step, wrote)));
                self.ran(step, seconds, at, line);
            }
            Outcome::Failed(fault) => {
                self.progress.end(step);
                self.failed_after.extend(self.started.get(&step).map(|began| (step, at - began)));
                let fault = self.with_a_look(step, *fault, world);
                self.failed(step, fault);
            }
        }
    }

    /// Tells of a step that ran; of packages, only in all.
    fn ran(&mut self, step: StepId, seconds: f64, at: f64, line: String) {
        // A layer that was there when its turn came can turn out to be damaged when it is read.
        self.fresh.remove(&step);
        let began = self.started.get(&step).copied().unwrap_or(at - seconds);
        if folded::is_package(&self.plan.graph, step) && seconds < SLOW {
            self.packages.began.get_or_insert(began);
            self.packages.ended = at;
            self.packages.ran.push((step, line));
        } else {
            self.stay(&line);
        }
        self.ran.push(Ran { step, began, ended: at });
    }

    fn failed(&mut self, step: StepId, fault: Fault) {
        let value = messages::json::value(&fault);
        self.event(&EventAnswer::Failed { step: self.id(step).to_string(), fault: value });
        if fault.is_interruption() {
            self.interrupted = true;
            return;
        }
        if !self.json {
            self.progress.above(|| _ = self.session.report(fault.clone().into()));
        }
        self.failed.push((step, fault));
    }

    fn has_run(&self, step: StepId) -> bool {
        self.ran.iter().any(|ran| ran.step == step)
    }

    /// The fault, with the command that opens the state that its step left, if that was kept.
    fn with_a_look(&self, step: StepId, fault: Fault, world: &World) -> Fault {
        let id = self.id(step);
        let kept = failed::read(id, world).is_some_and(|failed| failed.state.is_some());
        if !kept || fault.is_interruption() {
            return fault;
        }
        let which = if self.keep_going { format!(" {}", session::word(id)) } else { String::new() };
        let command = self.session.command(&format!("shell --failed{which}"));
        let look = format!("`{command}` opens a shell where it failed");
        let help = fault.help.as_ref().map_or(look.clone(), |help| format!("{help}; {look}"));
        fault.help(help)
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
        if let Some((pause, _)) = &self.stopped {
            let (when, step) = (pause.when.word().to_string(), pause.id.clone());
            self.event(&EventAnswer::Stopped { when, step });
        }
        self.event(&EventAnswer::Finished {
            ran: self.ran.len(),
            fresh: self.fresh.len(),
            failed: self.failed.len(),
            skipped: self.skipped,
            seconds: self.start.elapsed().as_secs_f64(),
            continues_at: self.goes_on_at(),
            outputs: self.outputs(),
        });
        if !self.json {
            self.session.terminal.tell(&format!("{}{}\n", self.told_tests(), self.closing(cancelled)));
        }
        if cancelled || self.interrupted {
            return Exit::Interrupted;
        }
        match self.stopped {
            Some((_, Paused::Enough)) => Exit::Failed,
            _ => Exit::of(&Faults::from(
                self.failed.iter().map(|(_, fault)| fault.clone()).collect::<Vec<_>>(),
            )),
        }
    }

    /// Behind a failure: the place, from 1, of the first step that is not done.
    fn goes_on_at(&self) -> Option<usize> {
        let done: BTreeSet<StepId> =
            self.ran.iter().map(|ran| ran.step).chain(self.fresh.iter().copied()).collect();
        let at = self.plan.steps.keys().position(|step| !done.contains(step))?;
        (!self.failed.is_empty()).then_some(at + 1)
    }

    /// What became of each test that was asked for.
    fn tests(&self) -> Vec<Case<'_>> {
        let tests = self.plan.steps.iter().filter_map(|(step, judged)| {
            let task = self.plan.graph.task(*step);
            let Work::Output { output, .. } = &task.work else { return None };
            let target = task.targets.first().and_then(|target| self.plan.graph.targets.get(*target))?;
            let failed = self.failed.iter().find(|(failed, _)| failed == step).map(|(_, fault)| fault);
            let ran = self.ran.iter().find(|ran| ran.step == *step).map(|ran| ran.ended - ran.began);
            let after = self.failed_after.get(step).copied();
            (task.kind == TEST).then(|| Case {
                target: target.name.clone(),
                name: output.name(),
                seconds: ran.or(after).or(judged.seconds).unwrap_or_default(),
                ended: match failed {
                    Some(fault) => Ended::Failed(fault),
                    None if ran.is_some() || self.fresh.contains(step) => Ended::Passed,
                    None => Ended::NotRun,
                },
            })
        });
        tests.collect()
    }

    /// `2 of 3 tests passed`; nothing where none was asked for.
    fn told_tests(&self) -> String {
        let tests = self.tests();
        let passed = tests.iter().filter(|test| matches!(test.ended, Ended::Passed)).count();
        match tests.len() {
            0 => String::new(),
            1 if passed == 1 => "the test passed\n".into(),
            // That it failed, or why there was none, is told above.
            1 => String::new(),
            all if passed == all => format!("all {all} tests passed\n"),
            _ if self.interrupted => String::new(),
            all => format!("{passed} of {all} tests passed\n"),
        }
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
            // At the first step, going on would be beginning.
            let next = self.goes_on_at().filter(|at| *at > 1);
            let next = next.map(|at| format!("; the next build goes on at step {at}")).unwrap_or_default();
            return format!("{failed} of {total} failed, {ran} ran{rest}{next}");
        }
        if let Some((pause, paused)) = &self.stopped {
            return self.stopping(pause, *paused, &time);
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

    /// `stopped before packages:a: 3 of 7 steps ran in 2.1 s`, and how to look, or why.
    fn stopping(&self, pause: &Pause, paused: Paused, time: &str) -> String {
        let total = wording::count(self.plan.steps.len(), "step");
        let line = format!("stopped {}: {} of {total} ran in {time}", pause.shown(), self.ran.len());
        match paused {
            Paused::Nobody => {
                let words = format!("shell {} --{}", session::word(&pause.id), pause.when.word());
                format!("{line}; look with `{}`", self.session.command(&words))
            }
            Paused::Enough | Paused::GoOn => format!("{line}, because its shell did not end with 0"),
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
