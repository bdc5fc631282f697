//! The steps of a plan, drawn: for Graphviz, for Mermaid, and as a picture.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::plan::{Plan, State, StepId};

fn colour(state: State) -> &'static str {
    match state {
        State::Run => "#f6b26b",
        State::Maybe => "#ffe599",
        State::Fresh => "#d9ead3",
    }
}

fn edges(plan: &Plan) -> impl Iterator<Item = (StepId, StepId)> {
    plan.steps.keys().flat_map(|step| plan.graph.needs(*step).iter().map(|below| (*below, *step)))
}

/// In Graphviz' language.
pub fn dot(plan: &Plan) -> String {
    let mut text = String::from("digraph imgbuild {\n  rankdir=LR;\n  node [shape=box, style=filled];\n");
    for (step, judged) in &plan.steps {
        let id = plan.graph.task(*step).id.replace('\\', "\\\\").replace('"', "\\\"");
        let _ =
            writeln!(text, "  s{} [label=\"{id}\", fillcolor=\"{}\"];", step.index(), colour(judged.state));
    }
    for (below, step) in edges(plan) {
        let _ = writeln!(text, "  s{} -> s{};", below.index(), step.index());
    }
    text.push_str("}\n");
    text
}

/// In Mermaid's language.
pub fn mermaid(plan: &Plan) -> String {
    let mut text = String::from("flowchart LR\n");
    for (step, judged) in &plan.steps {
        let id = plan.graph.task(*step).id.replace('"', "#quot;");
        let _ = writeln!(text, "  s{}[\"{id}\"]:::{}", step.index(), judged.state.word());
    }
    for (below, step) in edges(plan) {
        let _ = writeln!(text, "  s{} --> s{}", below.index(), step.index());
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
pub fn svg(plan: &Plan) -> String {
    let mut columns: [Vec<StepId>; 2] = [Vec::new(), Vec::new()];
    for step in plan.steps.keys() {
        columns[usize::from(!plan.graph.needs(*step).is_empty())].push(*step);
    }
    let label = |step: &StepId| plan.graph.task(*step).id.as_str();
    let widths: Vec<usize> = columns
        .iter()
        .map(|column| column.iter().map(|step| label(step).chars().count()).max().unwrap_or(0) * LETTER + 16)
        .collect();
    let starts = [10, 10 + widths[0] + GAP];
    let mut places: BTreeMap<StepId, (usize, usize, usize)> = BTreeMap::new();
    for (number, column) in columns.iter().enumerate() {
        for (row, step) in column.iter().enumerate() {
            places.insert(*step, (starts[number], 10 + row * ROW, widths[number]));
        }
    }
    let height = columns.iter().map(Vec::len).max().unwrap_or(0) * ROW + 20;
    let width = starts[1] + widths[1] + 10;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"monospace\" font-size=\"13\">\n"
    );
    for (below, step) in edges(plan) {
        let (Some((x, y, w)), Some((to_x, to_y, _))) = (places.get(&below), places.get(&step)) else {
            continue;
        };
        let (x1, y1, x2, y2) = (x + w, y + BOX_HEIGHT / 2, to_x, to_y + BOX_HEIGHT / 2);
        let middle = (x1 + x2) / 2;
        let _ = writeln!(
            text,
            "<path d=\"M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}\" fill=\"none\" stroke=\"#888\"/>"
        );
    }
    for (step, (x, y, w)) in &places {
        let state = plan.steps.get(step).map_or(State::Fresh, |judged| judged.state);
        let _ = writeln!(
            text,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{BOX_HEIGHT}\" rx=\"4\" fill=\"{}\" stroke=\"#555\"/>\
             <text x=\"{}\" y=\"{}\">{}</text>",
            colour(state),
            x + 8,
            y + 17,
            escape(label(step))
        );
    }
    text.push_str("</svg>\n");
    text
}

/// Text inside XML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
