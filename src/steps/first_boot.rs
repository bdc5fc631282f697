//! Hooks of the first boot: they run in the booted image, once, before there is a login prompt.
//!
//! The scripts lie in a folder of the image. Where there is systemd, a unit runs them (systemd.unit(5)): user sessions
//! wait for it, and with them every login prompt, and whoever is not root and comes by ssh (pam_nologin(8)). Nothing
//! else waits, neither sockets nor daemons, so a script may start them. Where there is an inittab, a line of it runs
//! them: sysvinit (inittab(5)) and busybox go on to their login prompts when it has ended. Where there is neither,
//! `/etc/rc.local` is what remains, and the build warns that nobody may call it.
//!
//! A script is removed when it has run, so the folder says what is left to do, whatever happens between. What is written
//! beside a script when it begins tells of one that was interrupted, as by a loss of power: it runs again.

use std::fs::File;
use std::io::{BufWriter, Read};

use super::hook::script::Text;
use super::hook::{Hook, Script};
use crate::fault::{Fault, Place};
use crate::hooks::Phase;
use crate::key::{Digest, Key};
use crate::lang::Owner;
use crate::layer::{Entry, EntryPath, Kind, LayerWriter, Merged};
use crate::sandbox::image::{Special, SpecialKind};
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
const INITTAB: &str = "etc/inittab";

const RUNNER_TEXT: &str = r#"#!/bin/sh
# Runs what imgbuild left for the first boot: each script once, in the order of their names. One that is interrupted
# runs again at the next boot; one that fails does not, and the others still run.
folder=/var/lib/imgbuild/first-boot.d
[ -d "$folder" ] || exit 0
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
failed=0
for hook in "$folder"/*; do
    if [ ! -f "$hook" ] || [ ! -x "$hook" ]; then
        continue
    fi
    echo "first boot: ${hook##*/}"
    if [ -e "$hook.begun" ]; then
        echo "first boot: ${hook##*/} was interrupted when it ran before: again"
    fi
    # What could not be removed would run at every boot.
    if ! : >"$hook.begun"; then
        echo "first boot: $folder cannot be written: nothing runs" >&2
        exit 1
    fi
    sync
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
    # In this order: without the script, what else there is of it does nothing.
    rm -f "$hook"
    rm -f "$hook.env" "$hook.begun"
    sync
done
rm -rf "$folder"
sync
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

/// The line of an inittab: in every level that has login prompts, and init waits for it.
const SYSVINIT_LINE: &str = "ib:2345:wait:/usr/lib/imgbuild/first-boot";
/// The same for busybox, which has no levels.
const BUSYBOX_LINE: &str = "::wait:/usr/lib/imgbuild/first-boot";

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
        let mut facts = Facts::new(Key::new("first-boot", 2));
        facts.key.fact("epoch", world.epoch);
        facts
            .key
            .fact("recipe", Digest::of([RUNNER_TEXT, UNIT_TEXT, CALL, SYSVINIT_LINE, BUSYBOX_LINE].concat()));
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

    fn make(&self, world: &World, below: &Stack, job: &Job<'_>) -> Result<Made, Fault> {
        let mut files = Files { epoch: world.epoch, entries: Vec::new() };
        files.add(RUNNER, 0o755, RUNNER_TEXT.as_bytes());
        self.scripts(&mut files, world)?;
        self.call(&mut files, below, job)?;
        Ok(Made { layer: files.write(world)?, found: Vec::new() })
    }
}

impl FirstBoot {
    /// The scripts, and what stands beside them.
    fn scripts(&self, files: &mut Files, world: &World) -> Result<(), Fault> {
        let scripts =
            || self.hooks.iter().flat_map(|hook| hook.scripts.iter().map(move |script| (hook, script)));
        // As many digits for each, so that names have the order of numbers.
        let digits = scripts().count().to_string().len().max(2);
        for (number, (hook, script)) in scripts().enumerate() {
            let name = format!("{FOLDER}/{number:0digits$}-{}", script.name);
            files.add(&name, 0o755, &with_interpreter(hook, script)?);
            if !hook.environment.is_empty() {
                files.add(&format!("{name}.env"), 0o644, exports(hook).as_bytes());
            }
        }
        for shown in self.hooks.iter().flat_map(|hook| &hook.shown) {
            for special in shown.specials(&EntryPath::root(), world)? {
                files.helper(&special)?;
            }
        }
        Ok(())
    }

    /// What runs them, for every init that may be there.
    fn call(&self, files: &mut Files, below: &Stack, job: &Job<'_>) -> Result<(), Fault> {
        let merged = below.merged()?;
        let is_systemd = SYSTEMD.iter().any(|path| has(&merged, path));
        if is_systemd {
            files.add(UNIT, 0o644, UNIT_TEXT.as_bytes());
            files.link(WANTED, "../imgbuild-first-boot.service");
        }
        // Also where there is systemd, which need not be the init: whoever comes second finds nothing to do.
        if let Some((text, mode)) = text_of(below, &merged, INITTAB) {
            files.add(INITTAB, mode, inittab(&text).as_bytes());
        } else if !is_systemd {
            let (text, _) = text_of(below, &merged, RC_LOCAL).unwrap_or_default();
            files.add(RC_LOCAL, 0o755, rc_local(&text).as_bytes());
            let message = "nothing here is known to run hooks at the first boot";
            (job.warn)(
                Fault::warning("first-boot/init", message)
                    .at(self.place(), "such a hook")
                    .help(format!("the image has neither systemd nor /etc/inittab: see that what it boots with runs `/{RUNNER}`, or /etc/rc.local, which does")),
            );
        }
        Ok(())
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

/// The text of a file of the image, if it has that, and its mode.
fn text_of(below: &Stack, merged: &Merged, path: &str) -> Option<(String, u32)> {
    let node = merged.file(&EntryPath::parse(path).ok()?)?;
    let bytes = below.layer_of(node)?.bytes(&node.entry, 1 << 20).ok()?;
    Some((String::from_utf8_lossy(&bytes).into_owned(), node.entry.mode))
}

/// What is there already, with the call before all else.
fn rc_local(text: &str) -> String {
    match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") => format!("{first}\n{CALL}\n{rest}"),
        _ => format!("#!/bin/sh\n{CALL}\n{text}"),
    }
}

/// What is there already, with the line that runs the scripts.
///
/// sysvinit starts the processes of a level in the order of their lines, and waits at this one: so it stands before the
/// first that is a login prompt, and behind what brings up the level. busybox does all that it waits for first.
fn inittab(text: &str) -> String {
    let field = |line: &str, number: usize| line.split(':').nth(number).map(String::from);
    let is = |line: &str, action: &str| !line.starts_with('#') && field(line, 2).as_deref() == Some(action);
    let has_levels = text.lines().any(|line| is(line, "initdefault"));
    let call = if has_levels { SYSVINIT_LINE } else { BUSYBOX_LINE };
    let mut lines: Vec<&str> = text.lines().collect();
    let first = lines.iter().position(|line| is(line, "respawn") || is(line, "askfirst"));
    lines.insert(first.unwrap_or(lines.len()), call);
    lines.join("\n") + "\n"
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

    /// What stands beside the scripts and is none itself, as they find it from their own folder.
    fn helper(&mut self, special: &Special) -> Result<(), Fault> {
        let mut names: Vec<&[u8]> = special.path.components().collect();
        let Some(own) = names.iter().position(|name| *name == Phase::FirstBoot.folder().as_bytes()) else {
            // Of an element, another folder than that of these scripts.
            return Ok(());
        };
        let folder = EntryPath::parse(FOLDER).unwrap_or_default();
        let path = names.drain(own + 1..).fold(folder, |path, name| path.join(name));
        match &special.kind {
            SpecialKind::File { file, size, .. } => {
                let mut bytes = Vec::new();
                let read = File::open(file).and_then(|file| file.take(*size).read_to_end(&mut bytes));
                read.map_err(|error| Fault::io("read", file, &error))?;
                // What lies beside the scripts and can be executed would run as one of them.
                let is_beside = path.parent().is_some_and(|parent| parent.as_bytes() == FOLDER.as_bytes());
                let mode = if is_beside { 0o644 } else { special.mode };
                self.add(&path.to_string(), mode, &bytes);
            }
            SpecialKind::Symlink(target) => {
                self.push(&path.to_string(), Kind::Symlink(target.clone()), 0o777, Vec::new());
            }
            _ => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_waits_before_it_starts_a_login_prompt() {
        let debian = "# a comment:2:respawn:x\nid:2:initdefault:\nl2:2:wait:/etc/init.d/rc 2\n\n#z:23:respawn:/sbin/x\n\
                      1:2345:respawn:/sbin/getty 38400 tty1\n";
        let lines = inittab(debian);
        let at = |part: &str| lines.find(part).unwrap();
        assert!(at("/etc/init.d/rc 2") < at(SYSVINIT_LINE) && at(SYSVINIT_LINE) < at("\n1:2345"), "{lines}");
        assert_eq!(inittab("::sysinit:/etc/rcS\n"), format!("::sysinit:/etc/rcS\n{BUSYBOX_LINE}\n"));
        let prompt = "tty1::askfirst:/bin/sh\n";
        assert_eq!(inittab(prompt), format!("{BUSYBOX_LINE}\n{prompt}"));
    }

    #[test]
    fn what_rc_local_says_already_it_still_says() {
        assert_eq!(rc_local("#!/bin/sh -e\nexit 0\n"), format!("#!/bin/sh -e\n{CALL}\nexit 0\n"));
        assert_eq!(rc_local("exit 0\n"), format!("#!/bin/sh\n{CALL}\nexit 0\n"));
    }
}
