//! `imgbuild flavours`: which there are, and what one has.

use std::fmt::Write as _;

use super::arguments::Flavours;
use super::contract::FlavourAnswer;
use super::exit::Exit;
use super::session::Session;
use crate::fault::Faults;
use crate::hooks::Phase;
use crate::manifest::flavours::Described;

/// Lists all, or tells of one.
pub fn run(session: &Session, asked: &Flavours) -> Result<Exit, Faults> {
    let (described, faults) = session.flavours(asked.name.as_deref())?;
    let text = match (asked.json, &asked.name) {
        (true, _) => described.iter().map(line).collect(),
        (false, None) => list(session, &described),
        (false, Some(_)) => described.iter().map(|one| page(session, one)).collect::<String>(),
    };
    session.terminal.answer(&text);
    // What is wrong with one of them keeps the others from nothing.
    if faults.has_errors() {
        return Err(faults);
    }
    session.warn(&faults);
    Ok(Exit::Done)
}

fn line(described: &Described) -> String {
    // Plain data: it can be written.
    format!("{}\n", serde_json::to_string(&FlavourAnswer::of(described)).unwrap_or_default())
}

fn list(session: &Session, described: &[Described]) -> String {
    let width = |of: &dyn Fn(&Described) -> usize| described.iter().map(of).max().unwrap_or_default().min(40);
    let names = width(&|one| one.name.chars().count());
    let places = width(&|one| one.whence.to_string().chars().count());
    let mut text = String::new();
    for one in described {
        let name = session.terminal.bold(&format!("{:<names$}", one.name));
        let place = session.terminal.dim(&format!("{:<places$}", one.whence.to_string()));
        let line = format!("{name}  {place}  {}", one.summary.as_deref().unwrap_or_default());
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// All that there is to tell of a flavour.
fn page(session: &Session, one: &Described) -> String {
    let mut text =
        format!("{}  {}\n", session.terminal.bold(&one.name), session.terminal.dim(&one.whence.to_string()));
    one.summary.iter().for_each(|summary| text.push_str(&format!("{summary}\n")));
    let mut part = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            let _ = writeln!(text, "\n{}", session.terminal.bold(title));
            lines.iter().flat_map(|line| line.lines()).for_each(|line| text.push_str(&format!("  {line}\n")));
        }
    };
    part("settings", one.settings.iter().flat_map(setting).collect());
    let listed = |names: &[String]| names.iter().map(|names| names.to_string()).collect::<Vec<String>>();
    part("needs", listed(&one.needs));
    part("provides", listed(&one.provides));
    part("packages", listed(&one.packages));
    part("files", listed(&one.files));
    part(
        "hooks",
        one.hooks.iter().map(|(phase, name)| format!("{:<12}  {name}", Phase::word(*phase))).collect(),
    );
    if let Some(readme) = &one.readme {
        let _ = writeln!(text, "\n{}", readme.trim_end());
    }
    text
}

/// The lines that tell of a setting.
fn setting((name, default, docs): &(String, Option<String>, String)) -> Vec<String> {
    let first = match default.as_deref() {
        None => format!("{name} (must be set)"),
        Some("") => name.clone(),
        Some(default) => format!("{name}={default}"),
    };
    let docs = wrapped(docs, 92).into_iter().map(|line| format!("    {line}"));
    std::iter::once(first).chain(docs).collect()
}

/// The text in lines of no more letters than that, where its words allow.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}
