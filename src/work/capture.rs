//! What programs changed, as the sandbox tells it: a tar, taken in.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::World;
use crate::fault::Fault;
use crate::layer::EntryPath;
use crate::layer::read::{Gathered, Rules, read_tar};

/// A place for a capture in the store.
pub fn capture_file(world: &World) -> Result<PathBuf, Fault> {
    Ok(world.store.stage()?.path("upper.tar"))
}

/// Takes in the capture at `path`; the file that holds the contents is gone when it is closed.
pub fn taken(path: &Path, epoch: i64) -> Result<(Gathered, File), Fault> {
    let tar = File::open(path).map_err(|error| Fault::io("read", path, &error))?;
    let _ = std::fs::remove_file(path);
    let rules = rules(epoch);
    let gathered = read_tar(&mut BufReader::with_capacity(1 << 18, &tar), &rules, None)
        .map_err(|bad| Fault::build("capture/bad", format!("cannot take in what programs changed: {bad}")))?;
    Ok((gathered, tar))
}

/// The path of the file that holds the byte at `at` of a capture.
pub fn path_at(tar: &File, at: u64) -> Option<EntryPath> {
    use std::io::{Seek, SeekFrom};
    let mut again = tar;
    again.seek(SeekFrom::Start(0)).ok()?;
    let gathered = read_tar(&mut BufReader::new(again), &rules(0), None).ok()?;
    gathered.into_entries().into_iter().find_map(|entry| match entry.kind {
        crate::layer::Kind::File { size, offset, .. } if (offset..offset + size).contains(&at) => {
            Some(entry.path)
        }
        _ => None,
    })
}

fn rules(epoch: i64) -> Rules {
    Rules { to: EntryPath::root(), owner: None, epoch, keep_times: true, root_counts: true }
}
