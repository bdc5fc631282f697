//! Progress in a terminal: a line for each step that runs, with its last words and its time, and a bar over all.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::terminal::Terminal;
use crate::plan::StepId;
use crate::wording;

/// The lines that are drawn over while a build goes on.
pub struct Progress {
    all: MultiProgress,
    total: ProgressBar,
    running: BTreeMap<StepId, ProgressBar>,
    fetching: Option<ProgressBar>,
}

impl Progress {
    /// A bar for `steps` steps; nothing is drawn off a terminal.
    pub fn new(terminal: &Terminal, steps: usize) -> Progress {
        let target =
            if terminal.live { ProgressDrawTarget::stderr_with_hz(8) } else { ProgressDrawTarget::hidden() };
        let all = MultiProgress::with_draw_target(target);
        let total = all.add(ProgressBar::new(steps as u64));
        total.set_style(style("{bar:24} {pos}/{len} {elapsed}"));
        Progress { all, total, running: BTreeMap::new(), fetching: None }
    }

    /// A step begins.
    pub fn start(&mut self, step: StepId, id: &str) {
        let bar = self.all.insert_before(&self.total, ProgressBar::new_spinner());
        bar.set_style(style("{spinner} {prefix} {elapsed} {wide_msg}"));
        bar.set_prefix(id.to_string());
        bar.enable_steady_tick(Duration::from_millis(125));
        self.running.insert(step, bar);
    }

    /// Packages came: how many and how many bytes, of how many.
    pub fn fetching(&mut self, packages: usize, bytes: u64, of: (usize, u64)) {
        if packages >= of.0 {
            self.fetching.take().iter().for_each(ProgressBar::finish_and_clear);
            return;
        }
        let (all, total) = (&self.all, &self.total);
        let bar = self.fetching.get_or_insert_with(|| {
            let bar = all.insert_before(total, ProgressBar::new(of.1));
            bar.set_style(style("{bar:24} {msg}"));
            bar
        });
        bar.set_position(bytes);
        bar.set_message(format!(
            "fetching {packages} of {}, {} of {}",
            wording::count(of.0, "package"),
            wording::size(bytes),
            wording::size(of.1)
        ));
    }

    /// A step said something.
    pub fn say(&self, step: StepId, line: &str) {
        if let Some(bar) = self.running.get(&step) {
            bar.set_message(wording::printable(line));
        }
    }

    /// A step has ended.
    pub fn end(&mut self, step: StepId) {
        if let Some(bar) = self.running.remove(&step) {
            bar.finish_and_clear();
        }
        self.total.inc(1);
    }

    /// Writes lines that stay, above those that move.
    pub fn above(&self, write: impl FnOnce()) {
        self.all.suspend(write);
    }

    /// Does something that has the terminal for itself.
    pub fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        self.all.suspend(work)
    }

    /// Takes all of it away.
    pub fn clear(&self) {
        // What cannot be drawn cannot be cleared either.
        let _ = self.all.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
