//! dpkg-maintscript-helper(1) at a shell's speed.
//!
//! Packages' scripts call it some hundred times while a base is configured, and it starts two programs each time before
//! it finds that there is nothing to do: all that it does is about an earlier version of the package. A few lines in
//! front of it answer that, and leave all else to it.

/// Where it is.
pub const HELPER: &str = "usr/bin/dpkg-maintscript-helper";

/// Its first line.
const HEAD: &str = "#!/bin/sh\n";

/// What stands in front of all else.
pub(super) const QUICK: &str = include_str!("helper.sh");

/// The program with a quicker way to do nothing; none where it is no shell's script.
pub fn quicker(helper: &str) -> Option<String> {
    helper.strip_prefix(HEAD).map(|rest| format!("{HEAD}{QUICK}{rest}"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Whether the call is answered in front, or left to the program.
    fn is_answered(name: &str, words: &str) -> bool {
        let text = quicker("#!/bin/sh\necho left\n").unwrap();
        let text = format!("set -- {words}\n{text}");
        let mut shell = Command::new("sh");
        shell.args(["-euc", &text]).env_clear().env("DPKG_MAINTSCRIPT_NAME", name);
        let done = shell.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        done.stdout.is_empty()
    }

    #[test]
    fn only_what_is_new_has_nothing_to_do() {
        for words in [
            "rm_conffile /etc/a 1.0~ -- install ''",
            "rm_conffile /etc/a 1.0~ -- install",
            "mv_conffile /etc/a /etc/b 1 pkg -- configure ''",
            "dir_to_symlink /usr/share/doc/a/ b -- configure",
            "symlink_to_dir /usr/share/doc/a b 1 -- install ''",
        ] {
            assert!(is_answered("preinst", words) && is_answered("postinst", words), "{words}");
            assert!(!is_answered("postrm", words) && !is_answered("", words), "{words}");
        }
        let folder = tempfile::tempdir().unwrap();
        let moved = folder.path().join("moved");
        std::fs::create_dir(moved.with_extension("dpkg-backup")).unwrap();
        let moved = format!("dir_to_symlink {} b 1 -- configure ''", moved.display());
        for words in [
            "rm_conffile /etc/a 1.0~ -- upgrade 0.9",
            "rm_conffile /etc/a 1.0~ -- configure 0.9",
            "rm_conffile etc/a 1.0~ -- install ''",
            "rm_conffile /etc/a 1.0~",
            "symlink_to_dir /usr/share/doc/a/ b 1 -- install ''",
            "supports rm_conffile",
            "",
            &moved,
        ] {
            assert!(!is_answered("preinst", words) && !is_answered("postinst", words), "{words}");
        }
        assert_eq!(quicker("\u{7f}ELF"), None);
    }
}
