//! mkinitramfs(8) at a shell's speed.
//!
//! Its function `copy_file` starts six programs for a file, and there are hundreds of kernel modules. One of our own
//! stands in front of it that answers the same questions without any program where no link is in the way, and leaves
//! all else to it; another spares asking each module for firmware. Only where `copy_file` is, letter for letter, one
//! that was compared with ours: else all is left alone.

use crate::key::Digest;

/// Where mkinitramfs and the packages' hooks find it.
pub const HOOK_FUNCTIONS: &str = "usr/share/initramfs-tools/hook-functions";

/// Its first line.
const HEAD: &str = "copy_file() {\n";

/// Digests of the functions that [`QUICK`] does the same as: that of initramfs-tools 0.142 to 0.148.
const KNOWN: [&str; 1] = ["51544bd45a9588e55bc4e0360c984bffb32384200502abecb9dfd99d068d0aa1"];

const QUICK: &str = include_str!("copying.sh");

/// `functions` with a quicker way to copy; none where it is not known to do the same.
pub fn quicker(functions: &str) -> Option<String> {
    let start = functions.find(&format!("\n{HEAD}"))? + 1;
    let (before, rest) = functions.split_at_checked(start)?;
    let own = rest.get(..rest.find("\n}\n")? + "\n}\n".len())?;
    let known = KNOWN.contains(&Digest::of(own).to_string().as_str());
    let only = !rest.get(own.len()..)?.contains(&format!("\n{HEAD}"));
    (known && only).then(|| format!("{before}{QUICK}\nimgbuild_{rest}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_what_is_known_gets_another() {
        let unknown = format!("set -e\n\n{HEAD}\tcp \"$2\" \"$3\"\n}}\n");
        assert_eq!(quicker(&unknown), None);
        assert_eq!(quicker("# nothing\n"), None);
        assert_eq!(quicker(""), None);
    }

    /// Runs `calls` in a folder, where `slow` is said of every call that is left to the package's function.
    fn copied(folder: &Path, calls: &str) -> String {
        let script = format!(
            "DESTDIR={0}/to\n{QUICK}\nimgbuild_copy_file() {{ echo \"slow $2\"; return 7; }}\n\
             try() {{ copy_file file \"$@\"; echo \"$? ${{1##*/}}\"; }}\ncd {0}\n{calls}",
            folder.display()
        );
        let done = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().replace(&folder.display().to_string(), "")
    }

    #[test]
    fn plain_files_are_copied_and_all_else_is_left_to_the_package() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        fs::create_dir_all(folder.join("in/deep")).unwrap();
        fs::create_dir_all(folder.join("to/there")).unwrap();
        fs::write(folder.join("in/deep/file"), "x").unwrap();
        fs::write(folder.join("in/a b"), "x").unwrap();
        std::os::unix::fs::symlink("deep/file", folder.join("in/link")).unwrap();
        std::os::unix::fs::symlink("deep", folder.join("in/way")).unwrap();
        let calls = "in=$PWD/in\n\
                     try $in/deep/file; try $in/deep/file; try $in/deep/file /new/name\n\
                     try $in/deep/file /there; try $in/deep/file /there/\n\
                     try $in/link; try $in/way/file; try $in/missing; try \"$in/a b\" /b; try $in/../in/deep/file /c\n\
                     verbose=y; try $in/deep/file /d\n";
        let expected = "0 file\n1 file\n0 file\n\
                        slow /in/deep/file\n7 file\nslow /in/deep/file\n7 file\n\
                        slow /in/link\n7 link\nslow /in/way/file\n7 file\nslow /in/missing\n7 missing\n\
                        slow /in/a b\n7 a b\nslow /in/../in/deep/file\n7 file\n\
                        slow /in/deep/file\n7 file\n";
        assert_eq!(copied(&folder, calls), expected);
        assert_eq!(fs::read_to_string(folder.join("to/new/name")).unwrap(), "x");
        assert!(folder.join("to").join(folder.strip_prefix("/").unwrap()).join("in/deep/file").exists());
    }
}
