//! Packages of Debian, as people name them.
//!
//! Debian Policy 4.7, sections 5.6.1 (names) and 5.6.12 (versions); `:ARCH` and `^` are those of apt-get(8).

/// Whether it is `NAME`, `NAME:ARCH`, `TASK^` or, to leave it out, `!NAME` or `!NAME:ARCH`.
pub fn is_package(text: &str) -> bool {
    if let Some(task) = text.strip_suffix('^') {
        return is_name(task);
    }
    let text = text.strip_prefix('!').unwrap_or(text);
    match text.split_once(':') {
        Some((name, arch)) => is_name(name) && is_arch(arch),
        None => is_name(text),
    }
}

/// Whether it is a package's name: two or more of `a-z0-9+.-`, the first a letter or a digit.
pub fn is_name(text: &str) -> bool {
    let first = text.starts_with(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+.-".contains(&byte);
    first && (2..=128).contains(&text.len()) && text.bytes().all(allowed)
}

/// Whether it can be an architecture's name.
pub fn is_arch(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.starts_with(|letter: char| letter.is_ascii_lowercase())
        && text.len() <= 64
        && text.bytes().all(allowed)
}

/// Whether it is a version (`[EPOCH:]UPSTREAM[-REVISION]`); with `wild`, one that may have `*` in it.
pub fn is_version(text: &str, wild: bool) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b".+-~:_".contains(&byte) || (wild && byte == b'*');
    let begins = |letter: char| letter.is_ascii_alphanumeric() || (wild && letter == '*');
    text.starts_with(begins) && text.len() <= 256 && text.bytes().all(allowed)
}

/// Whether it can be a suite: `trixie`, `trixie-security`, `buster/updates`; with a slash at its end, a folder.
pub fn is_suite(text: &str) -> bool {
    let part = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~-".contains(&byte);
        !part.is_empty() && part != ".." && part.bytes().all(allowed)
    };
    text.len() <= 256 && text.strip_suffix('/').unwrap_or(text).split('/').all(part)
}

/// What other tools' ways of saying more than a name are called here.
pub(super) fn help(text: &str) -> Option<String> {
    if let Some((name, version)) = text.split_once('=').filter(|(name, _)| is_package(name)) {
        return Some(format!("write `{name} version=\"{version}\"`"));
    }
    if let Some((name, suite)) = text.split_once('/').filter(|(name, _)| is_package(name)) {
        return Some(format!("write `{name} suite=\"{suite}\"`"));
    }
    if text.contains('*') {
        return Some(
            "packages are named one by one; a task, which is a set of them, is written `ssh-server^`".into(),
        );
    }
    let lower = text.to_ascii_lowercase();
    if lower != text && is_package(&lower) {
        return Some(format!("names of packages are in lower case: `{lower}`"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_what_apt_takes() {
        for text in
            ["curl", "g++", "libstdc++6", "python3.13-venv", "libc6:amd64", "0ad", "!nano", "ssh-server^"]
        {
            assert!(is_package(text), "{text}");
        }
        for text in [
            "", "!", "a", "Curl", "curl=8", "curl/sid", "curl:", ":amd64", "!a^", "a b", "-curl", "../x",
            "ü2",
        ] {
            assert!(!is_package(text), "{text}");
        }
    }

    #[test]
    fn versions_and_suites_stay_what_they_are() {
        assert!(is_version("1:9.20.4-3+deb13u1~bpo12+1", false));
        assert!(is_version("8.14.*", true) && !is_version("8.14.*", false));
        assert!(!is_version("8 14", true) && !is_version("", true) && !is_version("-1", false));
        for suite in ["trixie", "trixie-security", "buster/updates", "./", "noble/mongodb-org/8.0", "stable/"]
        {
            assert!(is_suite(suite), "{suite}");
        }
        for suite in ["", "/", "a//b", "../x", "a/../b", "a b", "/trixie"] {
            assert!(!is_suite(suite), "{suite}");
        }
    }

    #[test]
    fn other_ways_of_writing_lead_to_ours() {
        assert_eq!(help("nginx=1.26.0").as_deref(), Some("write `nginx version=\"1.26.0\"`"));
        assert_eq!(help("curl/sid").as_deref(), Some("write `curl suite=\"sid\"`"));
        assert_eq!(help("Curl").as_deref(), Some("names of packages are in lower case: `curl`"));
        assert_eq!(help("%"), None);
    }
}
