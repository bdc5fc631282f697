//! A lock as text.

use std::fmt::Write;

use super::{Lock, Locked, Solution, VERSION};
use crate::lang::value::civil_from_days;

const HEAD: &str = "\
// What the names of packages in the manifest stood for. Written by imgbuild: commit it, and leave it to
// `imgbuild update` to change it.
";

pub fn text(lock: &Lock) -> String {
    let mut out = format!("{HEAD}lock version={VERSION}\n");
    let mut solutions: Vec<&Solution> = lock.solutions.iter().collect();
    solutions.sort_by(|left, right| left.id.cmp(&right.id));
    solutions.into_iter().for_each(|found| solution(found, &mut out));
    out
}

fn solution(solution: &Solution, out: &mut String) {
    line(out, format_args!("\nsolution {} {{", quoted(&solution.id)));
    for request in &solution.request {
        line(out, format_args!("    request {}", quoted(request)));
    }
    for release in &solution.releases {
        let (source, suite, date) = (quoted(&release.source), quoted(&release.suite), time(release.date));
        line(out, format_args!("    release {source} suite={suite} date=\"{date}\""));
    }
    let mut packages: Vec<&Locked> = solution.packages.iter().collect();
    let order = |locked: &Locked| (locked.deb.name.clone(), locked.deb.arch.clone());
    packages.sort_by_cached_key(|locked| order(locked));
    packages.into_iter().for_each(|locked| package(locked, out));
    line(out, format_args!("}}"));
}

fn package(locked: &Locked, out: &mut String) {
    let deb = &locked.deb;
    let asked = locked.asked.iter().map(|asked| format!(" for={}", quoted(asked))).collect::<String>();
    line(
        out,
        format_args!(
            "    package {} {} arch={} size={} sha256=\"{}\" path={} source={}{asked}",
            quoted(&deb.name),
            quoted(&deb.version),
            quoted(&deb.arch),
            deb.size,
            deb.digest,
            quoted(&deb.path),
            quoted(&deb.source),
        ),
    );
}

fn line(out: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{line}");
}

/// `text` as KDL writes it in quotes; `${` as what stands for itself.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.replace("${", "$${").chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            letter if letter.is_control() || is_odd(letter) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

/// What KDL does not take as it is, or takes for a newline.
fn is_odd(letter: char) -> bool {
    matches!(letter, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// `2026-01-10T10:01:02Z`; times that KDL's readers here cannot take back become the nearest that they can.
fn time(seconds: i64) -> String {
    const LAST: i64 = 253_402_300_799;
    let seconds = seconds.clamp(0, LAST);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_from_days(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}
