//! What was fetched from archives: files by their SHA-256, and the Release files seen last.
//!
//! Who fetches writes here (see deb/fetch.rs). A download can be fetched again, and once its layer is there nothing
//! needs it. A Release file is more than a convenience: an older one is refused because of it, so that only removing
//! everything removes these.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::upkeep::shards;
use super::{Store, clock};
use crate::key::{Digest, Hasher};

/// A download that is kept.
#[derive(Clone, Debug)]
pub struct KeptDownload {
    /// The digest of its content.
    pub digest: Digest,
    /// Bytes, with those of what has only arrived in part.
    pub size: u64,
    /// Seconds since a build last used it.
    pub age: i64,
}

impl Store {
    /// All downloads, whole or not, the one used last first.
    pub fn downloads(&self) -> Vec<KeptDownload> {
        let mut found: BTreeMap<Digest, (u64, i64)> = BTreeMap::new();
        for path in shards(&self.root().join("downloads")) {
            let digest = path.file_stem().and_then(|name| name.to_str()?.parse().ok());
            let (Some(digest), Ok(metadata)) = (digest, fs::metadata(&path)) else { continue };
            let (size, used) = found.entry(digest).or_default();
            *size += metadata.len();
            *used = metadata.mtime().max(*used);
        }
        let now = clock::seconds();
        let kept =
            |(digest, (size, used))| KeptDownload { digest, size, age: now.saturating_sub(used).max(0) };
        let mut downloads: Vec<KeptDownload> = found.into_iter().map(kept).collect();
        downloads.sort_by_key(|download| (download.age, download.digest));
        downloads
    }

    /// How many sources there is a Release file of, and their bytes.
    pub fn releases(&self) -> (usize, u64) {
        let folders =
            fs::read_dir(self.root().join("releases")).map_or(0, |entries| entries.flatten().count());
        let files = shards(&self.root().join("releases"));
        (
            folders,
            files.iter().filter_map(|path| fs::metadata(path).ok()).map(|metadata| metadata.len()).sum(),
        )
    }

    /// Reads every download in full; gives how many there are and those that were not whole, which are removed. What
    /// has only arrived in part is not looked at: who fetches the rest checks the whole.
    pub fn verify_downloads(&self) -> (usize, Vec<Digest>) {
        let downloads = self.downloads();
        let whole = downloads.iter().map(|download| download.digest);
        let whole: Vec<Digest> = whole.filter(|digest| self.download_path(*digest).exists()).collect();
        let is_damaged = |digest: &&Digest| self.read_download(**digest).is_ok_and(|read| read != **digest);
        let damaged: Vec<Digest> = whole.iter().filter(is_damaged).copied().collect();
        damaged.iter().for_each(|digest| drop(fs::remove_file(self.download_path(*digest))));
        (whole.len(), damaged)
    }

    pub(super) fn forget_download(&self, digest: Digest) {
        if self.writable() {
            let _ = fs::remove_file(self.download_path(digest));
            let _ = fs::remove_file(self.sharded("downloads", &digest, ".part"));
        }
    }

    fn read_download(&self, digest: Digest) -> io::Result<Digest> {
        let mut hasher = Hasher::new();
        io::copy(&mut File::open(self.download_path(digest))?, &mut hasher)?;
        Ok(hasher.finish())
    }

    fn download_path(&self, digest: Digest) -> PathBuf {
        self.sharded("downloads", &digest, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Access;

    fn keep(store: &Store, content: &str, ending: &str, age: i64) -> Digest {
        let digest = Digest::of(content);
        let path = store.sharded("downloads", &digest, ending);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, content).expect("written");
        let used = rustix::fs::Timespec { tv_sec: clock::seconds() - age, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: used, last_modification: used };
        let none = rustix::fs::AtFlags::empty();
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, none).expect("a time");
        digest
    }

    #[test]
    fn downloads_go_by_age_and_by_size() {
        let cache = tempfile::tempdir().expect("a folder");
        let store = Store::open(cache.path(), Access::Remove).expect("a store");
        let (new, old) = (keep(&store, "new", "", 5), keep(&store, "older", "", 50));
        keep(&store, "part", ".part", 1000);
        let release = store.root().join("releases/key/InRelease");
        fs::create_dir_all(release.parent().expect("a folder")).expect("a folder");
        fs::write(&release, "release").expect("written");
        assert_eq!(store.downloads().iter().map(|one| one.size).collect::<Vec<_>>(), [3, 5, 4]);
        let removed = store.collect(500, None);
        assert_eq!((removed.downloads, removed.bytes), (1, 4));
        let removed = store.collect(500, Some(7));
        assert_eq!((removed.downloads, removed.bytes), (1, 5));
        assert_eq!(store.downloads().iter().map(|one| one.digest).collect::<Vec<_>>(), [new]);
        assert_eq!((store.releases(), old == new), ((1, 7), false));
        let removed = store.clear().expect("cleared");
        assert_eq!((removed.downloads, removed.bytes), (1, 3));
        assert!(!release.exists());
    }

    #[test]
    fn a_download_that_changed_is_noticed_and_removed() {
        let cache = tempfile::tempdir().expect("a folder");
        let store = Store::open(cache.path(), Access::Use).expect("a store");
        let (whole, bad) = (keep(&store, "whole", "", 0), keep(&store, "bad", "", 0));
        fs::write(store.download_path(bad), "worse").expect("written");
        keep(&store, "part", ".part", 0);
        assert_eq!(store.verify_downloads(), (2, vec![bad]));
        assert!(store.download_path(whole).exists() && !store.download_path(bad).exists());
    }
}
