//! The host's programs and the libraries that they need.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where programs are looked for, inside a sandbox and by [`resolve_program`].
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The real file behind a program's name, as `xcluster install_prog` finds it: on `path` (folders with colons between
/// them) unless the name holds a slash, and with every symbolic link followed.
pub fn resolve_program(name: &str, path: &str) -> Option<PathBuf> {
    let candidates: Vec<PathBuf> = match name {
        "" => Vec::new(),
        name if name.contains('/') => vec![PathBuf::from(name)],
        name => path.split(':').filter(|dir| !dir.is_empty()).map(|dir| Path::new(dir).join(name)).collect(),
    };
    candidates.iter().find(|file| is_program(file)).and_then(|file| file.canonicalize().ok())
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// What a program needs to be loaded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Libraries {
    /// Paths, in the loader's order.
    pub found: Vec<PathBuf>,
    /// Names that the loader did not find.
    pub missing: Vec<String>,
    /// The loader itself.
    pub loader: Option<PathBuf>,
}

/// The libraries of `program`, as the system's own loader finds them; none if it is no dynamic program.
///
/// This asks `ldd` and reads no ELF of its own: what is loaded depends on `ld.so.cache`, run paths, `$ORIGIN`,
/// processor levels and the C library at hand, and only the loader itself is sure to agree with itself. That `ldd` may
/// run the program's loader is no danger inside a sandbox, the only place where this is called.
pub(super) fn libraries(program: &Path) -> io::Result<Libraries> {
    let told = Command::new("ldd").arg(program).stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    Ok(read_ldd(&String::from_utf8_lossy(&told.stdout)))
}

/// Reads lines such as `libc.so.6 => /lib/libc.so.6 (0x7f…)`, `libx.so => not found`, `/lib/ld.so (0x7f…)`.
fn read_ldd(told: &str) -> Libraries {
    let mut libraries = Libraries::default();
    for line in told.lines().map(str::trim) {
        let place = |text: &str| PathBuf::from(text.split(" (0x").next().unwrap_or_default());
        match line.split_once(" => ") {
            Some((_, at)) if at.starts_with('/') => libraries.found.push(place(at)),
            Some((name, "not found")) => libraries.missing.push(name.to_string()),
            None if line.starts_with('/') && line.contains(" (0x") => libraries.loader = Some(place(line)),
            _ => {}
        }
    }
    libraries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ldd_says_is_read() {
        let told = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibm.so.6 => /lib/x/libm.so.6 (0x00007f1)\n\
                    \tlibgone.so => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f2)\n";
        let libraries = read_ldd(told);
        assert_eq!(libraries.found, [Path::new("/lib/x/libm.so.6")]);
        assert_eq!(libraries.missing, ["libgone.so"]);
        assert_eq!(libraries.loader.as_deref(), Some(Path::new("/lib64/ld-linux-x86-64.so.2")));
        assert_eq!(read_ldd("\tnot a dynamic executable\n\tstatically linked\n"), Libraries::default());
    }

    #[test]
    fn programs_are_found_behind_their_links() {
        let folder = tempfile::tempdir().unwrap();
        let [real, link, plain] = ["real-1.2", "tool", "text"].map(|name| folder.path().join(name));
        std::fs::write(&real, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&real, PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(plain, "").unwrap();
        std::os::unix::fs::symlink("real-1.2", &link).unwrap();
        let path = format!("/nowhere::{}", folder.path().display());
        assert_eq!(resolve_program("tool", &path), Some(real.canonicalize().unwrap()));
        assert_eq!(resolve_program(&link.to_string_lossy(), ""), Some(real.canonicalize().unwrap()));
        assert_eq!(resolve_program("text", &path), None, "not executable");
        assert_eq!(resolve_program("", &path), None);
    }
}
