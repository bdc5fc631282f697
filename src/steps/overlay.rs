//! `overlay`: a set of files that goes on top of an image, whatever it is made from.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};

use super::archive::ArchiveOverlay;
use super::folder::FolderOverlay;
use super::script::{Input, ScriptOverlay};
use crate::fault::{Fault, Faults};
use crate::lang::{Child, Field, Form, Node, Owner, Scope, Spanned, Word};
use crate::layer::read::{Gathered, Rules};
use crate::layer::{Entry, EntryPath, Kind};
use crate::tree::{Detail, Filter, anchored};
use crate::wording;
use crate::work::{Facts, Folders, Step, World};

/// `overlay NAME …`
pub static WORD: Word = Word {
    name: "overlay",
    summary: "files that go on top of an image",
    docs: "An overlay is one of three things, and what is on the disk decides which:\n\n\
           - a folder of files: they are taken as they are;\n\
           - a folder with an executable `tar`: the script is run as `tar OUT` in a sandbox and writes the files, as \
             xcluster's overlays do;\n\
           - a tar file, plain or compressed with gzip, bzip2, xz or zstd.\n\n\
           Without `from`, it is a folder of its name in one of the folders of `search`. An overlay that is found there \
           and needs nothing said about it may be used without being declared.\n\n\
           Everything in it belongs to root unless `owner` says otherwise. Of a folder's modes only counts whether a \
           file can be executed, as in git, and a directory that the layers below have already keeps its mode and owner; \
           both unless `modes=\"keep\"`. A file named `.wh.NAME` removes `NAME` of the layers below, and one named \
           `.wh..wh..opq` everything that they have in its folder.",
    example: "overlay \"timezone\"\noverlay \"site\" from=\"overlays/site\" to=\"/srv\" owner=\"www-data:www-data\" {\n    \
              exclude \"*~\"\n    permissions \"keys/**\" mode=\"0600\"\n}\nimage \"server\" {\n    overlays \"timezone\" \
              \"site\"\n    output \"tar\"\n}\n",
    arguments: &[Field::new("name", Form::Name, "What images call it.").required()],
    properties: &[
        Field::new("from", Form::Path, "The folder or tar file.")
            .default("looked for by its name in the folders of `search`"),
        Field::new("to", Form::ImagePath, "The directory of the image that it goes to.").default("/"),
        Field::new(
            "owner",
            Form::Text,
            "Whom everything in it belongs to: `\"user:group\"`, names or numbers; names are \
            looked up in the image's own `/etc/passwd`. `\"keep\"` takes a tar's own numbers.",
        )
        .default("root:root"),
        Field::new(
            "modes",
            Form::OneOf(&["git", "keep"]),
            "Which of a folder's modes count: only whether a file can be \
            executed, or all of them.",
        )
        .default("git"),
        Field::new(
            "timeout",
            Form::Integer { min: 1, max: 86_400 },
            "Seconds after which its script is ended.",
        )
        .default("no limit"),
    ],
    children: &[
        Child::many(&INCLUDE),
        Child::many(&EXCLUDE),
        Child::many(&PERMISSIONS),
        Child::once(&VARIABLES),
        Child::many(&INPUT),
    ],
    ..Word::BARE
};

static INCLUDE: Word = Word {
    name: "include",
    summary: "take only the files that match",
    docs: "Patterns of the paths to take; without any, all are. `*` stays within a name, `**` crosses folders, and a \
           pattern without a slash matches at any depth.",
    example: "overlay \"etc\" {\n    include \"etc/**/*.conf\"\n}\n",
    rest: Some(Field::new("pattern", Form::Glob, "A pattern.").required()),
    ..Word::BARE
};

static EXCLUDE: Word = Word {
    name: "exclude",
    summary: "leave out what matches",
    docs: "Patterns of the paths to leave out, with all that is below them; stronger than `include`.",
    example: "overlay \"etc\" {\n    exclude \"*~\" \".gitkeep\"\n}\n",
    rest: Some(Field::new("pattern", Form::Glob, "A pattern.").required()),
    ..Word::BARE
};

static PERMISSIONS: Word = Word {
    name: "permissions",
    summary: "set mode and owner of what matches",
    docs: "For paths of the overlay that match the pattern; of several that match, the last one counts.",
    example: "overlay \"site\" {\n    permissions \"etc/ssl/private/**\" mode=\"0640\" owner=\"root:ssl-cert\"\n}\n",
    arguments: &[Field::new("pattern", Form::Glob, "A pattern, as in `include`.").required()],
    properties: &[
        Field::new("mode", Form::Mode, "Permission bits; symbolic links have none."),
        Field::new("owner", Form::Owner, "User and group."),
    ],
    ..Word::BARE
};

static VARIABLES: Word = Word {
    name: "variables",
    summary: "the variables that its script sees",
    docs: "A script sees these and no others; it runs again only when one of them changes. Without this word it sees all \
           variables of the manifest.",
    example: "variable \"SETUP\" default=\"ipv4\"\noverlay \"network\" {\n    variables \"SETUP\"\n}\n",
    rest: Some(Field::new("name", Form::Name, "A variable of the manifest.")),
    ..Word::BARE
};

static INPUT: Word = Word {
    name: "input",
    summary: "a file or folder that its script may read",
    docs: "A script sees its own folder, overlays that it asks for, the programs of the host, and its inputs.",
    example: "overlay \"kernel\" {\n    input \"downloads/linux.tar.xz\" variable=\"LINUX_TAR\"\n}\n",
    arguments: &[Field::new("path", Form::Path, "The file or folder.").required()],
    properties: &[Field::new(
        "variable",
        Form::Name,
        "An environment variable that tells the script where it is.",
    )],
    ..Word::BARE
};

/// What a manifest says of an overlay.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// Its name, at the place where it is declared, or used if it is not.
    pub name: Spanned<String>,
    from: Option<Spanned<String>>,
    /// The directory that it goes to.
    pub to: EntryPath,
    /// Whom everything belongs to; none where the source says.
    owner: Option<Owner>,
    keep_modes: bool,
    /// Which paths count.
    pub filter: Filter,
    permissions: Vec<Permission>,
    /// The variables that its script sees, with their values.
    pub variables: Scope,
    /// What else its script sees.
    pub inputs: Vec<Input>,
    /// Seconds that its script may take.
    pub timeout: Option<u64>,
}

#[derive(Clone, Debug)]
struct Permission {
    pattern: String,
    matcher: GlobMatcher,
    mode: Option<u32>,
    owner: Option<Owner>,
}

/// The overlay that a node declares.
pub fn decode(node: &Node, folders: &Folders, scope: &Scope, faults: &mut Faults) -> Option<Overlay> {
    let name = node.text("name")?;
    let mut overlay = Overlay::named(name, scope);
    overlay.from = node.text("from");
    overlay.to = node.text("to").and_then(|to| EntryPath::parse(to.value).ok()).unwrap_or_default();
    overlay.keep_modes = node.text("modes").is_some_and(|modes| modes.value == "keep");
    overlay.timeout = node.integer("timeout").map(|seconds| seconds.value.unsigned_abs());
    if let Some(owner) = node.text("owner") {
        overlay.owner = owner_rule(&owner, faults);
    }
    overlay.filter = filter(node, faults);
    overlay.permissions = node.children("permissions").filter_map(|node| permission(node, faults)).collect();
    if let Some(variables) = node.child("variables") {
        overlay.variables = chosen(variables.texts("name"), scope, faults);
    }
    overlay.inputs = node.children("input").filter_map(|node| input(node, folders)).collect();
    Some(overlay)
}

impl Overlay {
    /// An overlay that is used without being declared.
    pub fn named(name: Spanned<String>, scope: &Scope) -> Overlay {
        Overlay {
            name,
            from: None,
            to: EntryPath::root(),
            owner: Some(Owner::ROOT),
            keep_modes: false,
            filter: Filter::all(),
            permissions: Vec::new(),
            variables: scope.clone(),
            inputs: Vec::new(),
            timeout: None,
        }
    }

    /// The step's id.
    pub fn id(&self) -> String {
        format!("overlay:{}", self.name.value)
    }

    /// Looks on the disk for what the overlay is made from.
    pub fn resolve(&self, folders: &Folders, search: &[PathBuf]) -> Result<Arc<dyn Step>, Fault> {
        let path = match &self.from {
            Some(from) => {
                let path = folders.path(from);
                if !path.exists() {
                    let fault = Fault::error("overlay/missing", format!("`{}` does not exist", from.value));
                    return Err(fault
                        .at(&from.place, "named here")
                        .maybe_help(near_file(&path, &from.value)));
                }
                path
            }
            None => find(&self.name, folders, search)?,
        };
        let overlay = self.clone();
        if !path.is_dir() {
            Ok(Arc::new(ArchiveOverlay { overlay, path }))
        } else if is_executable(&path.join("tar")) {
            Ok(Arc::new(ScriptOverlay { overlay, path }))
        } else if path.join("tar").is_file() && !self.filter.excludes(b"tar") {
            let script = folders.shown(&path.join("tar"));
            Err(Fault::error("overlay/script", format!("`{script}` is not executable"))
                .at(&self.name.place, "the script of this overlay")
                .help(format!("run `chmod +x {script}`; if it is just a file, say `exclude \"/tar\"`")))
        } else {
            Ok(Arc::new(FolderOverlay { overlay, path }))
        }
    }

    /// States what holds for overlays of all kinds.
    pub fn facts(&self, world: &World, facts: &mut Facts) {
        let key = &mut facts.key;
        key.fact("to", &self.to);
        key.fact("owner", self.owner.as_ref().map_or("keep".to_string(), Owner::to_string));
        key.fact("epoch", world.epoch);
        for permission in &self.permissions {
            let mode = permission.mode.map_or("-".to_string(), |mode| format!("{mode:04o}"));
            let owner = permission.owner.as_ref().map_or("-".to_string(), Owner::to_string);
            key.fact("permissions", format_args!("{mode} {owner} {}", permission.pattern));
        }
    }

    /// Whether everything belongs to whom the source says.
    pub fn keeps_owners(&self) -> bool {
        self.owner.is_none()
    }

    /// Which of a folder's modes count.
    pub fn detail(&self) -> Detail {
        if self.keep_modes { Detail::Modes } else { Detail::Plain }
    }

    /// How the entries of a tar are taken over.
    pub fn rules(&self, world: &World) -> Rules {
        Rules {
            to: self.to.clone(),
            owner: self.owner.clone(),
            epoch: world.epoch,
            keep_times: false,
            root_counts: false,
        }
    }

    /// States which paths of a tar count: of a folder, its digest says.
    pub fn filter_facts(&self, facts: &mut Facts) {
        for line in self.filter.text().lines() {
            facts.key.fact("filter", line);
        }
    }

    /// Sets the owner of a folder's entries, then what `permissions` say.
    pub fn adapt(&self, entries: &mut [Entry]) {
        if let Some(owner) = &self.owner {
            let own =
                |entry: &&mut Entry| entry.path.below(&self.to).is_some_and(|inside| !inside.is_empty());
            entries.iter_mut().filter(own).for_each(|entry| entry.owner = owner.clone());
        }
        entries.iter_mut().for_each(|entry| self.permit(entry));
    }

    /// Leaves out the entries of a tar that do not count, and sets what `permissions` say.
    pub fn select(&self, gathered: &mut Gathered) {
        gathered.retain(|path| {
            let inside = path.below(&self.to).unwrap_or_default();
            inside.is_empty() || (self.filter.includes(inside) && !self.filter.excludes(inside))
        });
        gathered.entries_mut().for_each(|entry| self.permit(entry));
    }

    /// Sets what `permissions` say.
    fn permit(&self, entry: &mut Entry) {
        let Some(relative) = entry.path.below(&self.to).filter(|_| !entry.is_whiteout()) else { return };
        let path =
            Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(relative)).to_path_buf();
        for permission in self.permissions.iter().filter(|permission| permission.matcher.is_match(&path)) {
            if let (Some(mode), false) = (permission.mode, matches!(entry.kind, Kind::Symlink(_))) {
                entry.mode = mode;
                entry.weak = false;
            }
            if let Some(owner) = &permission.owner {
                entry.owner = owner.clone();
                entry.weak = false;
            }
        }
    }
}

/// The first folder, or tar file, of that name on the search path.
fn find(name: &Spanned<String>, folders: &Folders, search: &[PathBuf]) -> Result<PathBuf, Fault> {
    if let Some(found) = search.iter().map(|folder| folder.join(&name.value)).find(|path| path.is_dir()) {
        return Ok(found);
    }
    let fault = Fault::error("overlay/unknown", format!("no overlay is called `{}`", name.value))
        .at(&name.place, "not declared, and not found on the search path");
    // An overlay's own folder on the path hides it: its parent was meant.
    let itself =
        search.iter().find(|folder| folder.file_name().is_some_and(|last| last == name.value.as_str()));
    if let Some(folder) = itself {
        let parent = folder.parent().unwrap_or(folder);
        return Err(fault.help(format!(
            "`{}` on the search path is itself the overlay; did you mean its parent, `{}`?",
            folders.shown(folder),
            folders.shown(parent)
        )));
    }
    let names: Vec<String> = search.iter().flat_map(|folder| folder_names(folder)).collect();
    Err(match wording::nearest(&name.value, names.iter().map(String::as_str)) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None if search.is_empty() => {
            fault.help("say where overlays are: `search { overlays \"overlays\" }`, or `from=`")
        }
        None => fault.help(format!(
            "looked in {}; declare it with `overlay \"{}\" from=…`",
            wording::all(search.iter().map(|folder| folders.shown(folder))),
            name.value
        )),
    })
}

fn folder_names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The neighbour of `path` that was most likely meant, as `typed` would have had to be.
pub fn near_file(path: &Path, typed: &str) -> Option<String> {
    let names: Vec<String> = std::fs::read_dir(path.parent()?)
        .ok()?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let last = path.file_name()?.to_string_lossy().into_owned();
    let near = wording::nearest(&last, names.iter().map(String::as_str))?;
    Some(format!("did you mean `{}`?", Path::new(typed).with_file_name(near).display()))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn owner_rule(owner: &Spanned<String>, faults: &mut Faults) -> Option<Owner> {
    if owner.value == "keep" {
        return None;
    }
    let read = Owner::parse(&owner.value);
    if read.is_none() {
        faults.push(
            Fault::error("value/unfit", format!("`{}` is not an owner", wording::printable(&owner.value)))
                .at(&owner.place, "an owner belongs here")
                .help("write `\"user:group\"`, names or numbers, or `\"keep\"` to take a tar's own numbers"),
        );
    }
    read
}

fn filter(node: &Node, faults: &mut Faults) -> Filter {
    let patterns = |word: &str| -> Vec<Spanned<String>> {
        node.children(word).flat_map(|child| child.texts("pattern")).collect()
    };
    let (include, exclude) = (patterns("include"), patterns("exclude"));
    for pattern in include.iter().chain(&exclude) {
        if let Err(bad) = Filter::new(&[&pattern.value], &[]) {
            faults.push(bad_pattern(pattern, &bad.what));
        }
    }
    let texts = |patterns: &'_ [Spanned<String>]| -> Vec<String> {
        patterns.iter().map(|pattern| pattern.value.clone()).collect()
    };
    // A pattern at fault has been reported; nothing is built then.
    Filter::new(&texts(&include), &texts(&exclude)).unwrap_or_default()
}

fn bad_pattern(pattern: &Spanned<String>, what: &str) -> Fault {
    Fault::error("pattern/bad", format!("`{}` is not a pattern: {what}", wording::printable(&pattern.value)))
        .at(&pattern.place, "this pattern")
        .help("`*` and `?` stay within a name, `**` crosses folders, `[ab]` and `{a,b}` are choices; `\\` takes a letter as it is")
}

fn permission(node: &Node, faults: &mut Faults) -> Option<Permission> {
    let pattern = node.text("pattern")?;
    let whole = anchored(&pattern.value);
    let (mode, owner) = (node.mode("mode"), node.owner("owner").map(|owner| owner.value));
    match GlobBuilder::new(&whole).literal_separator(true).build() {
        Ok(glob) => Some(Permission { pattern: whole, matcher: glob.compile_matcher(), mode, owner }),
        Err(error) => {
            faults.push(bad_pattern(&pattern, &error.kind().to_string()));
            None
        }
    }
}

/// These variables of `scope`, with their values.
pub fn chosen(names: Vec<Spanned<String>>, scope: &Scope, faults: &mut Faults) -> Scope {
    let mut variables = Scope::new();
    for name in names {
        match scope.get(&name.value) {
            Some(value) => drop(variables.insert(name.value, value.clone())),
            None => faults.push(
                Fault::error("variable/unknown", format!("no variable is called `{}`", name.value))
                    .at(&name.place, "named here")
                    .maybe_help(wording::suggest(&name.value, scope.keys().map(String::as_str)))
                    .or_help(format!("declare it with `variable \"{}\"`", name.value)),
            ),
        }
    }
    variables
}

fn input(node: &Node, folders: &Folders) -> Option<Input> {
    let shown = node.text("path")?;
    let variable = node.text("variable").map(|variable| variable.value);
    Some(Input { path: folders.path(&shown), shown, variable })
}
