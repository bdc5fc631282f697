//! What an image's nodes have written: outputs, and all that goes with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Decoder;
use crate::bases::debian;
use crate::deb::Wish;
use crate::fault::{Fault, Place};
use crate::lang::Node;
use crate::manifest::{Image, ToolSet};
use crate::outputs::{self, config, trial};
use crate::work::{Folders, Output, TEST};

impl Decoder<'_> {
    /// What the outputs are written with, each where it is needed first.
    pub(super) fn tools(&self, images: &[Image]) -> Vec<ToolSet> {
        let mut bases = images.iter().filter_map(|image| image.debian.as_ref());
        let like = bases.find(|spec| debian::has_tools(spec));
        let outputs = images.iter().flat_map(|image| {
            let of_hypervisors = image.hypervisors.iter().flat_map(|hypervisor| &hypervisor.outputs);
            image.outputs.iter().chain(of_hypervisors)
        });
        let mut tools: Vec<ToolSet> = Vec::new();
        for output in outputs {
            for packages in output.tools() {
                let wishes = packages.iter().map(|name| Wish::plain(name, output.place())).collect();
                let base = debian::of_tools(output.place(), like, &self.said.distributions);
                let new = ToolSet { wishes, base };
                if tools.iter().all(|known| known.name() != new.name()) {
                    tools.push(new);
                }
            }
        }
        tools
    }

    /// The outputs among these nodes, and what goes with them: the hypervisor's own files, and tests.
    pub(super) fn outputs(
        &mut self,
        children: &[&Node],
        target: &outputs::Target<'_>,
    ) -> Vec<Arc<dyn Output>> {
        let (folders, mut all) = (&self.said.folders, Vec::new());
        for node in children {
            self.check_home(node);
            all.extend(match node.word.name {
                name if name == outputs::WORD.name => outputs::decode(node, target, folders, self.faults),
                name if name == config::WORD.name => config::decode(node, folders, self.faults),
                name if name == trial::WORD.name => trial::decode(node, target, self.faults),
                _ => None,
            });
        }
        let all = self.without_doubles(all);
        self.check_boot(target);
        all
    }

    /// Whether the disk of a target that has one can boot.
    fn check_boot(&mut self, target: &outputs::Target<'_>) {
        if target.siblings.iter().any(|output| outputs::disk::formats::has_disk(output.kind)) {
            self.faults.extend(target.machine.check());
        }
    }

    /// What a project writes is the same whoever builds it.
    fn check_home(&mut self, node: &Node) {
        let is_output = [outputs::WORD.name, config::WORD.name].contains(&node.word.name);
        let path = if is_output { node.text("path") } else { None };
        if let Some(path) = path.filter(|path| path.value.starts_with("~/")) {
            self.faults.push(
                Fault::error("output/home", "an output has no place in anybody's home")
                    .at(&path.place, "this path")
                    .help("write where it is from the project's folder, or from `/`"),
            );
        }
    }

    /// Tests have names.
    fn without_doubles(&mut self, mut outputs: Vec<Arc<dyn Output>>) -> Vec<Arc<dyn Output>> {
        let mut known: BTreeMap<String, Place> = BTreeMap::new();
        outputs.retain(|output| {
            if output.kind() != TEST {
                return true;
            }
            let Some(first) = known.get(&output.name()) else {
                known.insert(output.name(), output.place().clone());
                return true;
            };
            let message = format!("the test `{}` stands twice", output.name());
            self.twice("test/twice", message, output.place(), first);
            false
        });
        outputs
    }

    pub(super) fn no_output(&mut self, what: &str, near: Option<&str>, place: &Place) {
        let help = match near {
            Some(kind) => format!(
                "did you mean `hypervisor \"{kind}\"`, which brings its own? Else add one: `output \"tar\"`"
            ),
            None => "add one to its block: `output \"tar\"`".into(),
        };
        self.faults.push(
            Fault::error("output/none", format!("{what} has no output"))
                .at(place, "nothing would be written")
                .help(help),
        );
    }
}

/// The outputs among these nodes, and what goes with them; `title` is what their files are called where nothing is said.
pub(super) fn siblings(children: &[&Node], title: &str, folders: &Folders) -> Vec<outputs::Sibling> {
    let outputs =
        children.iter().filter(|child| [outputs::WORD.name, config::WORD.name].contains(&child.word.name));
    let sibling = |node: &&Node| {
        let kind = node.kind.map_or(node.word.name, |kind| kind.name);
        let stated = node.text("path").map(|path| PathBuf::from(path.value));
        let path = stated.unwrap_or_else(|| Path::new("build").join(format!("{title}.{kind}")));
        let backing = if kind == "qcow2" { node.text("backing") } else { None };
        let backing = backing.map(|backing| folders.path(&backing));
        let format = if kind == "vmdk" { node.text("format").map(|format| format.value) } else { None };
        Some(outputs::Sibling { kind, path, place: node.place.clone(), backing, format })
    };
    outputs.filter_map(sibling).collect()
}
