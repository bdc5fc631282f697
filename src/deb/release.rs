//! Release files: what an archive says of itself, and the digests of its indexes.

use std::collections::BTreeMap;

use super::Source;
use super::stanza::{field, has_control};
use crate::fault::Fault;
use crate::key::Digest;
use crate::wording;

/// A Release file whose signature was good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Who made the archive: `Debian`.
    pub origin: String,
    /// What it is: `Debian-Security`.
    pub label: String,
    /// The suite: `stable`.
    pub suite: String,
    /// Its codename: `trixie`.
    pub codename: String,
    /// When it was made, in seconds since 1970.
    pub date: i64,
    /// When it stops counting, in seconds since 1970; none if it never does.
    pub valid_until: Option<i64>,
    /// Whether indexes can be fetched by their digest.
    pub by_hash: bool,
    /// The architectures; none if it does not say.
    pub architectures: Vec<String>,
    /// The components; none if it does not say.
    pub components: Vec<String>,
    /// Whether packages of the architecture `all` stand in an index of their own only.
    pub all_apart: bool,
    /// Size and SHA-256 of each index, by its path below the suite's folder.
    pub files: BTreeMap<String, (u64, Digest)>,
    /// The fingerprint of the key that signed it.
    pub key: String,
    /// The whole text.
    pub text: String,
}

impl Release {
    /// Reads a text that `key` signed; the reason if it is none.
    pub fn parse(text: String, key: String) -> Result<Release, String> {
        const MOST_FILES: usize = 200_000;
        if has_control(text.as_bytes()) {
            return Err("it holds control characters".into());
        }
        let get = |name: &str| field(&text, name).unwrap_or_default().to_string();
        let words = |name: &str| get(name).split_whitespace().map(String::from).collect::<Vec<String>>();
        let date = field(&text, "Date").ok_or("it has no Date")?;
        let date = parse_date(date).ok_or_else(|| format!("its Date `{date}` cannot be read"))?;
        let until =
            |until: &str| parse_date(until).ok_or(format!("its Valid-Until `{until}` cannot be read"));
        let architectures = words("Architectures");
        let all = architectures.iter().any(|name| name == "all");
        let sums = field(&text, "SHA256").ok_or("it has no SHA256 digests")?;
        let files = sums.lines().filter(|line| !line.trim().is_empty()).take(MOST_FILES).map(parse_file);
        Ok(Release {
            origin: get("Origin"),
            label: get("Label"),
            suite: get("Suite"),
            codename: get("Codename"),
            date,
            valid_until: field(&text, "Valid-Until").map(until).transpose()?,
            by_hash: get("Acquire-By-Hash").eq_ignore_ascii_case("yes"),
            all_apart: all && !words("No-Support-for-Architecture-all").iter().any(|what| what == "Packages"),
            architectures,
            components: words("Components"),
            files: files.collect::<Result<_, _>>()?,
            key,
            text,
        })
    }

    /// Whether this is what `source` asks for, and of its time; `now` is in seconds since 1970.
    pub fn check(&self, source: &Source, now: i64) -> Result<(), Fault> {
        self.check_name(source)?;
        self.check_date(source, now)
    }

    fn check_name(&self, source: &Source) -> Result<(), Fault> {
        let asked = source.suite.as_str();
        let named = [self.suite.as_str(), self.codename.as_str()];
        let nameless = named.iter().all(|name| name.is_empty());
        // `debian-security` once had `stretch/updates`; it says `stretch` of itself.
        let fits =
            |name: &&str| asked == *name || asked.split_once('/').is_some_and(|(first, _)| first == *name);
        if asked.ends_with('/')
            || nameless
            || named.iter().filter(|name| !name.is_empty()).any(|name| fits(&name))
        {
            return Ok(());
        }
        let message = format!(
            "the mirror has suite `{}` (`{}`) where `{asked}` was asked for",
            self.suite, self.codename
        );
        let help = format!("name the suite that is meant, or a mirror that has `{asked}`");
        Err(Fault::build("deb/suite", message).help(help))
    }

    fn check_date(&self, source: &Source, now: i64) -> Result<(), Fault> {
        const A_DAY: i64 = 24 * 3600;
        let suite = &source.suite;
        if self.date > now + A_DAY {
            let ahead =
                wording::count(usize::try_from((self.date - now) / A_DAY).unwrap_or(usize::MAX), "day");
            let message = format!("the Release file of `{suite}` is {ahead} of the future");
            return Err(Fault::build("deb/future", message)
                .help("check this machine's clock, or name another mirror"));
        }
        match self.valid_until {
            Some(until) if source.check_valid_until && until < now => {
                let days = usize::try_from((now - until) / A_DAY).unwrap_or(usize::MAX);
                let ago =
                    if days == 0 { "today".into() } else { format!("{} ago", wording::count(days, "day")) };
                let message = format!(
                    "the Release file of `{suite}` expired {ago}: the mirror lags, or somebody replays it"
                );
                let help = "name another mirror; for one that lags on purpose (a snapshot), say `check-valid-until=#false`";
                Err(Fault::build("deb/expired", message).help(help))
            }
            _ => Ok(()),
        }
    }
}

/// `DIGEST SIZE PATH`.
fn parse_file(line: &str) -> Result<(String, (u64, Digest)), String> {
    let mut words = line.split_whitespace();
    let parse = || {
        let digest = words.next()?.parse().ok()?;
        let size = words.next()?.parse().ok()?;
        let path = words.next()?;
        (words.next().is_none() && is_inside(path)).then(|| (path.to_string(), (size, digest)))
    };
    let mut parse = parse;
    parse().ok_or_else(|| format!("its SHA256 line `{}` cannot be read", line.trim()))
}

/// Whether a path of an archive is below the folder that it is relative to.
pub fn is_inside(path: &str) -> bool {
    const LONGEST: usize = 1024;
    !path.is_empty()
        && path.len() <= LONGEST
        && !path.contains(['\\', '?', '#', ' '])
        && path.split('/').all(|part| !matches!(part, "" | ".."))
        && !path.contains(char::is_control)
}

/// `Sat, 12 Sep 2026 07:55:41 UTC` (RFC 5322, with the zone as a name or a number) in seconds since 1970.
pub fn parse_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = text.split_once(',').map_or(text, |(_, rest)| rest);
    let mut words = text.split_whitespace();
    let day: i64 = words.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = words.next()?;
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let year: i64 = words.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut time =
        words.next()?.split(':').map(|part| part.parse::<i64>().ok().filter(|part| (0..=60).contains(part)));
    let (hour, minute) = (time.next()??, time.next()??);
    let second = time.next().unwrap_or(Some(0))?;
    let zone = parse_zone(words.next()?)?;
    Some(days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - zone)
}

/// Seconds east of Greenwich.
fn parse_zone(text: &str) -> Option<i64> {
    if matches!(text, "UTC" | "GMT" | "Z" | "UT") {
        return Some(0);
    }
    let digits = text.strip_prefix(['+', '-']).filter(|digits| digits.len() == 4)?;
    let number: i64 = digits.parse().ok().filter(|number| (0..=1400).contains(number))?;
    let seconds = (number / 100) * 3600 + (number % 100) * 60;
    Some(if text.starts_with('-') { -seconds } else { seconds })
}

/// By the calendar of today; March is the first month, so that the day that is not always there is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = (153 * month + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + days - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn text(more: &str) -> String {
        format!(
            "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\n{more}SHA256:\n {DIGEST} 0 main/binary-amd64/Packages\n"
        )
    }

    fn source(suite: &str) -> Source {
        Source {
            name: "debian".into(),
            mirrors: Vec::new(),
            suite: suite.into(),
            components: vec!["main".into()],
            keyring: None,
            check_valid_until: true,
            place: None,
        }
    }

    #[test]
    fn dates_are_read() {
        assert_eq!(parse_date("Sat, 12 Sep 2026 07:55:41 UTC"), Some(1_789_199_741));
        assert_eq!(parse_date("Thu, 01 Jan 1970 00:00:00 +0000"), Some(0));
        assert_eq!(parse_date("29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
        assert_eq!(parse_date("Sat, 12 Sep 2026 09:55:41 +0200"), Some(1_789_199_741));
        for bad in [
            "",
            "Sat, 12 Sep 2026",
            "32 Jan 2024 00:00:00 UTC",
            "1 Foo 2024 00:00:00 UTC",
            "1 Jan 2024 00:00:00 CET",
        ] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_release_file_is_read() {
        let release =
            Release::parse(text("Acquire-By-Hash: yes\nArchitectures: all amd64\n"), "k".into()).unwrap();
        assert!(release.by_hash && release.all_apart);
        assert_eq!(release.files["main/binary-amd64/Packages"], (0, DIGEST.parse().unwrap()));
        let more = "Architectures: all amd64\nNo-Support-for-Architecture-all: Packages\n";
        assert!(!Release::parse(text(more), "k".into()).unwrap().all_apart);
    }

    #[test]
    fn what_leads_out_of_the_archive_is_refused() {
        for bad in ["../x", "/x", "a//b", "a/../b", "a\\b", ""] {
            assert!(!is_inside(bad), "{bad}");
        }
        let line = format!("{DIGEST} 0 ../../etc/passwd");
        assert!(parse_file(&line).is_err());
        assert!(parse_file(&format!("{DIGEST} -1 a")).is_err());
        assert!(parse_file("12 0 a").is_err());
        assert!(Release::parse(text("Label: \u{1b}[31m\n"), "k".into()).is_err());
    }

    #[test]
    fn another_suite_is_refused() {
        let release = Release::parse(text(""), "k".into()).unwrap();
        let now = release.date;
        for good in ["trixie", "stable", "trixie/updates", "./"] {
            assert!(release.check(&source(good), now).is_ok(), "{good}");
        }
        assert_eq!(release.check(&source("sid"), now).unwrap_err().code, "deb/suite");
    }

    #[test]
    fn time_runs_out() {
        let more = "Valid-Until: Sat, 19 Sep 2026 07:55:41 UTC\n";
        let release = Release::parse(text(more), "k".into()).unwrap();
        let end = release.date + 7 * 24 * 3600;
        assert!(release.check(&source("trixie"), end).is_ok());
        assert_eq!(release.check(&source("trixie"), end + 1).unwrap_err().code, "deb/expired");
        let lagging = Source { check_valid_until: false, ..source("trixie") };
        assert!(release.check(&lagging, end + 1).is_ok());
        assert_eq!(release.check(&lagging, release.date - 90_000).unwrap_err().code, "deb/future");
    }
}
