//! Hooks of the first boot: they run in the booted image, once, before anybody can log in.
//!
//! The scripts lie in a folder of the image. Where there is systemd, a unit runs them (systemd.unit(5)): user sessions
//! wait for it, and with them every login prompt. Elsewhere `/etc/rc.local` does, which init runs before it starts a
//! login prompt. A script is removed when it has run, so the folder says what is left to do.

use std::fs::File;
use std::io::{BufWriter, Read};

use super::hook::script::Text;
use super::hook::{Hook, Script};
use crate::fault::{Fault, Place};
use crate::key::{Digest, Key};
use crate::lang::Owner;
use crate::layer::{Entry, EntryPath, Kind, LayerWriter, Merged};
use crate::work::{Facts, Job, Made, Stack, Step, World};

/// Brings the scripts, and what runs them.
#[derive(Debug)]
pub struct FirstBoot {
    /// The hooks, in the order in which they run.
    pub hooks: Vec<Hook>,
    /// The target.
    pub target: String,
}

/// Where the scripts lie.
const FOLDER: &str = "var/lib/imgbuild/first-boot.d";
/// What runs them.
const RUNNER: &str = "usr/lib/imgbuild/first-boot";
/// The unit that starts that.
const UNIT: &str = "usr/lib/systemd/system/imgbuild-first-boot.service";
/// What wants the unit.
const WANTED: &str = "usr/lib/systemd/system/multi-user.target.wants/imgbuild-first-boot.service";
/// Where systemd is.
const SYSTEMD: [&str; 2] = ["usr/lib/systemd/systemd", "lib/systemd/systemd"];
const RC_LOCAL: &str = "etc/rc.local";

const RUNNER_TEXT: &str = r#"#!/bin/sh
# Runs what imgbuild left for the first boot: each script once, in the order of their names. One that is interrupted
# runs again at the next boot; one that fails does not, and the others still run.
folder=/var/lib/imgbuild/first-boot.d
failed=0
for hook in "$folder"/*; do
    if [ ! -f "$hook" ] || [ ! -x "$hook" ]; then
        continue
    fi
    echo "first boot: ${hook##*/}"
    (
        if [ -f "$hook.env" ]; then
            . "$hook.env"
        fi
        cd /
        exec "$hook" </dev/null
    )
    code=$?
    if [ "$code" -ne 0 ]; then
        echo "first boot: ${hook##*/} failed with $code" >&2
        failed=1
    fi
    rm -f "$hook" "$hook.env"
    sync
done
rm -rf "$folder"
exit "$failed"
"#;

const UNIT_TEXT: &str = "\
[Unit]
Description=What is to run once, in the first boot
ConditionPathExists=/var/lib/imgbuild/first-boot.d
After=local-fs.target network.target
Before=systemd-user-sessions.service

[Service]
Type=oneshot
ExecStart=/usr/lib/imgbuild/first-boot
RemainAfterExit=yes
StandardOutput=journal+console
StandardError=journal+console
TimeoutStartSec=infinity
";

const CALL: &str = "if [ -d /var/lib/imgbuild/first-boot.d ]; then /usr/lib/imgbuild/first-boot; fi";

impl Step for FirstBoot {
    fn id(&self) -> String {
        format!("first-boot@{}", self.target)
    }
    fn kind(&self) -> &'static str {
        "first-boot"
    }
    fn name(&self) -> String {
        "first-boot".into()
    }
    fn place(&self) -> &Place {
        static NOWHERE: std::sync::LazyLock<Place> =
            std::sync::LazyLock::new(|| Place::new(&crate::fault::Source::new("", ""), 0..0));
        self.hooks.first().map_or(&NOWHERE, |hook| &hook.name.place)
    }
    fn stands_on(&self, other: &dyn Step) -> bool {
        // All that decides which init there is, and what its rc.local says.
        !other.is_aside()
    }
    fn reads_live(&self) -> bool {
        true
    }

    fn facts(&self, world: &World, parallel: bool) -> Result<Facts, Fault> {
        let mut facts = Facts::new(Key::new("first-boot", 1));
        facts.key.fact("epoch", world.epoch);
        facts.key.fact("recipe", Digest::of(format!("{RUNNER_TEXT}{UNIT_TEXT}{CALL}")));
        for (number, hook) in self.hooks.iter().enumerate() {
            facts.key.fact("hook", format_args!("{number} {}", hook.full_name()));
            for script in &hook.scripts {
                script.facts(world, &mut facts)?;
            }
            for shown in &hook.shown {
                shown.facts(number, world, parallel, &mut facts)?;
            }
            facts.key.fact("interpreter", hook.interpreter.join(" "));
            for (name, value) in &hook.environment {
                facts.key.fact("environment", format_args!("{name}={value}"));
            }
        }
        Ok(facts)
    }

    fn make(&self, world: &World, below: &Stack, _job: &Job<'_>) -> Result<Made, Fault> {
        let mut files = Files { epoch: world.epoch, entries: Vec::new() };
        files.add(RUNNER, 0o755, RUNNER_TEXT.as_bytes());
        let (mut number, mut helpers) = (0, Vec::new());
        for hook in &self.hooks {
            for script in &hook.scripts {
                let name = format!("{FOLDER}/{number:02}-{}", script.name);
                files.add(&name, 0o755, &with_interpreter(hook, script)?);
                if !hook.environment.is_empty() {
                    files.add(&format!("{name}.env"), 0o644, exports(hook).as_bytes());
                }
                number += 1;
            }
            for shown in &hook.shown {
                helpers.extend(shown.specials(&EntryPath::root(), world)?);
            }
        }
        for special in helpers {
            files.helper(&special)?;
        }
        let merged = below.merged()?;
        if SYSTEMD.iter().any(|path| has(&merged, path)) {
            files.add(UNIT, 0o644, UNIT_TEXT.as_bytes());
            files.link(WANTED, "../imgbuild-first-boot.service");
        } else {
            files.add(RC_LOCAL, 0o755, rc_local(below, &merged).as_bytes());
        }
        Ok(Made { layer: files.write(world)?, found: Vec::new() })
    }
}

/// The script, with a `#!` line where it has none.
fn with_interpreter(hook: &Hook, script: &Script) -> Result<Vec<u8>, Fault> {
    let bytes = script.bytes()?;
    let line = match hook.interpreter.as_slice() {
        [] if bytes.starts_with(b"#!") => return Ok(bytes),
        [] if matches!(script.text, Text::Stated(_)) => "#!/bin/sh -e\n".to_string(),
        [] => "#!/bin/sh\n".to_string(),
        [program, ..] if program.starts_with('/') => format!("#!{}\n", hook.interpreter.join(" ")),
        words => format!("#!/usr/bin/env -S {}\n", words.join(" ")),
    };
    Ok([line.as_bytes(), &bytes].concat())
}

/// Its environment, as a shell takes it in.
fn exports(hook: &Hook) -> String {
    let line =
        |(name, value): (&String, &String)| format!("export {name}='{}'\n", value.replace('\'', "'\\''"));
    hook.environment.iter().map(line).collect()
}

fn has(merged: &Merged, path: &str) -> bool {
    EntryPath::parse(path).is_ok_and(|path| merged.file(&path).is_some())
}

/// What is there already, with the call before all else.
fn rc_local(below: &Stack, merged: &Merged) -> String {
    let there = EntryPath::parse(RC_LOCAL).ok().and_then(|path| {
        let node = merged.file(&path)?;
        below.layer_of(node)?.bytes(&node.entry, 1 << 20).ok()
    });
    let text = String::from_utf8_lossy(&there.unwrap_or_default()).into_owned();
    match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") => format!("{first}\n{CALL}\n{rest}"),
        _ => format!("#!/bin/sh\n{CALL}\n{text}"),
    }
}

/// The files of the layer.
struct Files {
    epoch: i64,
    entries: Vec<(Entry, Vec<u8>)>,
}

impl Files {
    fn add(&mut self, path: &str, mode: u32, bytes: &[u8]) {
        let kind = Kind::File { size: bytes.len() as u64, digest: Digest::of(bytes), offset: 0 };
        self.push(path, kind, mode, bytes.to_vec());
    }

    fn link(&mut self, path: &str, target: &str) {
        self.push(path, Kind::Symlink(target.as_bytes().to_vec()), 0o777, Vec::new());
    }

    /// A file beside the scripts, which is none itself.
    fn helper(&mut self, special: &crate::sandbox::image::Special) -> Result<(), Fault> {
        use crate::sandbox::image::SpecialKind;
        let name = String::from_utf8_lossy(special.path.name()).into_owned();
        if let SpecialKind::File { file, size, .. } = &special.kind {
            let mut bytes = Vec::new();
            let read = File::open(file).and_then(|file| file.take(*size).read_to_end(&mut bytes));
            read.map_err(|error| Fault::io("read", file, &error))?;
            // Not executable: only scripts run.
            self.add(&format!("{FOLDER}/{name}"), 0o644, &bytes);
        }
        Ok(())
    }

    fn push(&mut self, path: &str, kind: Kind, mode: u32, bytes: Vec<u8>) {
        let path = EntryPath::parse(path).unwrap_or_default();
        let mut outer = path.parent();
        while let Some(folder) = outer.filter(|folder| !folder.is_root()) {
            outer = folder.parent();
            if !self.entries.iter().any(|(entry, _)| entry.path == folder) {
                self.entries.push((Entry::passage(folder, self.epoch), Vec::new()));
            }
        }
        self.entries.retain(|(entry, _)| entry.path != path);
        let mtime = self.epoch;
        let owner = Owner::ROOT;
        self.entries.push((Entry { path, kind, mode, owner, mtime, xattrs: Vec::new(), weak: false }, bytes));
    }

    fn write(mut self, world: &World) -> Result<crate::store::Layer, Fault> {
        self.entries.sort_by(|one, other| one.0.order(&other.0));
        let path = world.store.stage()?.path("layer.tar");
        let write = || -> std::io::Result<_> {
            let mut writer = LayerWriter::new(BufWriter::new(File::create_new(&path)?));
            for (entry, bytes) in self.entries {
                match entry.kind {
                    Kind::File { digest, .. } => writer.known_file(entry, &bytes, digest)?,
                    _ => writer.entry(entry)?,
                }
            }
            Ok(writer.finish()?.1)
        };
        let index = write().map_err(|error| Fault::io("write", &path, &error))?;
        world.store.keep_layer(&path, index)
    }
}
