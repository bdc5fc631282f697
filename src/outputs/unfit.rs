//! What is said of files that a file system cannot have: of all at once.

use crate::fault::Fault;
use crate::layer::EntryPath;
use crate::wording;

/// How many are told.
const MOST_TOLD: usize = 5;

/// Tells what cannot be in `system`: files, each with the reason.
///
/// # Errors
///
/// There are some.
pub fn check<'a>(
    system: &str,
    unfit: impl IntoIterator<Item = (&'a EntryPath, String)>,
) -> Result<(), Fault> {
    let mut unfit = unfit.into_iter().map(|(path, why)| (wording::printable(&format!("`/{path}`")), why));
    let told: Vec<(String, String)> = unfit.by_ref().take(MOST_TOLD).collect();
    let message = match told.as_slice() {
        [] => return Ok(()),
        [(path, why)] => format!("{path} cannot be in {system}: {why}"),
        several => {
            let reasons: Vec<String> = several.iter().map(|(path, why)| format!("{path} ({why})")).collect();
            let (reasons, more) = (reasons.join(", "), unfit.count());
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{} files cannot be in {system}: {reasons}{rest}", several.len() + more)
        }
    };
    Err(Fault::build("output/unfit", message))
}
