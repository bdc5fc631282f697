//! The commands that configure packages which were unpacked without dpkg.

use std::collections::{BTreeMap, BTreeSet};

use super::{Below, Names, Order, Package};

/// A program to be run inside the image, as its root, in the folder `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The program, by its absolute path, and its arguments.
    pub arguments: Vec<String>,
    /// Variables beside [`ENVIRONMENT`].
    pub environment: Vec<(String, String)>,
}

/// What is to be run, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// The commands; each must succeed before the next is run.
    pub commands: Vec<Command>,
    /// Positions of packages whose files must be in [`Work::FOLDER`] of the image while the commands run, named
    /// `NAME_ARCH.deb`.
    pub debs: Vec<usize>,
}

impl Command {
    /// All its variables, with the epoch of the image.
    pub fn variables(&self, epoch: i64) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        let mut variables: BTreeMap<String, String> = ENVIRONMENT.iter().map(owned).collect();
        variables.insert("SOURCE_DATE_EPOCH".to_string(), epoch.to_string());
        variables.extend(self.environment.iter().cloned());
        variables
    }
}

impl Work {
    /// Where the files of packages that dpkg unpacks itself are found.
    pub const FOLDER: &'static str = "/run/imgbuild";
}

/// Variables of every command, beside `SOURCE_DATE_EPOCH`.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("LC_ALL", "C.UTF-8"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
    // A kernel's scripts make no initramfs: that is a step of its own.
    ("INITRD", "No"),
];

/// Files that stand in the image while the commands run, and not behind: path below the root, mode, content.
pub const DURING: &[(&str, u32, &str)] = &[
    // No service is started (Debian Policy, 9.3.3; invoke-rc.d(8)).
    ("usr/sbin/policy-rc.d", 0o755, "#!/bin/sh\nexit 101\n"),
    // What starts a daemon without asking (start-stop-daemon(8)) believes that it did.
    ("usr/sbin/start-stop-daemon", 0o755, "#!/bin/sh\nexit 0\n"),
    // What is only done for a running system is left out (ischroot(1)): libc6 would tell init, and wait for it.
    ("usr/bin/ischroot", 0o755, "#!/bin/sh\nexit 0\n"),
    // What is lost with power is made again anyway.
    ("etc/dpkg/dpkg.cfg.d/imgbuild", 0o644, "force-unsafe-io\nforce-confdef\nforce-confold\n"),
];

const DPKG: &str = "/usr/bin/dpkg";

/// The commands that configure `packages`, of which those in `order.layers` are unpacked, on top of `below`.
///
/// In a base, base-passwd is configured before anything else, since all scripts need its accounts. Then the preinsts
/// run, each behind the configuring of what its package pre-depends on where that makes a difference; then dpkg
/// configures, in a base what is essential first, as every bootstrap does: scripts rely on its conffiles without a word.
pub fn work(packages: &[Package], order: &Order, below: &Below) -> Work {
    let names = Names::of(packages);
    let mut planner = Planner {
        packages,
        names,
        version: dpkg_version(packages, below),
        essential: BTreeSet::new(),
        configured: BTreeSet::new(),
        pending: order.layers.iter().copied().filter(|number| has_preinst(packages, *number)).collect(),
        work: Work::default(),
    };
    if below.packages.is_empty() {
        planner.begin_base();
    }
    planner.run_preinsts(&order.layers);
    planner.unpack_by_dpkg(order);
    planner.configure_essential(&order.layers);
    if !packages.is_empty() {
        planner.dpkg(&["--configure", "--pending"]);
    }
    planner.work
}

fn has_preinst(packages: &[Package], number: usize) -> bool {
    packages.get(number).is_some_and(|package| package.preinst.is_some())
}

struct Planner<'a> {
    packages: &'a [Package],
    names: Names<'a>,
    version: String,
    /// What must work as soon as it is unpacked (Debian Policy, 3.8), and what that needs.
    essential: BTreeSet<usize>,
    configured: BTreeSet<usize>,
    /// Packages whose preinst is yet to run.
    pending: BTreeSet<usize>,
    work: Work,
}

impl Planner<'_> {
    fn begin_base(&mut self) {
        let marked = (0..self.packages.len()).filter(|number| self.packages[*number].is_essential());
        self.essential = self.names.closure(self.packages, marked);
        let passwd = self.packages.iter().position(|package| package.name() == "base-passwd");
        if let Some(passwd) = passwd {
            self.run_preinst(passwd);
            self.dpkg(&["--force-depends", "--configure", "base-passwd"]);
            self.configured.insert(passwd);
        }
    }

    /// Runs the preinsts in the order of the layers, each as soon as what its package pre-depends on is ready.
    fn run_preinsts(&mut self, layers: &[usize]) {
        loop {
            let ready: Vec<usize> = layers.iter().copied().filter(|number| self.is_ready(*number)).collect();
            ready.iter().for_each(|number| self.run_preinst(*number));
            if self.pending.is_empty() {
                return;
            }
            let next: BTreeSet<usize> =
                self.pending.iter().flat_map(|number| self.missing(*number)).collect();
            let next: BTreeSet<usize> = next
                .into_iter()
                .filter(|number| self.names.closure(self.packages, [*number]).is_disjoint(&self.pending))
                .collect();
            if next.is_empty() {
                // A circle: as unpacked as can be is all that there is.
                let first = layers.iter().copied().find(|number| self.pending.contains(number));
                match first {
                    Some(first) => self.run_preinst(first),
                    None => return,
                }
                continue;
            }
            let next = self.names.closure(self.packages, next);
            let mut arguments = vec!["--no-triggers".to_string(), "--configure".to_string()];
            let todo =
                layers.iter().filter(|number| next.contains(number) && !self.configured.contains(number));
            arguments.extend(todo.map(|number| self.packages[*number].control.database_name()));
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            self.dpkg(&arguments);
            self.configured.extend(next);
        }
    }

    fn is_ready(&self, number: usize) -> bool {
        self.pending.contains(&number) && self.missing(number).is_empty()
    }

    /// What has to be configured before the package's preinst can run.
    fn missing(&self, number: usize) -> BTreeSet<usize> {
        let Some(package) = self.packages.get(number) else { return BTreeSet::new() };
        if self.essential.contains(&number) {
            return BTreeSet::new();
        }
        let needed = self.names.related(package, "Pre-Depends").into_iter();
        let needed = needed.filter(|need| *need != number && !self.is_settled(*need));
        needed
            .filter(|need| {
                let mut closure = self.names.closure(self.packages, [*need]).into_iter();
                closure.any(|one| one != number && self.does_something(one))
            })
            .collect()
    }

    fn is_settled(&self, number: usize) -> bool {
        self.essential.contains(&number) || self.configured.contains(&number)
    }

    /// Whether configuring the package itself changes anything that a program could notice.
    fn does_something(&self, number: usize) -> bool {
        let package = self.packages.get(number);
        let does =
            package.is_some_and(|package| package.has_postinst || package.conffiles().next().is_some());
        does && !self.is_settled(number)
    }

    fn run_preinst(&mut self, number: usize) {
        if !self.pending.remove(&number) {
            return;
        }
        let package = &self.packages[number];
        let variables = [
            ("DPKG_ADMINDIR", "/var/lib/dpkg".to_string()),
            ("DPKG_ROOT", String::new()),
            ("DPKG_RUNNING_VERSION", self.version.clone()),
            ("DPKG_MAINTSCRIPT_PACKAGE", package.name().to_string()),
            ("DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT", "1".to_string()),
            ("DPKG_MAINTSCRIPT_ARCH", package.arch().to_string()),
            ("DPKG_MAINTSCRIPT_NAME", "preinst".to_string()),
            ("DPKG_MAINTSCRIPT_DEBUG", "0".to_string()),
            // debconf looks into the folder that dpkg unpacks to, and else calls the owner of a question unknown.
            ("DEBCONF_PACKAGE", package.name().to_string()),
        ];
        let script = format!("/var/lib/dpkg/info/{}.preinst", package.control.database_name());
        self.work.commands.push(Command {
            arguments: vec![script, "install".to_string()],
            environment: variables.map(|(name, value)| (name.to_string(), value)).to_vec(),
        });
    }

    fn configure_essential(&mut self, layers: &[usize]) {
        let todo = |number: &&usize| self.essential.contains(number) && !self.configured.contains(number);
        let names: Vec<String> =
            layers.iter().filter(todo).map(|number| self.packages[*number].control.database_name()).collect();
        if !names.is_empty() {
            let arguments = ["--configure".to_string()].into_iter().chain(names).collect::<Vec<_>>();
            self.dpkg(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    fn unpack_by_dpkg(&mut self, order: &Order) {
        if order.by_dpkg.is_empty() {
            return;
        }
        let mut arguments = vec!["--force-depends".to_string(), "--unpack".to_string()];
        for (number, _) in &order.by_dpkg {
            let package = &self.packages[*number];
            arguments.push(format!("{}/{}_{}.deb", Work::FOLDER, package.name(), package.arch()));
            self.work.debs.push(*number);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.dpkg(&arguments);
    }

    fn dpkg(&mut self, arguments: &[&str]) {
        let arguments = [DPKG].iter().chain(arguments).map(ToString::to_string).collect();
        self.work.commands.push(Command { arguments, environment: Vec::new() });
    }
}

fn dpkg_version(packages: &[Package], below: &Below) -> String {
    let dpkg = packages.iter().chain(&below.packages).find(|package| package.name() == "dpkg");
    let version = dpkg.map(|package| package.control.text("Version")).unwrap_or_default();
    // The upstream version, as dpkg itself states it.
    let upstream = version.split_once(':').map_or(version, |(_, rest)| rest);
    upstream.split('-').next().unwrap_or_default().to_string()
}
