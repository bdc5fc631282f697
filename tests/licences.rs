//! The licences of what this program is built from: each of them must be one that `deny.toml` allows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::process::Command;

use serde_json::Value;

/// The licences that `deny.toml` allows: one a line, quoted, in the list `allow` of `[licenses]`.
fn allowed() -> Vec<&'static str> {
    let text = include_str!("../deny.toml");
    let list = text.split("[licenses]").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
    list.lines().filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\",")).collect()
}

/// Whether an SPDX expression can be met with these licences. An `AND` binds stronger than an `OR`; parentheses are
/// only around an `OR`, as in `(MIT OR Apache-2.0) AND Unicode-3.0`.
fn is_met(expression: &str, allowed: &[&str]) -> bool {
    // Older packages write `MIT/Apache-2.0`.
    let expression = expression.replace('/', " OR ");
    if let Some((inner, rest)) = expression.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        let rest = rest.trim().strip_prefix("AND ");
        return is_met(inner, allowed) && rest.is_none_or(|rest| is_met(rest, allowed));
    }
    let both = |part: &str| part.split(" AND ").all(|licence| allowed.contains(&licence.trim()));
    expression.split(" OR ").any(both)
}

#[test]
fn every_package_may_be_used() {
    let allowed = allowed();
    assert!(allowed.contains(&"MIT"), "{allowed:?}");
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--locked", "--format-version", "1", "--filter-platform", &target]);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "this is no list of what it is built from");
    let licence = |package: &Value| package["license"].as_str().unwrap_or("none stated").to_string();
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !is_met(&licence(package), &allowed))
        .map(|package| format!("{}: {}", package["name"], licence(package)))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn expressions_are_read() {
    let allowed = ["MIT", "Unicode-3.0"];
    for met in
        ["MIT", "MIT/Apache-2.0", "Apache-2.0 OR MIT", "(MIT OR X) AND Unicode-3.0", "MIT AND Unicode-3.0"]
    {
        assert!(is_met(met, &allowed), "{met}");
    }
    for unmet in ["GPL-3.0", "none stated", "MIT AND GPL-3.0", "(X OR Y) AND MIT", "(MIT OR X) AND GPL-3.0"] {
        assert!(!is_met(unmet, &allowed), "{unmet}");
    }
}
