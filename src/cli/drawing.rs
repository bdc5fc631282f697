//! The steps of a plan, drawn: for Graphviz, for Mermaid, and as a picture.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::folded::{self, Shown};
use crate::plan::{Plan, State, StepId};

fn colour(state: State) -> &'static str {
    match state {
        State::Run => "#f6b26b",
        State::Maybe => "#ffe599",
        State::Fresh => "#d9ead3",
    }
}

/// What is drawn: a box for each step, or for the packages of a set, and lines between their numbers.
struct Picture {
    boxes: Vec<Shown>,
    edges: BTreeSet<(usize, usize)>,
}

impl Picture {
    fn of(plan: &Plan, all: bool) -> Picture {
        let boxes = folded::shown(plan, all, |_| true);
        let numbered = boxes.iter().enumerate();
        let at: BTreeMap<StepId, usize> = numbered
            .flat_map(|(number, shown)| shown.steps.iter().map(move |step| (*step, number)))
            .collect();
        let needs =
            plan.steps.keys().flat_map(|step| plan.graph.needs(*step).iter().map(|below| (*below, *step)));
        let edges = needs.filter_map(|(below, step)| Some((*at.get(&below)?, *at.get(&step)?))).collect();
        Picture { boxes, edges }
    }

    /// The boxes, with the number that each is known by: that of its first step.
    fn numbered(&self) -> impl Iterator<Item = (usize, &Shown)> {
        (0..self.boxes.len()).map(|number| (self.name(number), &self.boxes[number]))
    }

    fn name(&self, number: usize) -> usize {
        self.boxes.get(number).and_then(|shown| shown.steps.first()).map_or(0, |step| step.index())
    }
}

/// In Graphviz' language; unless `all`, the packages of a set as one.
pub fn dot(plan: &Plan, all: bool) -> String {
    let picture = Picture::of(plan, all);
    let mut text = String::from("digraph imgbuild {\n  rankdir=LR;\n  node [shape=box, style=filled];\n");
    for (number, shown) in picture.numbered() {
        let label = shown.label.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = writeln!(text, "  s{number} [label=\"{label}\", fillcolor=\"{}\"];", colour(shown.state));
    }
    for (below, step) in &picture.edges {
        let _ = writeln!(text, "  s{} -> s{};", picture.name(*below), picture.name(*step));
    }
    text.push_str("}\n");
    text
}

/// In Mermaid's language; unless `all`, the packages of a set as one.
pub fn mermaid(plan: &Plan, all: bool) -> String {
    let picture = Picture::of(plan, all);
    let mut text = String::from("flowchart LR\n");
    for (number, shown) in picture.numbered() {
        let label = shown.label.replace('"', "#quot;");
        let _ = writeln!(text, "  s{number}[\"{label}\"]:::{}", shown.state.word());
    }
    for (below, step) in &picture.edges {
        let _ = writeln!(text, "  s{} --> s{}", picture.name(*below), picture.name(*step));
    }
    for state in [State::Run, State::Maybe, State::Fresh] {
        let _ = writeln!(text, "  classDef {} fill:{}", state.word(), colour(state));
    }
    text
}

const ROW: usize = 34;
const BOX_HEIGHT: usize = 24;
const LETTER: usize = 8;
const GAP: usize = 120;

/// As a picture: layers on the left, what is written on the right.
pub fn svg(plan: &Plan, all: bool) -> String {
    let picture = Picture::of(plan, all);
    let Arranged { places, width, height } = Arranged::of(&picture, plan);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"monospace\" font-size=\"13\">\n"
    );
    for (below, step) in &picture.edges {
        let (Some((x, y, w)), Some((to_x, to_y, _))) = (places.get(below), places.get(step)) else {
            continue;
        };
        let (x1, y1, x2, y2) = (x + w, y + BOX_HEIGHT / 2, to_x, to_y + BOX_HEIGHT / 2);
        let middle = (x1 + x2) / 2;
        let _ = writeln!(
            text,
            "<path d=\"M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}\" fill=\"none\" stroke=\"#888\"/>"
        );
    }
    for (number, (x, y, w)) in &places {
        let _ = writeln!(
            text,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{BOX_HEIGHT}\" rx=\"4\" fill=\"{}\" stroke=\"#555\"/>\
             <text x=\"{}\" y=\"{}\">{}</text>",
            colour(picture.boxes[*number].state),
            x + 8,
            y + 17,
            escape(&picture.boxes[*number].label)
        );
    }
    text.push_str("</svg>\n");
    text
}

/// Where the boxes of a picture stand, and how large that is.
struct Arranged {
    /// By its number, a box's left and upper edge, and its width.
    places: BTreeMap<usize, (usize, usize, usize)>,
    width: usize,
    height: usize,
}

impl Arranged {
    /// In two columns: what stands on nothing, and what stands on others.
    fn of(picture: &Picture, plan: &Plan) -> Arranged {
        let mut columns: [Vec<usize>; 2] = [Vec::new(), Vec::new()];
        for (number, shown) in picture.boxes.iter().enumerate() {
            let above = shown.steps.iter().any(|step| !plan.graph.needs(*step).is_empty());
            columns[usize::from(above)].push(number);
        }
        let letters = |number: &usize| picture.boxes[*number].label.chars().count();
        let widths =
            [0, 1].map(|side: usize| columns[side].iter().map(letters).max().unwrap_or(0) * LETTER + 16);
        let starts = [10, 10 + widths[0] + GAP];
        let mut places = BTreeMap::new();
        for (side, column) in columns.iter().enumerate() {
            for (row, number) in column.iter().enumerate() {
                places.insert(*number, (starts[side], 10 + row * ROW, widths[side]));
            }
        }
        let height = columns.iter().map(Vec::len).max().unwrap_or(0) * ROW + 20;
        Arranged { places, width: starts[1] + widths[1] + 10, height }
    }
}

/// Text inside XML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
