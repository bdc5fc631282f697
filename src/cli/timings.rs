//! `--timings`: a page with the steps over time.

use std::fmt::Write as _;

use super::drawing::escape;
use crate::plan::{Plan, StepId};
use crate::wording;

/// A step that ran: seconds since the build began.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// Which.
    pub step: StepId,
    /// When it began.
    pub began: f64,
    /// When it ended.
    pub ended: f64,
}

const WIDTH: f64 = 900.0;
const ROW: usize = 22;

/// The page.
pub fn page(plan: &Plan, ran: &[Ran], total: f64) -> String {
    let mut steps = ran.to_vec();
    steps.sort_by(|left, right| left.began.total_cmp(&right.began).then_with(|| left.step.cmp(&right.step)));
    let scale = WIDTH / total.max(0.001);
    let height = steps.len() * ROW + 10;
    let mut bars = String::new();
    for (row, ran) in steps.iter().enumerate() {
        let (x, width) = (ran.began * scale, ((ran.ended - ran.began) * scale).max(1.0));
        let y = row * ROW;
        let id = escape(&plan.graph.task(ran.step).id);
        let time = wording::duration(ran.ended - ran.began);
        let _ = writeln!(
            bars,
            "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"16\" fill=\"#6fa8dc\"><title>{id}: {time}</title></rect>\
             <text x=\"{:.1}\" y=\"{}\">{id} {time}</text>",
            x + 4.0,
            y + 13
        );
    }
    let heading = format!("{} in {}", wording::count(steps.len(), "step"), wording::duration(total));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>imgbuild timings</title>\n\
         <style>body {{ font: 14px sans-serif; margin: 2em }} text {{ font: 12px monospace }}</style>\n\
         <h1>{heading}</h1>\n<svg width=\"1400\" height=\"{height}\">\n{bars}</svg>\n</html>\n"
    )
}
