//! Upkeep: what is kept, and removing what nothing uses.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use super::{Journal, KeptDownload, KeptTree, Store, clock, remove_tree};
use crate::fault::Fault;
use crate::key::Digest;
use crate::layer::LayerId;

/// A layer that is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Which.
    pub id: LayerId,
    /// Bytes of its tar and index.
    pub size: u64,
    /// Seconds since a build last used it.
    pub age: i64,
    /// The steps that made or found it last, over all projects.
    pub steps: BTreeSet<String>,
}

/// What a removal removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many layers.
    pub layers: usize,
    /// How many trees.
    pub trees: usize,
    /// How many downloads.
    pub downloads: usize,
    /// Bytes.
    pub bytes: u64,
}

impl Store {
    /// All layers, the one used last first.
    pub fn layers(&self) -> Vec<Kept> {
        let users = self.users();
        let mut kept: Vec<Kept> = self
            .layer_ids()
            .into_iter()
            .filter_map(|id| {
                let tar = fs::metadata(self.tar_path(id)).ok()?;
                let index = fs::metadata(self.index_path(id)).ok()?;
                let used = std::os::unix::fs::MetadataExt::mtime(&index);
                Some(Kept {
                    id,
                    size: tar.len() + index.len(),
                    age: (clock::seconds() - used).max(0),
                    steps: users.get(&id.to_string()).cloned().unwrap_or_default(),
                })
            })
            .collect();
        kept.sort_by(|left, right| left.age.cmp(&right.age).then_with(|| left.id.cmp(&right.id)));
        kept
    }

    /// Notes that a build used the layer now.
    pub fn touch(&self, id: LayerId) {
        self.touch_file(&self.index_path(id));
    }

    /// Notes that a build used what the file stands for now.
    pub(super) fn touch_file(&self, path: &Path) {
        if self.writable() {
            touch(path);
        }
    }

    /// Removes layers that no project's last build uses, trees and downloads that are older than `seconds`; then, if
    /// more than `bytes` are left, others, the ones used longest ago first: downloads before trees before layers.
    pub fn collect(&self, seconds: i64, bytes: Option<u64>) -> Removed {
        let mut removed = Removed::default();
        let mut left = Vec::new();
        for kept in self.layers() {
            if kept.steps.is_empty() && kept.age >= seconds {
                self.drop_layer(&kept, &mut removed);
            } else {
                left.push(kept);
            }
        }
        let (old, mut trees): (Vec<KeptTree>, Vec<KeptTree>) =
            self.trees().into_iter().partition(|tree| tree.age >= seconds);
        old.iter().for_each(|tree| self.drop_tree(tree, &mut removed));
        let (old, mut downloads): (Vec<KeptDownload>, Vec<KeptDownload>) =
            self.downloads().into_iter().partition(|download| download.age >= seconds);
        old.iter().for_each(|download| self.drop_download(download, &mut removed));
        let mut total: u64 = left.iter().map(|kept| kept.size).sum();
        total += trees.iter().map(|tree| tree.size).sum::<u64>();
        total += downloads.iter().map(|download| download.size).sum::<u64>();
        if let Some(most) = bytes {
            while total > most {
                let Some(download) = downloads.pop() else { break };
                total -= download.size;
                self.drop_download(&download, &mut removed);
            }
            while total > most {
                let Some(tree) = trees.pop() else { break };
                total -= tree.size;
                self.drop_tree(&tree, &mut removed);
            }
            while total > most {
                let Some(kept) = left.pop() else { break };
                total -= kept.size;
                self.drop_layer(&kept, &mut removed);
            }
        }
        self.drop_dead_records();
        self.drop_old("listings", seconds);
        self.drop_old("parsed", seconds);
        removed
    }

    /// Removes everything.
    pub fn clear(&self) -> Result<Removed, Fault> {
        let layers = self.layers();
        let trees = self.trees();
        let downloads = self.downloads();
        let sizes = layers.iter().map(|kept| kept.size).chain(trees.iter().map(|tree| tree.size));
        let bytes = sizes.chain(downloads.iter().map(|download| download.size)).sum();
        let removed = Removed { layers: layers.len(), trees: trees.len(), downloads: downloads.len(), bytes };
        for room in
            ["layers", "trees", "downloads", "releases", "records", "listings", "parsed", "projects", "tmp"]
        {
            let path = self.root().join(room);
            if path.exists() {
                remove_tree(&path).map_err(|error| Fault::io("remove", &path, &error))?;
            }
        }
        Ok(removed)
    }

    /// Reads every tree in full; gives how many there are and those that were not whole, which are removed.
    pub fn verify_trees(&self) -> (usize, Vec<Digest>) {
        let keys = self.tree_keys();
        let damaged: Vec<Digest> = keys.iter().copied().filter(|key| !self.verify_tree(*key)).collect();
        (keys.len(), damaged)
    }

    /// Reads every layer in full; gives how many there are and those that were not whole, which are removed.
    pub fn verify(&self) -> (usize, Vec<LayerId>) {
        let ids = self.layer_ids();
        let damaged: Vec<LayerId> = ids.iter().copied().filter(|id| !self.verify_layer(*id)).collect();
        (ids.len(), damaged)
    }

    fn drop_layer(&self, kept: &Kept, removed: &mut Removed) {
        self.forget(kept.id);
        removed.layers += 1;
        removed.bytes += kept.size;
    }

    fn drop_tree(&self, tree: &KeptTree, removed: &mut Removed) {
        self.forget_tree(tree.key);
        removed.trees += 1;
        removed.bytes += tree.size;
    }

    fn drop_download(&self, download: &KeptDownload, removed: &mut Removed) {
        self.forget_download(download.digest);
        removed.downloads += 1;
        removed.bytes += download.size;
    }

    /// Every layer that has any of its files.
    fn layer_ids(&self) -> Vec<LayerId> {
        let names = shards(&self.root().join("layers"));
        let ids = names.iter().filter_map(|path| path.file_stem()?.to_str()?.parse().ok().map(LayerId));
        ids.collect::<BTreeSet<LayerId>>().into_iter().collect()
    }

    /// The steps that the journals of all projects name with each layer.
    fn users(&self) -> HashMap<String, BTreeSet<String>> {
        let mut users: HashMap<String, BTreeSet<String>> = HashMap::new();
        let Ok(projects) = fs::read_dir(self.root().join("projects")) else { return users };
        for project in projects.flatten() {
            for past in Journal::read(&project.path()).all() {
                for layer in &past.layers {
                    users.entry(layer.clone()).or_default().insert(past.step.clone());
                }
            }
        }
        users
    }

    /// Records whose layers are gone are of no use.
    fn drop_dead_records(&self) {
        let there: BTreeSet<LayerId> = self.layer_ids().into_iter().collect();
        for path in shards(&self.root().join("records")) {
            let key = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            let record = key.and_then(|key| self.record(key));
            if record.is_none_or(|record| record.layers.iter().any(|layer| !there.contains(layer))) {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn drop_old(&self, room: &str, seconds: i64) {
        for path in shards(&self.root().join(room)) {
            let changed = fs::metadata(&path)
                .map_or(i64::MAX, |metadata| std::os::unix::fs::MetadataExt::mtime(&metadata));
            if clock::seconds().saturating_sub(changed) >= seconds {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Notes that what the file stands for was used now.
pub fn touch(path: &Path) {
    let now = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
        last_modification: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
    };
    // An age that is too high costs at worst making it anew.
    let _ = rustix::fs::utimensat(rustix::fs::CWD, path, &now, rustix::fs::AtFlags::empty());
}

/// The files in the folders of `room`.
pub(super) fn shards(room: &Path) -> Vec<std::path::PathBuf> {
    let read = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    read(room).flat_map(|folder| read(&folder).collect::<Vec<_>>()).collect()
}
