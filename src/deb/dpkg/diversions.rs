//! Diversions that a preinst makes, as far as reading it tells.
//!
//! A diversion decides where other packages' files go, so it matters to unpacking if it is about a path that another
//! package has. A script's text is read for the calls and the paths in them: variables with plain values are put in,
//! others stand for anything, and what only an upgrade does is passed over.

use std::collections::BTreeMap;

/// A call of `dpkg-divert`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Whose files are not diverted; the script's own package if none is named.
    pub package: Option<String>,
    /// The paths in it, relative to the root; `*` stands for anything.
    pub paths: Vec<String>,
}

impl Call {
    /// Whether it may be about `path` (relative to the root).
    pub fn matches(&self, path: &str) -> bool {
        self.paths.iter().any(|pattern| fits(pattern, path))
    }
}

/// The calls in `script` that installing a package may make.
pub(super) fn calls(script: &[u8]) -> Vec<Call> {
    let script = String::from_utf8_lossy(script).replace("\\\n", " ");
    let variables = variables(&script);
    let mut calls = Vec::new();
    // How many `if` are open in one that only an upgrade enters.
    let mut upgrade = 0usize;
    for line in script.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let first = line.split([' ', ';']).next().unwrap_or_default();
        match first {
            "if" if upgrade > 0 => upgrade += 1,
            "if" if is_upgrade(line) => upgrade = 1,
            "fi" => upgrade = upgrade.saturating_sub(1),
            "else" | "elif" if upgrade == 1 => upgrade = 0,
            _ => {}
        }
        let one_line = upgrade > 0 && first == "if" && line.ends_with("fi");
        if upgrade == 0 || (one_line && !is_upgrade(line)) {
            calls.extend(call(line, &variables));
        }
        if one_line {
            upgrade -= 1;
        }
    }
    calls
}

/// Whether the condition holds when a package is upgraded, and then alone.
fn is_upgrade(line: &str) -> bool {
    let plain = line.replace(['"', '\''], "");
    let upgrade = ["$1 = upgrade", "$1 == upgrade", "${1} = upgrade"].iter().any(|test| plain.contains(test));
    upgrade && !plain.contains("||") && !plain.contains("install")
}

fn call(line: &str, variables: &BTreeMap<String, Vec<String>>) -> Option<Call> {
    let (_, arguments) = line.split_once("dpkg-divert")?;
    if ["--truename", "--listpackage", "--list"].iter().any(|question| arguments.contains(question)) {
        return None;
    }
    let mut call = Call { package: None, paths: Vec::new() };
    let mut words =
        arguments.split_whitespace().map(|word| word.trim_matches(['"', '\'', ';', '(', ')', '`']));
    while let Some(word) = words.next() {
        match word {
            "--package" => call.package = words.next().map(String::from),
            // Where it is moved to, which is no path of a package.
            "--divert" => drop(words.next()),
            word if word.starts_with("--package=") => {
                call.package = word.split_once('=').map(|(_, name)| name.into())
            }
            word if word.starts_with('/') || word.starts_with('$') => {
                call.paths.extend(expand(word, variables))
            }
            _ => {}
        }
    }
    call.package = call.package.filter(|name| !name.contains('$'));
    if call.paths.is_empty() {
        call.paths.push("*".to_string());
    }
    Some(call)
}

/// The word with all values of its variables, or `*` for what is not known.
fn expand(word: &str, variables: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let word = word.replace("${DPKG_ROOT}", "").replace("$DPKG_ROOT", "").replace(['"', '\''], "");
    let mut done = vec![String::new()];
    let mut rest = word.as_str();
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        let from = &from[1..];
        let (name, behind) = match from.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, behind)) => (name, behind),
            None => {
                let end = from.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
                from.split_at(end.unwrap_or(from.len()))
            }
        };
        let unknown = vec!["*".to_string()];
        let values = variables.get(name).unwrap_or(&unknown);
        done = done
            .iter()
            .flat_map(|so_far| values.iter().map(move |value| format!("{so_far}{before}{value}")))
            .collect();
        done.truncate(1000);
        rest = behind;
    }
    done.into_iter().map(|so_far| format!("{so_far}{rest}").trim_start_matches('/').to_string()).collect()
}

/// Variables that get nothing but plain values: `NAME=value`, `for NAME in value value; do`.
fn variables(script: &str) -> BTreeMap<String, Vec<String>> {
    let mut variables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut unknown: Vec<String> = Vec::new();
    for line in script.lines().map(str::trim) {
        let (name, values) = if let Some(rest) = line.strip_prefix("for ") {
            let Some((name, values)) = rest.split_once(" in ") else { continue };
            let values = values.split(';').next().unwrap_or_default();
            (name, values.split_whitespace().map(String::from).collect())
        } else {
            let Some((name, value)) = line.split_once('=') else { continue };
            (name, vec![value.trim_matches([';', '"', '\'']).to_string()])
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_name) {
            continue;
        }
        let plain = |value: &String| !value.contains(['$', '`', '*', '?', '[', ' ', '"', '\'']);
        if values.iter().all(plain) {
            variables.entry(name.to_string()).or_default().extend(values);
        } else {
            unknown.push(name.to_string());
        }
    }
    variables.retain(|name, values| !unknown.contains(name) && values.len() <= 100);
    variables
}

/// Whether `path` is what `pattern` says; `*` is any text.
fn fits(pattern: &str, path: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == path };
    let Some(mut left) = path.strip_prefix(start) else { return false };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return left.ends_with(piece);
        }
        match left.find(piece) {
            Some(at) => left = &left[at + piece.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(script: &str) -> Vec<(Option<String>, String)> {
        calls(script.as_bytes()).into_iter().map(|call| (call.package, call.paths.join(" "))).collect()
    }

    #[test]
    fn calls_are_found_with_their_paths() {
        let script = "#!/bin/sh\n# dpkg-divert /not\nfor d in lib32 libx32; do\n  dpkg-divert --quiet --package base-files \
                      --add --no-rename --divert \"/.$d.x\" \"/$d\"\ndone\ndir=/lib64\n  dpkg-divert --add \\\n \
                      --divert /x \"$dir/ld.so\"\ndpkg-divert --add \"$DPKG_ROOT/usr/$1\"\ndpkg-divert --package=p --add\n";
        let expected =
            [(Some("base-files"), "lib32 libx32"), (None, "lib64/ld.so"), (None, "usr/*"), (Some("p"), "*")];
        assert_eq!(
            told(script),
            expected.map(|(package, path)| (package.map(String::from), path.to_string()))
        );
    }

    #[test]
    fn what_only_an_upgrade_does_is_passed_over() {
        let script = "if [ \"$1\" = upgrade ] && dpkg --compare-versions \"$2\" lt 2; then\nif true; then\n dpkg-divert --add /a\n\
                      fi\nelse\ndpkg-divert --add /b\nfi\nif [ \"$1\" = install ] || [ \"$1\" = upgrade ]; then\ndpkg-divert --add /c\nfi\n\
                      if [ \"$1\" = upgrade ]; then dpkg-divert --add /d; fi\ndpkg-divert --add /e\n";
        let paths: Vec<String> = told(script).into_iter().map(|(_, path)| path).collect();
        assert_eq!(paths, ["b", "c", "e"]);
    }

    #[test]
    fn stars_are_any_text() {
        for (pattern, path, expected) in [
            ("usr/*", "usr/bin/a", true),
            ("a", "a", true),
            ("a*c", "abd", false),
            ("*/b*d", "a/bcd", true),
            ("a*", "b", false),
        ] {
            assert_eq!(fits(pattern, path), expected, "{pattern} {path}");
        }
    }
}
