//! Configuring packages: dpkg and the packages' own scripts, inside the image.
//!
//! The host keys that openssh-server's script makes are no part of an image (see [`crate::deb::dpkg::CLEANED`]), and
//! sshd does not start without one. So a unit is added that makes them. The one that newer packages have themselves
//! counts on a first boot, which is none for systemd where `/etc/machine-id` is empty (machine-id(5)).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use super::deb;
use crate::deb::Deb;

use crate::deb::control::Control;
use crate::deb::dpkg::{self, CLEANED, Clean, Package, Work};
use crate::fault::{Fault, Place};
use crate::key::Key;
use crate::layer::read::{Gathered, Rules, read_tar};
use crate::layer::{EntryPath, Merged};
use crate::sandbox::Launcher;
use crate::sandbox::image::{Call, Given, ImageRan, ImageRun, Removal, Removed, Shown};
use crate::work::failed;
use crate::work::upper::corrected_layer;
use crate::work::{Below, Facts, Job, Made, Stack, StackLayer, State, Step, World};

/// For the step of each package its file, and where that can be had.
pub type Files = BTreeMap<String, (Deb, Arc<[String]>)>;

/// The fact of its key about a package that only came along: name and architecture.
pub const AUTOMATIC: &str = "automatic";

/// What kind of step a base's is, and one on top of it.
const KINDS: [&str; 2] = ["base", "packages"];

/// A set of packages to be configured on top of what is below.
#[derive(Debug)]
pub struct Packages {
    is_base: bool,
    /// What people call the set.
    name: String,
    /// The image's architecture.
    arch: String,
    place: Place,
    /// Its packages.
    debs: Files,
    /// Name and architecture of each package that only came along.
    automatic: Vec<(String, String)>,
    /// What the image's own apt is to fetch from.
    sources: Option<String>,
}

impl Packages {
    /// A base's own packages.
    pub fn base(
        (name, arch): (String, String),
        place: Place,
        debs: Files,
        automatic: Vec<(String, String)>,
        sources: Option<String>,
    ) -> Packages {
        Packages { is_base: true, name, arch, place, debs, automatic, sources }
    }

    /// The packages of the target `name`.
    pub fn on_top(
        (name, arch): (String, String),
        place: Place,
        debs: Files,
        automatic: Vec<(String, String)>,
    ) -> Packages {
        Packages { is_base: false, name, arch, place, debs, automatic, sources: None }
    }
}

impl Step for Packages {
    fn id(&self) -> String {
        format!("{}:{}", self.kind(), self.name)
    }
    fn kind(&self) -> &'static str {
        KINDS[usize::from(!self.is_base)]
    }
    fn name(&self) -> String {
        self.kind().into()
    }
    fn place(&self) -> &Place {
        &self.place
    }
    fn stands_on(&self, other: &dyn Step) -> bool {
        other.kind() != super::initramfs::KIND && !other.is_aside()
    }
    fn runs_programs_of(&self) -> Option<&str> {
        Some(&self.arch)
    }

    fn likely_seconds(&self) -> f64 {
        0.02 * self.debs.len() as f64
    }

    fn facts(&self, world: &World, _parallel: bool) -> Result<Facts, Fault> {
        let mut key = Key::new("packages", 3);
        key.fact("epoch", world.epoch);
        key.fact("recipe", dpkg::recipe());
        for (name, arch) in &self.automatic {
            key.fact(AUTOMATIC, format_args!("{name} {arch}"));
        }
        if let Some(sources) = &self.sources {
            key.fact("sources", crate::key::Digest::of(sources));
        }
        Ok(Facts::new(key))
    }

    fn below_facts(&self, below: &[Below], key: &mut Key) {
        deb::below_facts(below.iter(), key);
    }

    fn state(&self, world: &World, below: &Stack, job: &Job<'_>) -> Result<Option<State>, Fault> {
        let set = self.set(below)?;
        set.state(self.files(&set), world, job).map(Some)
    }

    fn make(&self, world: &World, below: &Stack, job: &Job<'_>) -> Result<Made, Fault> {
        let set = self.set(below)?;
        let files = self.files(&set);
        let state = set.state(files, world, job)?;
        let configured = set.configure((self, below), &state, Vec::new(), world, job)?;
        let root = (&state.root.merged, &state.stack);
        let layer = corrected_layer(configured.gathered, &configured.tar, root, below, world)?;
        Ok(Made { layer, found: Vec::new() })
    }
}

/// Where the image's own apt finds what to fetch from.
const SOURCES: &str = "etc/apt/sources.list.d/imgbuild.sources";

/// Makes the keys of an SSH server when they are not there (systemd.unit(5), ssh-keygen(1)), before anything that
/// starts it, by socket or by itself: path and text of each file.
const HOST_KEYS: &[(&str, &str)] = &[
    (
        "usr/lib/systemd/system/imgbuild-ssh-host-keys.service",
        "[Unit]\n\
         Description=SSH host keys of this machine\n\
         DefaultDependencies=no\n\
         ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key\n\
         After=sysinit.target sshd-keygen.service\n\
         Before=ssh.service ssh.socket shutdown.target\n\
         Conflicts=shutdown.target\n\n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart=/usr/bin/ssh-keygen -A\n",
    ),
    ("usr/lib/systemd/system/ssh.service.d/imgbuild.conf", WANTS_HOST_KEYS),
    ("usr/lib/systemd/system/ssh.socket.d/imgbuild.conf", WANTS_HOST_KEYS),
];

const WANTS_HOST_KEYS: &str = "[Unit]\nWants=imgbuild-ssh-host-keys.service\n";

impl Packages {
    fn set(&self, below: &Stack) -> Result<Set<'_>, Fault> {
        Set::of(below, &self.debs, |layer| self.debs.contains_key(&layer.step))
    }

    /// What stands in the image before its programs start.
    fn files(&self, set: &Set<'_>) -> Vec<Given> {
        let mut files = set.files();
        files.push(given("var/lib/apt/extended_states", 0o644, self.extended_states(set)));
        if let Some(sources) = &self.sources {
            files.push(given(SOURCES, 0o644, sources.clone()));
        }
        if set.has("openssh-server") {
            files.extend(HOST_KEYS.iter().map(|(path, text)| given(path, 0o644, *text)));
        }
        files
    }

    /// apt's list of packages that only came along, so that `apt autoremove` knows.
    fn extended_states(&self, set: &Set<'_>) -> String {
        let mut text = set.read("var/lib/apt/extended_states");
        for (name, arch) in &self.automatic {
            let arch = if arch == "all" { &self.arch } else { arch };
            let _ = write!(text, "Package: {name}\nArchitecture: {arch}\nAuto-Installed: 1\n\n");
        }
        text
    }
}

/// Packages on top of what is below them, and what dpkg has to do for them.
pub(super) struct Set<'a> {
    files: &'a Files,
    packages: Vec<Package>,
    debs: Vec<StackLayer>,
    /// The layers below the packages.
    lower: Stack,
    merged: Merged,
    below: dpkg::Below,
    order: dpkg::Order,
    work: Work,
}

impl<'a> Set<'a> {
    /// The layers of `stack` that `is_own` takes for the set's packages, on top of all others.
    pub fn of(
        stack: &Stack,
        files: &'a Files,
        is_own: impl Fn(&StackLayer) -> bool,
    ) -> Result<Set<'a>, Fault> {
        let (debs, lower): (Vec<StackLayer>, Vec<StackLayer>) =
            stack.layers.iter().cloned().partition(|layer| layer.kind == deb::KIND && is_own(layer));
        let lower = Stack { layers: lower };
        let merged = lower.merged()?;
        let packages = debs.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let below = database_below(&lower, &merged)?;
        let order = dpkg::order(&packages, &below);
        let work = dpkg::work(&packages, &order, &below);
        Ok(Set { files, packages, debs, lower, merged, below, order, work })
    }

    /// dpkg's database as it is after unpacking.
    pub fn files(&self) -> Vec<Given> {
        let files = dpkg::database(&self.packages, &self.order, &self.below);
        files.into_iter().map(|(path, text)| given(&path, 0o644, text)).collect()
    }

    fn has(&self, name: &str) -> bool {
        self.packages.iter().any(|package| package.name() == name)
    }

    fn read(&self, path: &str) -> String {
        text_of(&self.lower, &self.merged, path)
    }

    /// The text of a file of one of the packages; none where nobody has it, or others have it too.
    pub fn only_file(&self, at: &str) -> Result<Option<String>, Fault> {
        let at = path(at);
        let mut having = self.debs.iter().filter_map(|layer| {
            let entry = layer.layer.index.entries.iter().find(|entry| entry.path == at)?;
            Some((&layer.layer, entry))
        });
        let (Some((layer, entry)), None, None) = (having.next(), having.next(), self.merged.get(&at)) else {
            return Ok(None);
        };
        let bytes = layer.bytes(entry, 64 << 20).map_err(|error| Fault::io("read", &layer.path, &error))?;
        Ok(String::from_utf8(bytes).ok())
    }

    /// What its programs find when they start, with `files` written.
    pub fn state(&self, files: Vec<Given>, world: &World, job: &Job<'_>) -> Result<State, Fault> {
        let mut layers = self.lower.layers.clone();
        // As dpkg would have unpacked them.
        layers.extend(self.order.layers.iter().filter_map(|number| self.debs.get(*number).cloned()));
        let mut state = State::of(Stack { layers }, world, job)?;
        state.run.files = files;
        state.run.passing = dpkg::DURING.iter().map(|(path, mode, text)| given(path, *mode, *text)).collect();
        // A dpkg that unpacks might put another one in its place.
        if self.order.by_dpkg.is_empty() {
            let quicker =
                dpkg::helper::quicker(&text_of(&state.stack, &state.root.merged, dpkg::helper::HELPER));
            state.run.passing.extend(quicker.map(|text| given(dpkg::helper::HELPER, 0o755, text)));
        }
        state.run.shown = self.shown(world, job)?;
        state.environment = dpkg::Command::default().variables(world.epoch);
        Ok(state)
    }

    /// Configures in `state`; then runs `more`. `step` is who asks, and what it was given to stand on.
    pub fn configure(
        &self,
        (step, below): (&dyn Step, &Stack),
        state: &State,
        more: Vec<Call>,
        world: &World,
        job: &Job<'_>,
    ) -> Result<Configured, Fault> {
        let capture = world.store.stage()?.path("upper.tar");
        let mut commands: Vec<Call> =
            self.work.commands.iter().map(|command| call(command, world.epoch)).collect();
        commands.extend(more);
        let run = ImageRun {
            commands,
            remove: removals(),
            capture: Some(capture.clone()),
            capture_always: true,
            log: job.log.clone(),
            ..state.run.clone()
        };
        job.go_on()?;
        for (number, why) in &self.order.by_dpkg {
            let name = self.packages.get(*number).map(Package::name).unwrap_or_default();
            (job.say)(&format!("dpkg unpacks {name} itself: {why}"));
        }
        let ran = Launcher::of(&world.program)
            .run_image(&run, job.cancel, &mut |line| (job.say)(line))
            .map_err(|fault| fault.at(step.place(), "these packages"))?;
        job.warn_of_left(&ran.left, step.place(), "these packages");
        if ran.failed.is_some() {
            // Without it there is less to look at, and the failure is the same.
            let _ = failed::keep(step, below, state, &capture, world);
            let _ = std::fs::remove_file(&capture);
        }
        refuse_failure(&run, &ran, step.place(), job)?;
        Configured::of(&capture, world.epoch)
    }

    /// The files of packages that dpkg has to unpack itself.
    fn shown(&self, world: &World, job: &Job<'_>) -> Result<Vec<Shown>, Fault> {
        let mut shown = Vec::new();
        for number in &self.work.debs {
            let (Some(layer), Some(package)) = (self.debs.get(*number), self.packages.get(*number)) else {
                continue;
            };
            let Some((deb, mirrors)) = self.files.get(&layer.step) else { continue };
            let host = world.fetcher.deb(deb, mirrors, job.cancel, &|_| {})?;
            let name =
                format!("{}/{}_{}.deb", Work::FOLDER, package.name(), package.control.text("Architecture"));
            shown.push(Shown { host, at: path(&name) });
        }
        Ok(shown)
    }
}

/// What configuring left above its root.
pub(super) struct Configured {
    /// What they changed, and where its contents are.
    pub gathered: Gathered,
    /// Those contents.
    pub tar: File,
}

impl Configured {
    /// What the tar at `capture` has, which is nobody else's.
    fn of(capture: &Path, epoch: i64) -> Result<Configured, Fault> {
        let tar = File::open(capture).map_err(|error| Fault::io("read", capture, &error))?;
        // Only the open file is needed: it is gone when it is closed.
        let _ = std::fs::remove_file(capture);
        let rules = Rules { to: EntryPath::root(), owner: None, epoch, keep_times: true, root_counts: true };
        let gathered = read_tar(&mut BufReader::with_capacity(1 << 18, &tar), &rules, None);
        let gathered = gathered.map_err(|bad| {
            Fault::build("packages/capture", format!("cannot take in what dpkg changed: {bad}"))
        })?;
        Ok(Configured { gathered, tar })
    }
}

fn refuse_failure(run: &ImageRun, ran: &ImageRan, place: &Place, job: &Job<'_>) -> Result<(), Fault> {
    let Some(failed) = ran.failed else { return Ok(()) };
    let call = run.commands.get(failed).map(|call| {
        let arguments = call.arguments.iter().map(|argument| format!(" {argument}")).collect::<String>();
        format!("{}{arguments}", call.program)
    });
    // dpkg names what could not be configured for want of it behind it.
    let named = ran.tail.iter().find_map(|line| line.strip_prefix("dpkg: error processing package "));
    let named = named.and_then(|rest| rest.split_once(" (")).map(|(name, _)| format!("the package `{name}`"));
    let what = named.unwrap_or_else(|| "packages".into());
    let message = format!("{what} could not be configured: `{}` failed", call.unwrap_or_default());
    let mut fault = Fault::build("packages/configure", message).at(place, "these packages");
    fault.output = ran.tail.clone();
    Err(fault.help(format!("the whole output is in `{}`", job.log.display())))
}

fn read(layer: &StackLayer) -> Result<Package, Fault> {
    let control = Control::from_found(&layer.found).ok_or_else(|| {
        Fault::build("deb/found", format!("nothing is known of the package of `{}`", layer.step))
            .help("clear the cache: `imgbuild cache clear`")
    })?;
    Package::read(control, &layer.layer)
}

/// What is installed below, as dpkg's database there says.
fn database_below(lower: &Stack, merged: &Merged) -> Result<dpkg::Below, Fault> {
    let debs = lower.layers.iter().filter(|layer| layer.kind == deb::KIND);
    let packages = debs.map(read).collect::<Result<Vec<_>, _>>()?;
    let folder = path("var/lib/dpkg/triggers");
    let inside =
        merged.nodes().map(|node| &node.entry.path).filter(|path| path.parent().as_ref() == Some(&folder));
    let triggers: BTreeMap<String, String> = inside
        .map(|path| {
            let name = String::from_utf8_lossy(path.name()).into_owned();
            (name, text_of(lower, merged, &String::from_utf8_lossy(path.as_bytes())))
        })
        .collect();
    let text = |name: &str| text_of(lower, merged, &format!("var/lib/dpkg/{name}"));
    Ok(dpkg::Below {
        packages,
        status: text("status"),
        diversions: text("diversions"),
        overrides: text("statoverride"),
        triggers,
    })
}

fn text_of(stack: &Stack, merged: &Merged, at: &str) -> String {
    let node = merged.file(&path(at));
    let bytes = node.and_then(|node| stack.layer_of(node)?.bytes(&node.entry, 64 << 20).ok());
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

fn call(command: &dpkg::Command, epoch: i64) -> Call {
    let mut arguments = command.arguments.iter().cloned();
    Call {
        program: arguments.next().unwrap_or_default(),
        arguments: arguments.collect(),
        environment: command.variables(epoch),
        must_succeed: true,
        ..Call::default()
    }
}

fn removals() -> Vec<Removal> {
    let removal = |cleaned: &dpkg::Cleaned| Removal {
        path: path(cleaned.path),
        what: match cleaned.clean {
            Clean::Remove => Removed::Whole,
            Clean::Contents => Removed::Inside,
            Clean::Empty => Removed::Content,
        },
    };
    CLEANED.iter().map(removal).collect()
}

pub(super) fn given(at: &str, mode: u32, text: impl Into<String>) -> Given {
    Given { path: path(at), mode, bytes: text.into().into_bytes() }
}

fn path(text: &str) -> EntryPath {
    EntryPath::parse(text.trim_start_matches('/')).unwrap_or_default()
}
