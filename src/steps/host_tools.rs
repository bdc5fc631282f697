//! `--host-tools`: the programs that write formats as this machine has them, in place of a tree of imgbuild's own.
//!
//! They run in the same sandbox, with this machine's folders of programs for their root. Their programs are in the key,
//! byte by byte; the libraries that these load are not. So the same key can give other bytes, and what reads such an output
//! goes by the file that was written.

use std::path::Path;

use super::tools::listing_layer;
use crate::fault::{Fault, Place};
use crate::key::Key;
use crate::sandbox::image::View;
use crate::sandbox::{PATH, resolve_program};
use crate::tree::{Detail, Filter};
use crate::work::{Facts, Job, Made, Stack, State, Step, TOOLS, World};

/// What a tool is on this machine: the package that has it, its programs, and the folders and files of its data.
type Known = (&'static str, &'static [&'static str], &'static [&'static str]);

const KNOWN: &[Known] = &[
    ("squashfs-tools", &["mksquashfs"], &[]),
    ("erofs-utils", &["mkfs.erofs"], &[]),
    ("qemu-utils", &["qemu-img"], &[]),
    ("grub-pc-bin", &["grub-mkimage"], &["/usr/lib/grub/i386-pc"]),
    ("grub-efi-amd64-bin", &["grub-mkimage"], &["/usr/lib/grub/x86_64-efi"]),
    ("grub-efi-arm64-bin", &["grub-mkimage"], &["/usr/lib/grub/arm64-efi"]),
    ("systemd-boot-efi", &[], &["/usr/lib/systemd/boot/efi"]),
    ("systemd-ukify", &["ukify"], &["/usr/lib/systemd/boot/efi"]),
    ("qemu-system-x86", &["qemu-system-x86_64"], &["/usr/share/OVMF", "/usr/share/qemu"]),
    ("qemu-system-arm", &["qemu-system-aarch64"], &["/usr/share/AAVMF", "/usr/share/qemu"]),
];

/// A tool of this machine.
#[derive(Debug)]
pub struct HostTools {
    /// The package that has the tool: `squashfs-tools`.
    pub name: String,
    /// The first output that needs it.
    pub place: Place,
}

impl HostTools {
    fn known(&self) -> Option<&'static Known> {
        KNOWN.iter().find(|(name, ..)| *name == self.name)
    }

    fn missing(&self, what: &str) -> Fault {
        // One of a package that all of grub's others need.
        let package = if what == "grub-mkimage" { "grub-common" } else { &self.name };
        Fault::machine("tools/host", format!("there is no `{what}` on this machine"))
            .at(&self.place, "this needs it")
            .help(format!(
                "it is in Debian's package `{package}`; without `--host-tools`, imgbuild brings its own"
            ))
    }
}

impl Step for HostTools {
    fn id(&self) -> String {
        format!("{TOOLS}:{}", self.name)
    }
    fn kind(&self) -> &'static str {
        TOOLS
    }
    fn name(&self) -> String {
        self.name.clone()
    }
    fn place(&self) -> &Place {
        &self.place
    }
    fn is_aside(&self) -> bool {
        true
    }

    fn facts(&self, world: &World, parallel: bool) -> Result<Facts, Fault> {
        let mut facts = Facts::new(Key::new("host-tools", 1));
        facts.key.fact("epoch", world.epoch);
        let (_, programs, folders) = self.known().ok_or_else(|| self.missing(&self.name))?;
        for program in *programs {
            let path = resolve_program(program, PATH).ok_or_else(|| self.missing(program))?;
            let file = world.memory.file(&path).map_err(|fault| fault.at(&self.place, "this needs it"))?;
            facts.file(program, &path, world, file);
        }
        for folder in folders.iter().map(Path::new) {
            if !folder.is_dir() {
                return Err(self.missing(&folder.display().to_string()));
            }
            let tree = world.memory.tree(folder, &Filter::all(), Detail::Plain, parallel)?;
            facts.tree(&folder.display().to_string(), folder, world, tree);
        }
        Ok(facts)
    }

    fn state(&self, world: &World, below: &Stack, job: &Job<'_>) -> Result<Option<State>, Fault> {
        let mut state = State::of(below.clone(), world, job)?;
        state.run.view = View::Host;
        state.run.hidden.clone_from(&world.hidden);
        Ok(Some(state))
    }

    fn make(&self, world: &World, _below: &Stack, _job: &Job<'_>) -> Result<Made, Fault> {
        let text = format!("{}\n", self.facts(world, false)?.key.text());
        Ok(Made { layer: listing_layer(&text, world)?, found: Vec::new() })
    }
}
