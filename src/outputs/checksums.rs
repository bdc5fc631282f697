//! `output "checksums"`: digests of the other outputs, as sha256sum(1) and sha512sum(1) check them.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256, Sha512};

use super::{Kind, Stated, Target};
use crate::fault::{Fault, Faults, Place};
use crate::key::Key;
use crate::lang::{Field, Form, Node, Spanned, Word};
use crate::work::folders::{real, way};
use crate::work::{Facts, Folders, Job, Output, World, Writing, Written};

pub(super) const KIND: Kind = Kind { word: &WORD, decode };

static WORD: Word = Word {
    name: "checksums",
    summary: "the digests of all other outputs of the same block",
    docs: "A line for each file, as `sha256sum --check` reads them, with its path from the folder that this file is in. Of \
           outputs that are folders, a line for each file in them; an image as a folder (`dir`) has none.",
    example: "image \"server\" {\n    overlays \"site\"\n    output \"tar\" compression=\"xz\"\n    output \"checksums\"\n}\n",
    properties: &[
        Field::new("algorithm", Form::OneOf(&["sha256", "sha512"]), "Which digest.").default("sha256")
    ],
    ..Word::BARE
};

#[derive(Debug)]
struct Checksums {
    stated: Stated,
    is_long: bool,
}

fn decode(node: &Node, target: &Target<'_>, _: &Folders, faults: &mut Faults) -> Option<Arc<dyn Output>> {
    let stated = Stated::of(node);
    if !target.siblings.iter().any(|sibling| is_read(sibling.kind)) {
        faults.push(
            Fault::error("checksums/none", "there is no output beside this one that has a digest")
                .at(&stated.place, "this output")
                .help("add one to the same block, as `output \"tar\"`, or remove this one"),
        );
    }
    let is_long = node.text("algorithm").is_some_and(|algorithm| algorithm.value == "sha512");
    Some(Arc::new(Checksums { stated, is_long }))
}

fn is_read(kind: &str) -> bool {
    !["checksums", "dir", "test"].contains(&kind)
}

impl Output for Checksums {
    fn kind(&self) -> &'static str {
        "checksums"
    }
    fn extension(&self) -> String {
        if self.is_long { "sha512" } else { "sha256" }.into()
    }
    fn place(&self) -> &Place {
        &self.stated.place
    }
    fn path(&self) -> Option<&Spanned<String>> {
        self.stated.path.as_ref()
    }
    fn needs_image(&self) -> bool {
        false
    }
    fn reads(&self, other: &dyn Output) -> bool {
        is_read(other.kind())
    }

    fn facts(&self, _world: &World) -> Result<Facts, Fault> {
        let mut key = Key::new("output-checksums", 1);
        key.fact("algorithm", self.extension());
        Ok(Facts::new(key))
    }

    fn write(&self, writing: Writing<'_>) -> Result<Written, Fault> {
        let Writing { job, path, aids, .. } = writing;
        let mut files = Vec::new();
        for (_, output) in &aids.outputs {
            let output = &real(output);
            files_of(output, &mut files).map_err(|error| Fault::io("read", output, &error))?;
        }
        let here = real(path.parent().unwrap_or(path));
        let mut text = Vec::new();
        for file in files {
            job.go_on()?;
            let digest =
                if self.is_long { digest::<Sha512>(&file, job)? } else { digest::<Sha256>(&file, job)? };
            text.extend(line(&digest, way(&here, &file).as_os_str().as_bytes()));
        }
        fs::write(path, text).map_err(|error| Fault::io("write", path, &error))?;
        Ok(Written::default())
    }
}

/// The file, or all files in the folder, by name.
fn files_of(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_file() {
        files.push(path.to_path_buf());
    } else if kind.is_dir() {
        let inside = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path()));
        let mut inside: Vec<PathBuf> = inside.collect::<io::Result<_>>()?;
        inside.sort();
        inside.iter().try_for_each(|path| files_of(path, files))?;
    }
    Ok(())
}

fn digest<D: Digest>(path: &Path, job: &Job<'_>) -> Result<String, Fault> {
    let failed = |error: io::Error| Fault::io("read", path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let (mut digest, mut piece) = (D::new(), vec![0; 1 << 20]);
    loop {
        job.go_on()?;
        let length = file.read(&mut piece).map_err(failed)?;
        if length == 0 {
            break;
        }
        digest.update(&piece[..length]);
    }
    Ok(digest.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// A line of the coreutils': a name of several lines is told with a backslash in front of all.
fn line(digest: &str, name: &[u8]) -> Vec<u8> {
    let escaped = |byte: &u8| match byte {
        b'\\' => Some(b"\\\\"),
        b'\n' => Some(b"\\n"),
        b'\r' => Some(b"\\r"),
        _ => None,
    };
    let mut line = Vec::new();
    line.extend(name.iter().any(|byte| escaped(byte).is_some()).then_some(b'\\'));
    line.extend(digest.bytes().chain(*b"  "));
    for byte in name {
        match escaped(byte) {
            Some(escaped) => line.extend(escaped),
            None => line.push(*byte),
        }
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_told_as_the_coreutils_do() {
        assert_eq!(line("00", b"a b"), b"00  a b\n");
        assert_eq!(line("00", b"a\nb\\"), b"\\00  a\\nb\\\\\n");
        assert_eq!(line("00", b"\xff"), b"00  \xff\n");
    }
}
