//! What is said of a package.

use std::collections::BTreeMap;

use super::{Conditions, FORM, Outcome, fault};
use crate::fault::{Fault, Place};
use crate::hooks::document::{Node, What};
use crate::hooks::element::install_type;
use crate::hooks::phase::Phase;
use crate::lang::Spanned;
use crate::wording;

/// What is said of a package, once.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) phase: Option<Phase>,
    uninstall: bool,
    build_only: bool,
    install_type: Option<String>,
    pub(super) arch: Option<Spanned<Vec<String>>>,
    pub(super) not_arch: Option<Spanned<Vec<String>>>,
    python: Option<String>,
    when: Vec<When>,
}

impl Entry {
    /// Takes in a word that is said of the package.
    pub(super) fn take(&mut self, word: &Spanned<String>, node: &Node) -> Result<(), Fault> {
        match word.value.as_str() {
            // Said of nothing, a word means nothing; the model has it so for most.
            _ if node.what == What::Null => {}
            "phase" => self.phase = Some(phase(node)?),
            "uninstall" => self.uninstall = flag(word, node)?,
            "build-only" => self.build_only = flag(word, node)?,
            "installtype" => self.install_type = Some(kind(node)?),
            "arch" => self.arch = Some(architectures(word, node)?),
            "not-arch" => self.not_arch = Some(architectures(word, node)?),
            "dib_python_version" => self.python = Some(text(word, node)?.to_string()),
            "when" => self.when = statements(node)?,
            unknown => {
                let message = format!("`{}` says nothing of a package", wording::printable(unknown));
                return Err(Fault::warning("hooks/package-installs", message)
                    .at(&word.place, "not understood")
                    .maybe_help(wording::suggest(unknown, WORDS.iter().copied())));
            }
        }
        Ok(())
    }

    /// Whether it is asked for in this way here.
    pub(super) fn applies(&self, element: &str, conditions: &Conditions<'_>) -> Result<bool, Fault> {
        let kind = install_type(element, conditions.install_type, conditions.variables);
        let here = |list: &Spanned<Vec<String>>| list.value.iter().any(|arch| arch == conditions.arch);
        let python = conditions.variables.get("DIB_PYTHON_VERSION").map_or("", String::as_str);
        if self.install_type.as_ref().is_some_and(|wanted| wanted != kind)
            || self.arch.as_ref().is_some_and(|list| !here(list))
            || self.not_arch.as_ref().is_some_and(here)
            || self.python.as_ref().is_some_and(|wanted| wanted != python)
        {
            return Ok(false);
        }
        let mut applies = true;
        for when in &self.when {
            applies &= when.holds(conditions.variables)?;
        }
        Ok(applies)
    }

    pub(super) fn outcome(&self) -> Outcome {
        match (self.build_only, self.uninstall) {
            (true, _) => Outcome::BuildOnly,
            (false, true) => Outcome::LeaveOut,
            (false, false) => Outcome::Install,
        }
    }
}

/// What may be said of a package.
const WORDS: &[&str] =
    &["phase", "uninstall", "build-only", "installtype", "arch", "not-arch", "dib_python_version", "when"];

/// `VARIABLE = VALUE` or `VARIABLE != VALUE`.
struct When {
    variable: Spanned<String>,
    equal: bool,
    value: String,
}

impl When {
    /// Reads `VARIABLE = VALUE`; blanks around the sign do not count.
    fn parse(text: &str, place: &Place) -> Option<When> {
        let sign = text.find(['=', '!'])?;
        let (variable, rest) = text.split_at_checked(sign)?;
        let (equal, value) = match rest.strip_prefix("!=") {
            Some(value) => (false, value),
            None => (true, rest.strip_prefix('=')?),
        };
        let variable = variable.trim();
        let named = !variable.is_empty()
            && variable.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        let doubled = value.starts_with('=');
        (named && !doubled).then(|| When {
            variable: Spanned::new(variable.to_string(), place),
            equal,
            value: value.trim().to_string(),
        })
    }

    fn holds(&self, variables: &BTreeMap<String, String>) -> Result<bool, Fault> {
        let Some(value) = variables.get(&self.variable.value) else {
            let name = &self.variable.value;
            return Err(fault(
                format!("the variable `{name}` is not set"),
                &self.variable.place,
                "it is compared here",
                &wording::nearest(name, variables.keys().map(String::as_str))
                    .map_or(format!("give `{name}` a value"), |near| {
                        format!("give `{name}` a value; did you mean `{near}`?")
                    }),
            ));
        };
        Ok((*value == self.value) == self.equal)
    }
}

fn phase(node: &Node) -> Result<Phase, Fault> {
    let known = || PHASES.iter().map(|phase| phase.folder());
    let typed = text_of("phase", node)?;
    let phase = Phase::of_folder(typed).filter(|phase| PHASES.contains(phase));
    phase.ok_or_else(|| {
        let message = format!("no packages are installed in `{}`", wording::printable(typed));
        let help = wording::suggest(typed, known().collect::<Vec<_>>()).unwrap_or_default();
        fault(message, &node.place, "no such phase", &help)
    })
}

const PHASES: &[Phase] = &[Phase::PreInstall, Phase::Install, Phase::PostInstall];

fn flag(word: &Spanned<String>, node: &Node) -> Result<bool, Fault> {
    match &node.what {
        What::Flag(flag, _) => Ok(*flag),
        // A text in quotes; JSON has numbers for it now and then.
        What::Text(text) if matches!(text.to_ascii_lowercase().as_str(), "true" | "yes" | "1") => Ok(true),
        What::Text(text) if matches!(text.to_ascii_lowercase().as_str(), "false" | "no" | "0") => Ok(false),
        _ => {
            let message = format!("`{}` is true or false", word.value);
            Err(fault(message, &node.place, "neither", &format!("write `{}: true`", word.value)))
        }
    }
}

fn kind(node: &Node) -> Result<String, Fault> {
    let kind = text_of("installtype", node)?;
    if matches!(kind, "source" | "package") {
        return Ok(kind.to_string());
    }
    let message = format!("there is no install type `{}`", wording::printable(kind));
    Err(fault(message, &node.place, "no such type", "an install type is `source` or `package`"))
}

fn architectures(word: &Spanned<String>, node: &Node) -> Result<Spanned<Vec<String>>, Fault> {
    let list = text(word, node)?.split(',').map(str::trim).map(String::from).collect::<Vec<String>>();
    if list.iter().any(|arch| arch.is_empty() || arch.contains(char::is_whitespace)) {
        let message =
            format!("`{}` names no architecture", wording::printable(node.text().unwrap_or_default()));
        let help = format!("write `{}: amd64, arm64`", word.value);
        return Err(fault(message, &node.place, "names with commas between them belong here", &help));
    }
    Ok(Spanned::new(list, &node.place))
}

fn statements(node: &Node) -> Result<Vec<When>, Fault> {
    let list = match &node.what {
        What::List(list) => list.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let statement = |node: &Node| {
        let text = text_of("when", node)?;
        When::parse(text, &node.place).ok_or_else(|| {
            let message = format!("`{}` compares nothing", wording::printable(text));
            fault(message, &node.place, "no comparison", "write `VARIABLE = VALUE` or `VARIABLE != VALUE`")
        })
    };
    list.iter().map(statement).collect()
}

fn text<'a>(word: &Spanned<String>, node: &'a Node) -> Result<&'a str, Fault> {
    text_of(&word.value, node)
}

fn text_of<'a>(word: &str, node: &'a Node) -> Result<&'a str, Fault> {
    node.text().ok_or_else(|| {
        let message = format!("{} is no `{word}`", node.kind());
        fault(message, &node.place, "a text belongs here", FORM)
    })
}
