//! A page for the terminal: plain text that is also light Markdown.

use super::flow::{flow, fold};
use super::page;
use crate::editor::words::Topic;
use crate::lang::Field;

/// The page on `topic`; `others` are called the same.
pub fn page(topic: &Topic, others: &[Topic], all: &[Topic]) -> String {
    let mut out = flow(&format!("{}: {}", page::name(topic), topic.word.summary), 0);
    out.push('\n');
    out.push_str(&fold(page::signature(topic), 4, 8));
    out.push('\n');
    out.push_str(&flow(&page::standing(topic, all, |topic| format!("`{}`", topic.title)), 0));
    out.push('\n');
    out.push_str(&flow(topic.word.docs, 0));
    arguments(topic, &mut out);
    properties(topic, &mut out);
    section("KINDS", topic.word.kinds().iter().map(|kind| fold_summary(kind.name, kind.summary)), &mut out);
    let children = topic.children().map(|child| fold_summary(child.word.name, child.word.summary));
    let free = topic
        .free_children()
        .and_then(|word| Some(fold_summary(&page::argument(word.own_name.as_ref()?), word.summary)));
    section("IN ITS BLOCK", children.chain(free), &mut out);
    section("EXAMPLE", [topic.word.example.lines().map(|line| format!("    {line}\n")).collect()], &mut out);
    let others = others.iter().map(|other| flow(&format!("`imgbuild help {}`", other.title), 4));
    section("OF THE SAME NAME", others, &mut out);
    out
}

fn arguments(topic: &Topic, out: &mut String) {
    let own = topic.word.own_name.as_ref().map(|field| self::field(&page::argument(field), field));
    section("ITS NAME", own, out);
    let single = topic.arguments().map(|field| self::field(&page::argument(field), field));
    let rest = topic.rest().map(|field| self::field(&format!("{} …", page::argument(field)), field));
    section("ARGUMENTS", single.chain(rest), out);
}

fn properties(topic: &Topic, out: &mut String) {
    let named = topic.properties().map(|field| self::field(&page::property(field), field));
    let free =
        topic.free_properties().map(|field| self::field(&format!("{} …", page::property(field)), field));
    section("PROPERTIES", named.chain(free), out);
}

fn field(written: &str, field: &Field) -> String {
    let absence = page::absence(field).map(|absence| format!("; {absence}")).unwrap_or_default();
    let form = format!("({}{absence})", field.form.noun());
    format!("    {written}\n{}{}", flow(field.docs, 8), flow(&form, 8))
}

fn fold_summary(name: &str, summary: &str) -> String {
    const COLUMN: usize = 14;
    let pieces = std::iter::once(format!("{name:COLUMN$}")).chain(summary.split(' ').map(String::from));
    fold(pieces, 4, 4 + COLUMN + 1)
}

fn section(title: &str, entries: impl IntoIterator<Item = String>, out: &mut String) {
    let entries: String = entries.into_iter().collect();
    if !entries.is_empty() {
        out.push_str(&format!("\n{title}\n{entries}"));
    }
}
