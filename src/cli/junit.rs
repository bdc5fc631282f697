//! Reports of tests, as JUnit's format has them: what continuous integration reads.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::fault::Fault;
use crate::store::write_whole;
use crate::wording;

/// A test.
pub struct Case<'a> {
    /// The target that it is of.
    pub target: String,
    /// Its name.
    pub name: String,
    /// How long it took, now or when it ran last.
    pub seconds: f64,
    /// What became of it.
    pub ended: Ended<'a>,
}

/// What became of a test.
pub enum Ended<'a> {
    /// It did all that it should, now or when it ran last.
    Passed,
    /// It did not.
    Failed(&'a Fault),
    /// It was not begun: something before it failed.
    NotRun,
}

/// Removes the last report: what ends before there is a new one must not leave that to whoever reads it.
///
/// # Errors
///
/// It cannot be removed.
pub fn forget(path: &Path) -> Result<(), Fault> {
    if !is_device(path) && path.exists() {
        fs::remove_file(path).map_err(|error| Fault::io("replace", path, &error))?;
    }
    Ok(())
}

/// Writes a report: whole, or into what is there and no file, as `/dev/stdout`.
///
/// # Errors
///
/// It cannot be written.
pub fn write(path: &Path, report: &str) -> Result<(), Fault> {
    match is_device(path) {
        true => fs::write(path, report).map_err(|error| Fault::io("write", path, &error)),
        false => write_whole(path, report.as_bytes()),
    }
}

/// Whether something is there that is neither a file nor to be replaced by one.
fn is_device(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file())
}

/// The report.
pub fn report(cases: &[Case<'_>]) -> String {
    let count = |is: fn(&Ended<'_>) -> bool| cases.iter().filter(|case| is(&case.ended)).count();
    let failed = count(|ended| matches!(ended, Ended::Failed(fault) if is_failure(fault)));
    let errors = count(|ended| matches!(ended, Ended::Failed(fault) if !is_failure(fault)));
    let skipped = count(|ended| matches!(ended, Ended::NotRun));
    let seconds: f64 = cases.iter().map(|case| case.seconds).sum();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"imgbuild\" tests=\"{}\" \
         failures=\"{failed}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{seconds:.3}\">\n",
        cases.len()
    );
    for case in cases {
        let (target, name) = (wording::xml(&case.target), wording::xml(&case.name));
        let _ =
            write!(text, "    <testcase classname=\"{target}\" name=\"{name}\" time=\"{:.3}\"", case.seconds);
        match &case.ended {
            Ended::Passed => text.push_str("/>\n"),
            Ended::NotRun => text.push_str(">\n      <skipped/>\n    </testcase>\n"),
            Ended::Failed(fault) => {
                let tag = if is_failure(fault) { "failure" } else { "error" };
                let (message, told) = (wording::xml(&fault.message), wording::xml(&told(fault)));
                let _ = writeln!(
                    text,
                    ">\n      <{tag} message=\"{message}\" type=\"{}\">{told}</{tag}>\n    </testcase>",
                    fault.code
                );
            }
        }
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

/// Whether the image did not do what it should; else there was no machine that could have.
fn is_failure(fault: &Fault) -> bool {
    fault.code == "test/failed"
}

/// Where, what the machine said last, and where the rest of that is.
fn told(fault: &Fault) -> String {
    let place = fault.labels.first().map(|label| label.place.to_string());
    place
        .into_iter()
        .chain(fault.output.iter().cloned())
        .chain(fault.help.clone())
        .collect::<Vec<_>>()
        .join("\n")
}
