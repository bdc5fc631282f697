//! What imgbuild tells of itself: completions, the manual page, help and schemas.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;

use super::arguments::{Arguments, COMMANDS, Completions, Help, Man, Schema};
use super::exit::Exit;
use super::schemas;
use super::session::Session;
use crate::editor::manual;
use crate::fault::{Fault, Faults};
use crate::manifest::hypervisors;
use crate::manifest::words::HYPERVISOR_KINDS;
use crate::wording;

/// `imgbuild completions`.
pub fn completions(session: &Session, asked: &Completions) -> Result<Exit, Faults> {
    let mut text = Vec::new();
    clap_complete::generate(asked.shell, &mut Arguments::command(), "imgbuild", &mut text);
    session.terminal.answer(&String::from_utf8_lossy(&text));
    Ok(Exit::Done)
}

/// `imgbuild man`.
pub fn manual(session: &Session, asked: &Man) -> Result<Exit, Faults> {
    let mut command = Arguments::command();
    command.build();
    let Some(folder) = &asked.dir else {
        session.terminal.answer(&page(&command).map_err(|error| unwritable(Path::new("-"), &error))?);
        return Ok(Exit::Done);
    };
    let folder = session.folder().join(folder);
    fs::create_dir_all(&folder)
        .and_then(|()| clap_mangen::generate_to(command, &folder))
        .map_err(|error| unwritable(&folder, &error))?;
    Ok(Exit::Done)
}

/// The program's page, with the commands as sections of it.
fn page(command: &clap::Command) -> io::Result<String> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    sections(command, &mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn sections(command: &clap::Command, page: &mut Vec<u8>) -> io::Result<()> {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        let shown = command.get_bin_name().unwrap_or(command.get_name()).to_uppercase();
        let man = clap_mangen::Man::new(command.clone());
        let mut parts = Vec::new();
        man.render_synopsis_section(&mut parts)?;
        man.render_description_section(&mut parts)?;
        man.render_options_section(&mut parts)?;
        man.render_extra_section(&mut parts)?;
        // Sections of a page of its own are parts of this one's.
        let parts = String::from_utf8_lossy(&parts).replace("\n.SH ", "\n.SS ");
        let parts = parts.strip_prefix(".SH ").map_or(parts.clone(), |rest| format!(".SS {rest}"));
        page.extend_from_slice(format!(".SH \"{shown}\"\n{parts}").as_bytes());
        sections(command, page)?;
    }
    Ok(())
}

/// `imgbuild help`: of a command, of a word of the manifest, or of both if they are called the same.
pub fn help(session: &Session, asked: &Help) -> Result<Exit, Faults> {
    let words = asked.words.join(" ");
    if let [word, name] = asked.words.as_slice()
        && word == "hypervisor"
        && manual::word(&words).is_err()
    {
        let kind = hypervisors::find(name).ok_or_else(|| no_kind(name))?;
        session.terminal.answer(&kind.page());
        return Ok(Exit::Done);
    }
    let text = match (command_help(&asked.words), manual::word(&words)) {
        (Some(command), Ok(page)) if !words.is_empty() => format!("{command}\n{page}"),
        (Some(command), _) => command,
        (None, Ok(page)) => page,
        (None, Err(fault)) => return Err(unknown(&asked.words, fault).into()),
    };
    session.terminal.answer(&text);
    Ok(Exit::Done)
}

fn no_kind(name: &str) -> Fault {
    let message = format!("no kind of hypervisor is called `{}`", wording::printable(name));
    let kinds = HYPERVISOR_KINDS.iter().copied();
    Fault::error("help/unknown", message).maybe_help(wording::suggest(&name.to_lowercase(), kinds))
}

/// The manual's own fault, which knows nothing of commands.
fn unknown(words: &[String], mut fault: Fault) -> Fault {
    if fault.code == "help/unknown" {
        let typed = wording::printable(&words.join(" "));
        fault.message = format!("no command, and no word of a manifest, is called `{typed}`");
    }
    let near = words.first().and_then(|word| wording::nearest(word, COMMANDS.iter().copied()));
    fault.maybe_help(near.map(|near| format!("did you mean `imgbuild help {near}`?")))
}

fn command_help(words: &[String]) -> Option<String> {
    let mut command = Arguments::command();
    command.build();
    let mut found = &mut command;
    for word in words {
        found = found.find_subcommand_mut(word)?;
    }
    Some(found.render_long_help().to_string())
}

/// `imgbuild schema`.
pub fn schema(session: &Session, asked: &Schema) -> Result<Exit, Faults> {
    let text = match &asked.json {
        None => crate::editor::schema::kdl(),
        Some(name) => json_schema(name)?,
    };
    session.terminal.answer(&text);
    Ok(Exit::Done)
}

fn json_schema(name: &str) -> Result<String, Fault> {
    let mut schemas = schemas::all();
    if let Some(at) = schemas.iter().position(|(known, _)| *known == name) {
        return Ok(schemas.swap_remove(at).1);
    }
    let names: Vec<&str> = schemas.iter().map(|(name, _)| *name).collect();
    let fault = Fault::error("schema/unknown", format!("there is no schema `{}`", wording::printable(name)));
    Err(fault.maybe_help(wording::suggest(name, names.iter().copied())))
}

fn unwritable(path: &Path, error: &io::Error) -> Fault {
    Fault::io("write", path, error)
}
