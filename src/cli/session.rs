//! A session: what the caller said beside the command, and the way from there to a plan.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::arguments::Common;
use super::config::Config;
use super::exit::Exit;
use super::messages::{self, Format};
use super::terminal::Terminal;
use crate::deb::fetch::Fetcher;
use crate::fault::{Fault, Faults, Severity};
use crate::lang::Scope;
use crate::lock::Lock;
use crate::manifest::flavours::Described;
use crate::manifest::{self, Manifest, Said, SearchPath, Texts};
use crate::plan::{self, Graph, Plan, Wanted};
use crate::resolve::{self, Resolved};
use crate::store::{Access, Journal, Store};
use crate::tree::Memory;
use crate::work::{Folders, World};

/// What the caller said beside the command.
#[derive(Debug)]
pub struct Session {
    /// Where text goes.
    pub terminal: Terminal,
    common: Common,
    environment: Scope,
    here: PathBuf,
    config: Config,
}

/// A manifest that was read, with the world around it.
#[derive(Debug)]
pub struct Project {
    /// What it asks for.
    pub manifest: Manifest,
    /// What its steps may look at.
    pub world: World,
    /// The packages that its names stand for.
    pub resolved: Resolved,
    /// What they did last.
    pub journal: Journal,
    /// What is odd about it.
    pub warnings: Faults,
    /// The folder of the store that belongs to it.
    pub folder: PathBuf,
}

impl Session {
    /// The session of this process.
    pub fn new(common: &Common) -> Session {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let environment: Scope = std::env::vars_os().filter_map(text).collect();
        let is_set = |name: &str| environment.get(name).is_some_and(|value| !value.is_empty());
        let utf8 = ["LC_ALL", "LC_CTYPE", "LANG"]
            .iter()
            .find_map(|name| environment.get(*name).filter(|v| !v.is_empty()));
        let unicode = utf8.is_none_or(|locale| locale.to_lowercase().replace('-', "").contains("utf8"));
        let dumb = environment.get("TERM").is_some_and(|term| term == "dumb");
        let terminal = Terminal::new(common.color, is_set("NO_COLOR"), dumb, unicode);
        // Without a folder to stand in, relative paths are of no use, and opening them says so.
        let here = std::env::current_dir().unwrap_or_default();
        Session { terminal, common: common.clone(), environment, here, config: Config::default() }
    }

    /// Takes in the user's configuration.
    pub fn configure(&mut self) -> Result<(), Faults> {
        self.config = Config::load(&self.folders())?;
        Ok(())
    }

    /// How many steps run at once, unless the command line says so.
    pub fn jobs(&self) -> usize {
        self.config.jobs.unwrap_or_else(cores)
    }

    /// Where relative paths start.
    fn folders(&self) -> Folders {
        Folders { here: self.here.clone(), home: dirs::home_dir() }
    }

    /// Shows faults; gives the ending that they lead to.
    pub fn report(&self, faults: Faults) -> Exit {
        let exit = Exit::of(&faults);
        let text = messages::render(&faults.list, self.common.message_format, &self.terminal.look);
        match self.common.message_format {
            // For programs: they read standard output.
            Format::Json | Format::Sarif | Format::Github => self.terminal.answer(&text),
            Format::Fancy | Format::Short => self.terminal.tell(&text),
        }
        exit
    }

    /// Shows warnings, if there are any.
    pub fn warn(&self, faults: &Faults) {
        let warnings: Vec<Fault> =
            faults.list.iter().filter(|fault| fault.severity == Severity::Warning).cloned().collect();
        if !warnings.is_empty() {
            self.report(warnings.into());
        }
    }

    /// What to tell programs, too, even if there is nothing.
    pub fn tells_programs(&self) -> bool {
        self.common.message_format == Format::Sarif
    }

    /// A command of imgbuild about the same project, as the caller would type it.
    pub fn command(&self, words: &str) -> String {
        let Common { directory, file, cache, .. } = &self.common;
        let mut line = String::from("imgbuild");
        for (option, path) in [("-C", directory), ("-f", file), ("--cache", cache)] {
            if let Some(path) = path {
                let _ = write!(line, " {option} {}", word(&path.display().to_string()));
            }
        }
        format!("{line} {words}")
    }

    /// The folder that relative paths of the command line start at.
    pub fn folder(&self) -> PathBuf {
        match &self.common.directory {
            Some(directory) => self.here.join(directory),
            None => self.here.clone(),
        }
    }

    /// The manifest's path, relative to where the caller stands.
    pub fn manifest_path(&self) -> PathBuf {
        let file = self.common.file.clone().unwrap_or_else(|| PathBuf::from("image.kdl"));
        match &self.common.directory {
            Some(directory) => directory.join(file),
            None => file,
        }
    }

    /// The manifest's path, absolute.
    pub fn manifest(&self) -> PathBuf {
        self.here.join(self.manifest_path())
    }

    /// The folder of the manifest, whether there is one or not.
    pub fn project_folder(&self) -> PathBuf {
        let manifest = self.manifest();
        let folder = manifest.parent().unwrap_or(&self.here);
        folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf())
    }

    /// What the project is called where its builds are kept: its folder; another manifest in it is another project.
    pub fn project_name(&self) -> PathBuf {
        let manifest = self.manifest();
        match manifest.file_name().filter(|name| *name != "image.kdl") {
            Some(name) => self.project_folder().join(name),
            None => self.project_folder(),
        }
    }

    /// The folder where what was built is kept.
    pub fn cache(&self) -> Result<PathBuf, Fault> {
        if let Some(cache) = &self.common.cache {
            return Ok(self.here.join(cache));
        }
        if let Some(cache) = self.environment.get("IMGBUILD_CACHE").filter(|cache| !cache.is_empty()) {
            return Ok(self.here.join(cache));
        }
        if let Some(cache) = &self.config.cache {
            return Ok(cache.clone());
        }
        dirs::cache_dir().map(|folder| folder.join("imgbuild")).ok_or_else(|| {
            Fault::machine("store/nowhere", "there is no folder for a cache: this user has no home")
                .help("name one with `--cache DIR` or `IMGBUILD_CACHE`")
        })
    }

    /// Opens the store.
    pub fn store(&self, access: Access) -> Result<Store, Fault> {
        Store::open(&self.cache()?, access)
    }

    /// What the caller said beside the manifest.
    pub fn said(&self) -> Result<Said, Faults> {
        let mut faults = Faults::new();
        let mut set = Scope::new();
        for assignment in &self.common.set {
            match assignment.split_once('=') {
                Some((name, value)) => drop(set.insert(name.to_string(), value.to_string())),
                None => faults.push(
                    Fault::error("command/set", format!("`--set {assignment}` sets nothing"))
                        .help("write `--set NAME=VALUE`"),
                ),
            }
        }
        let epoch = faults.keep(self.epoch()).flatten();
        if faults.has_errors() {
            return Err(faults);
        }
        let path = |name: &str| -> Vec<PathBuf> {
            let text = self.environment.get(name).map(String::as_str).unwrap_or_default();
            text.split(':').filter(|part| !part.is_empty()).map(|part| self.here.join(part)).collect()
        };
        Ok(Said {
            folders: self.folders(),
            set,
            environment: self.environment.clone(),
            epoch,
            host_tools: self.common.host_tools,
            overlays: SearchPath { before: path("IMGBUILD_OVERLAY_PATH"), behind: path("XCLUSTER_OVLPATH") },
            hooks: SearchPath {
                before: path("IMGBUILD_HOOK_PATH"),
                behind: self.common.hooks.iter().map(|folder| self.here.join(folder)).collect(),
            },
            flavours: SearchPath { before: path("IMGBUILD_FLAVOUR_PATH"), behind: path("ELEMENTS_PATH") },
            distributions: self.config.distributions.clone(),
        })
    }

    fn epoch(&self) -> Result<Option<i64>, Fault> {
        let Some(text) = self.environment.get("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match crate::lang::value::parse_time(text).filter(|_| digits) {
            Some(seconds) => Ok(Some(seconds)),
            None => {
                Err(Fault::error("command/epoch", format!("SOURCE_DATE_EPOCH is `{text}`, which is no time"))
                    .help("it is a number of seconds since 1970; unset it for the manifest's epoch"))
            }
        }
    }

    /// Reads the manifest and everything around it, and finds the packages that it names.
    pub fn project(&self, access: Access) -> Result<Project, Faults> {
        self.project_with(access, &self.how_to_resolve(None), &AtomicBool::new(false))
    }

    /// The same with other ways of finding packages, until `stop` is set.
    pub fn project_with(
        &self,
        access: Access,
        how: &resolve::Options,
        stop: &AtomicBool,
    ) -> Result<Project, Faults> {
        let mut project = self.read_project(access)?;
        let lock = Lock::read(&self.lock_path())?;
        if access == Access::Look && !resolve::fits(&project.manifest, lock.as_ref(), how) {
            // What is fetched to choose packages is kept for the build.
            project.world.store = self.store(Access::Use)?;
        }
        let say = |line: &str| self.terminal.tell(&format!("{}\n", self.terminal.dim(line)));
        project.resolved = resolve::resolve(&project.manifest, lock, &project.world, how, stop, &say)?;
        Ok(project)
    }

    /// How packages are found, as the command line says; `update` names those whose versions are let go.
    pub fn how_to_resolve(&self, update: Option<Vec<String>>) -> resolve::Options {
        resolve::Options {
            locked: self.common.locked,
            refresh: self.common.refresh,
            update,
            host_sources: PathBuf::from("/etc/apt"),
        }
    }

    /// The caller's `TERM`, for programs that talk to the terminal.
    pub fn terminal_kind(&self) -> Option<(String, String)> {
        self.environment.get("TERM").map(|kind| ("TERM".to_string(), kind.clone()))
    }

    /// Where the lock of the manifest is, as the caller would type it.
    pub fn lock_path(&self) -> PathBuf {
        Lock::path(&self.manifest_path())
    }

    /// What there is to tell of flavours; where there is no manifest, of those that need none.
    pub fn flavours(&self, name: Option<&str>) -> Result<(Vec<Described>, Faults), Faults> {
        let said = self.said()?;
        let path = self.manifest_path();
        let texts = match self.common.file.is_none() && !self.manifest().exists() {
            true => Texts { project: self.folder(), ..Texts::default() },
            false => Texts::load(&path, &said.folders, None),
        };
        Ok(manifest::flavours(&texts, &said, name))
    }

    fn read_project(&self, access: Access) -> Result<Project, Faults> {
        let said = self.said()?;
        let store = self.store(access)?;
        let path = self.manifest_path();
        let texts = Texts::load(&path, &said.folders, Some(&store));
        let read = manifest::read(&texts, &said);
        let Some(manifest) = read.manifest else { return Err(read.faults) };
        let project = manifest.project.canonicalize().unwrap_or_else(|_| manifest.project.clone());
        let folder = store.project(&self.project_name());
        let journal = Journal::read(&folder);
        let hidden = [Some(project), said.folders.home, Some(store.root().to_path_buf())];
        let proxy = manifest.images.iter().find_map(|image| image.debian.as_ref()?.proxy.clone());
        let fetcher = Fetcher::new(store.root().to_path_buf(), proxy, self.common.offline);
        let world = World {
            project: manifest.project.clone(),
            manifest_files: manifest.files.iter().cloned().chain([Lock::path(&self.manifest())]).collect(),
            kept: folder.clone(),
            memory: Memory::new(&folder, access != Access::Look),
            store,
            epoch: manifest.epoch,
            overlay_path: manifest.overlay_path.clone(),
            hidden: hidden.into_iter().flatten().collect(),
            merges: crate::work::roots::Merges::default(),
            shared: crate::work::Shared::default(),
            fetcher,
            threads: cores(),
            program: PathBuf::from("/proc/self/exe"),
        };
        Ok(Project { manifest, world, resolved: Resolved::default(), journal, warnings: read.faults, folder })
    }

    /// `path` as the caller would type it where they stand.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.here).unwrap_or(path).display().to_string()
    }
}

impl Project {
    /// Reads again what the steps did last.
    pub fn read_journal(&mut self) {
        self.journal = Journal::read(&self.folder);
    }

    /// All steps.
    pub fn graph(&self) -> Result<Graph, Faults> {
        Graph::of(&self.manifest, &self.resolved)
    }

    /// The plan for these steps, by their ids, and what they stand on.
    pub fn plan_of(&self, graph: Graph, ids: &[String]) -> Result<Plan, Faults> {
        let wanted = graph.closure(ids.iter().filter_map(|id| graph.find(id)));
        plan::judge(graph, &wanted, &self.world, &self.journal)
    }

    /// The plan for what is wanted of these targets; of all of them if none is named.
    pub fn plan(&self, targets: &[String], what: Wanted) -> Result<Plan, Faults> {
        let graph = self.graph()?;
        let wanted = plan::select(&graph, targets, what, super::arguments::COMMANDS)?;
        plan::judge(graph, &wanted, &self.world, &self.journal)
    }
}

/// A word as a shell takes it for one.
pub fn word(text: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "/._-+,:@%=#".contains(letter);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_string(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// How many cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
