//! What may be said of a hook: its environment, what it reads, its secrets, and how it runs.

use super::Looking;
use crate::fault::{Fault, Faults};
use crate::lang::{Node, Scope};
use crate::layer::EntryPath;
use crate::steps::hook::secret::{From, Secret};
use crate::steps::hook::{INPUTS, Input};
use crate::steps::overlay;
use crate::wording;

/// What may be said of a hook, and of all hooks of a list.
#[derive(Clone, Debug, Default)]
pub(super) struct SaidOfHook {
    pub environment: Scope,
    pub inputs: Vec<Input>,
    pub secrets: Vec<Secret>,
    pub network: bool,
    pub timeout: Option<u64>,
    pub interpreter: Vec<String>,
}

impl SaidOfHook {
    /// This, and on top of it what is said of one hook.
    pub fn and(&self, own: SaidOfHook) -> SaidOfHook {
        let mut all = self.clone();
        all.environment.extend(own.environment);
        all.inputs.extend(own.inputs);
        all.secrets.retain(|secret| own.secrets.iter().all(|own| own.name != secret.name));
        all.secrets.extend(own.secrets);
        all.network |= own.network;
        all.timeout = own.timeout.or(all.timeout);
        if !own.interpreter.is_empty() {
            all.interpreter = own.interpreter;
        }
        all
    }
}

pub(super) fn said(node: &Node, looking: Looking<'_>, faults: &mut Faults) -> SaidOfHook {
    let mut said = SaidOfHook {
        network: node.flag("network"),
        timeout: node.integer("timeout").map(|seconds| seconds.value.unsigned_abs()),
        interpreter: node
            .text("interpreter")
            .map(|text| text.value.split_whitespace().map(String::from).collect())
            .unwrap_or_default(),
        ..SaidOfHook::default()
    };
    for env in node.children("env") {
        said.environment.extend(overlay::chosen(env.texts("variable"), looking.scope, faults));
        for (name, value) in env.free() {
            if !is_variable(name) {
                faults.push(no_variable(name).at(&value.place, "its value"));
            }
            said.environment.insert(name.to_string(), value.value);
        }
    }
    said.inputs = node.children("input").filter_map(|child| input(child, looking, faults)).collect();
    said.secrets = node.children("secret").filter_map(|child| secret(child, looking, faults)).collect();
    said
}

fn no_variable(name: &str) -> Fault {
    Fault::error("env/name", format!("`{}` cannot be an environment variable", wording::printable(name)))
        .help("letters, digits and `_`, not beginning with a digit")
}

/// The environment variable that tells where something is.
fn variable(node: &Node, faults: &mut Faults) -> Option<String> {
    let name = node.text("variable")?;
    if !is_variable(&name.value) {
        faults.push(no_variable(&name.value).at(&name.place, "this name"));
    }
    Some(name.value)
}

/// Two inputs in one place would hide each other.
pub(super) fn same_place(inputs: &[Input], faults: &mut Faults) {
    for (number, input) in inputs.iter().enumerate() {
        let earlier =
            inputs.iter().take(number).find(|other| other.at == input.at && other.path != input.path);
        if let Some(earlier) = earlier {
            faults.push(
                Fault::error("input/twice", format!("two inputs would stand at `/{}`", input.at))
                    .at(&input.stated.place, "this one")
                    .at(&earlier.stated.place, "and this one")
                    .help("give one of them another name, or name the folder that has both"),
            );
        }
    }
}

fn is_variable(name: &str) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    letters && !name.is_empty() && !name.starts_with(|letter: char| letter.is_ascii_digit())
}

fn input(node: &Node, looking: Looking<'_>, faults: &mut Faults) -> Option<Input> {
    let stated = node.text("path")?;
    let path = looking.folders.path(&stated);
    if !path.exists() {
        faults.push(
            Fault::error("input/missing", format!("`{}` does not exist", stated.value))
                .at(&stated.place, "named here")
                .maybe_help(overlay::near_file(&path, &stated.value)),
        );
        return None;
    }
    let inside = EntryPath::parse(stated.value.trim_start_matches("./")).ok();
    let inside = inside.filter(|_| !stated.value.starts_with(['/', '~'])).filter(|inside| !inside.is_root());
    let last = || EntryPath::parse(path.canonicalize().ok()?.file_name()?.as_encoded_bytes()).ok();
    let inputs = EntryPath::parse(INPUTS).unwrap_or_default();
    let at = inside.or_else(last)?.components().fold(inputs, |at, name| at.join(name));
    Some(Input { stated, path, at, variable: variable(node, faults) })
}

fn secret(node: &Node, looking: Looking<'_>, faults: &mut Faults) -> Option<Secret> {
    let name = node.text("name")?;
    let from = match (node.text("from"), node.text("env")) {
        (Some(file), None) => From::File { path: looking.folders.path(&file), shown: file.value },
        (None, Some(variable)) => {
            let value = looking.environment.get(&variable.value).cloned();
            From::Variable(variable.value, value)
        }
        (file, _) => {
            if node.whole {
                let (problem, help) = match file {
                    None => ("neither `from=` nor `env=`", "add one of them"),
                    Some(_) => ("both `from=` and `env=`", "keep one of them"),
                };
                faults.push(
                    Fault::error("secret/from", format!("this secret has {problem}"))
                        .at(&node.place, "here")
                        .help(help),
                );
            }
            return None;
        }
    };
    let variable = variable(node, faults);
    Some(Secret { name: name.value, place: node.place.clone(), from, variable })
}
