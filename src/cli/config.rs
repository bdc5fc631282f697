//! The user's configuration: `imgbuild/config.kdl` in the folder for such files, in the manner of a manifest.
//!
//! The command line and the environment win over it. Nothing in it changes what is built.

use std::path::{Path, PathBuf};

use crate::bases::debian::{Defaults, MIRROR};
use crate::fault::{Fault, Faults};
use crate::lang::raw::from_document;
use crate::lang::{Child, Field, Form, Node, Scope, Word, check, syntax};
use crate::work::Folders;

/// What may stand in it.
pub static WORDS: &[Child] = &[Child::once(&CACHE), Child::once(&JOBS), Child::many(&BASE)];

static CACHE: Word = Word {
    name: "cache",
    summary: "the folder where what was built is kept",
    docs: "`--cache` and `IMGBUILD_CACHE` are stronger.",
    example: "cache \"/var/cache/imgbuild\"\n",
    arguments: &[Field::new("path", Form::Path, "The folder.").required()],
    ..Word::BARE
};

static JOBS: Word = Word {
    name: "jobs",
    summary: "how many steps run at once",
    docs: "`--jobs` is stronger. Without either, one for each core.",
    example: "jobs 4\n",
    arguments: &[Field::new("number", Form::Integer { min: 1, max: 1024 }, "How many.").required()],
    ..Word::BARE
};

static BASE: Word = Word {
    name: "base",
    summary: "where a distribution is fetched from unless a manifest says so",
    docs: "As in a manifest, whose own `mirror` and `proxy` are stronger. Without either, the mirrors of this machine's \
           own apt are used.",
    example: "base \"debian\" proxy=\"http://proxy.example:3142\" {\n    mirror \"http://mirror.example/debian\"\n    \
              mirror \"http://mirror.example/debian-security\" {\n        suites \"*-security\"\n    }\n}\n",
    kinds: Some(|| vec![&DEBIAN, &UBUNTU]),
    ..Word::BARE
};

static DEBIAN: Word = Word { name: "debian", summary: "Debian", ..DISTRIBUTION };
static UBUNTU: Word = Word { name: "ubuntu", summary: "Ubuntu", ..DISTRIBUTION };

const DISTRIBUTION: Word = Word {
    properties: &[Field::new("proxy", Form::Url, "An HTTP proxy.")],
    children: &[Child::many(&MIRROR)],
    ..Word::BARE
};

/// What the user has set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The cache, absolute.
    pub cache: Option<PathBuf>,
    /// How many steps run at once.
    pub jobs: Option<usize>,
    /// Mirrors and proxies of distributions.
    pub distributions: Vec<Defaults>,
}

impl Config {
    /// Reads it; a missing file sets nothing.
    pub fn load(folders: &Folders) -> Result<Config, Faults> {
        let Some(folder) = dirs::config_dir() else { return Ok(Config::default()) };
        let path = folder.join("imgbuild/config.kdl");
        match std::fs::read(&path) {
            Ok(bytes) => Config::read(&path, bytes, folders),
            Err(error) if is_missing(&error) => Ok(Config::default()),
            Err(error) => {
                Err(Fault { blame: crate::fault::Blame::Asked, ..Fault::io("read", &path, &error) }.into())
            }
        }
    }

    fn read(path: &Path, bytes: Vec<u8>, folders: &Folders) -> Result<Config, Faults> {
        let source = syntax::from_bytes(&path.display().to_string(), bytes)?;
        let document = syntax::parse(&source)?;
        let mut faults = Faults::new();
        let raw = from_document(&document, &source.text);
        let nodes = check(&raw, &source, WORDS, &Scope::new(), &mut faults);
        let config = Config::of(&nodes, folders, &mut faults);
        if faults.has_errors() { Err(faults) } else { Ok(config) }
    }

    fn of(nodes: &[Node], folders: &Folders, faults: &mut Faults) -> Config {
        let node = |word: &'static Word| nodes.iter().find(|node| node.word.name == word.name);
        let jobs = node(&JOBS).and_then(|node| node.integer("number"));
        Config {
            cache: node(&CACHE).and_then(|node| node.text("path")).map(|path| folders.path(&path)),
            jobs: jobs.and_then(|jobs| usize::try_from(jobs.value).ok()),
            distributions: distributions(nodes, faults),
        }
    }
}

fn distributions(nodes: &[Node], faults: &mut Faults) -> Vec<Defaults> {
    let mut distributions: Vec<(Defaults, &Node)> = Vec::new();
    for node in nodes.iter().filter(|node| node.word.name == BASE.name) {
        let Some(defaults) = Defaults::of(node, faults) else { continue };
        let name = &defaults.distribution;
        match distributions.iter().find(|(known, _)| known.distribution == *name) {
            Some((_, first)) => faults.push(
                Fault::error("word/twice", format!("`base \"{name}\"` stands here twice"))
                    .at(&node.place, "again")
                    .at(&first.place, "first here")
                    .help("put what both say into one of them"),
            ),
            None => distributions.push((defaults, node)),
        }
    }
    distributions.into_iter().map(|(defaults, _)| defaults).collect()
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bases::debian::Mirror;

    fn read(text: &str) -> Result<Config, Vec<String>> {
        let config = Config::read(Path::new("config.kdl"), text.as_bytes().to_vec(), &Folders::default());
        config.map_err(|faults| faults.list.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_example_is_read() {
        for word in [&CACHE, &JOBS, &BASE] {
            assert!(read(word.example).is_ok_and(|config| config != Config::default()), "{}", word.name);
        }
    }

    #[test]
    fn mirrors_stand_in_a_base_as_in_a_manifest() {
        let config = read(
            "base \"debian\" proxy=\"http://p\" { mirror \"http://a/\" \"http://b\" { suites \"*\" } }\n",
        )
        .expect("a configuration");
        let [debian] = config.distributions.as_slice() else { panic!("{:?}", config.distributions) };
        assert_eq!((debian.distribution.as_str(), debian.proxy.as_deref()), ("debian", Some("http://p")));
        let told = |mirror: &Mirror| (mirror.urls.join(" "), mirror.suites.join(" "));
        assert_eq!(
            debian.mirrors.iter().map(told).collect::<Vec<_>>(),
            [("http://a http://b".into(), "*".into())]
        );
        assert_eq!(
            read("base \"ubuntu\"\nbase \"debian\" suite=\"sid\"\nbase \"ubuntu\"\n"),
            Err(vec!["`base` has no property `suite`".into(), "`base \"ubuntu\"` stands here twice".into()])
        );
    }
}
