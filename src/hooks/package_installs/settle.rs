//! What the wishes of several elements come to.

use std::collections::{BTreeMap, BTreeSet};

use super::{Outcome, Wanted};
use crate::hooks::phase::Phase;

/// What the wishes of all elements come to, the earlier phases first, and otherwise as they came.
///
/// In a phase, a package that some element wants to have stays, whatever others say of it, and of what one element says
/// of it the strongest counts. Phases do not know of each other: [`outcomes`] says what is true in the end.
pub fn settle(wanted: impl IntoIterator<Item = Wanted>) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = wanted.into_iter().collect();
    all.sort_by_key(|wanted| wanted.phase);
    let stays: BTreeSet<(Phase, String)> =
        all.iter().filter(|wanted| wanted.outcome == Outcome::Install).map(where_it_counts).collect();
    let mut settled: Vec<Wanted> = Vec::with_capacity(all.len());
    let mut known: BTreeMap<((Phase, String), String), usize> = BTreeMap::new();
    for mut wanted in all {
        if stays.contains(&where_it_counts(&wanted)) {
            match wanted.outcome {
                // Another element's word for the package may stand for others, which nobody asked for.
                Outcome::LeaveOut => continue,
                Outcome::BuildOnly | Outcome::Install => wanted.outcome = Outcome::Install,
            }
        }
        let key = (where_it_counts(&wanted), wanted.element.clone());
        if let Some(earlier) = known.get(&key).and_then(|number| settled.get_mut(*number)) {
            earlier.outcome = earlier.outcome.max(wanted.outcome);
        } else {
            known.insert(key, settled.len());
            settled.push(wanted);
        }
    }
    settled
}

/// What becomes of each package over all phases: one that is installed in some phase is in the image, whatever another
/// phase says of it, and one that scripts need is there for them.
pub fn outcomes(settled: &[Wanted]) -> BTreeMap<&str, Outcome> {
    let mut outcomes = BTreeMap::new();
    for wanted in settled {
        let known = outcomes.entry(wanted.package.value.as_str()).or_insert(wanted.outcome);
        *known = (*known).max(wanted.outcome);
    }
    outcomes
}

fn where_it_counts(wanted: &Wanted) -> (Phase, String) {
    (wanted.phase, wanted.package.value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Place, Source};
    use crate::hooks::package_installs::tests::told;
    use crate::lang::Spanned;

    #[test]
    fn a_package_that_somebody_wants_stays() {
        let of = |element: &str, package: &str, phase: Phase, outcome: Outcome| Wanted {
            package: Spanned::new(package.to_string(), &Place::new(&Source::new("x", ""), 0..0)),
            element: element.to_string(),
            phase,
            outcome,
        };
        let settled = settle([
            of("a", "gcc", Phase::Install, Outcome::BuildOnly),
            of("b", "gcc", Phase::Install, Outcome::Install),
            of("a", "nano", Phase::Install, Outcome::LeaveOut),
            of("b", "nano", Phase::Install, Outcome::BuildOnly),
            of("b", "gcc", Phase::PreInstall, Outcome::BuildOnly),
            of("b", "vim", Phase::PreInstall, Outcome::LeaveOut),
            of("b", "vim", Phase::PreInstall, Outcome::LeaveOut),
            of("a", "vim", Phase::Install, Outcome::LeaveOut),
            of("b", "vim", Phase::Install, Outcome::Install),
        ]);
        let told: Vec<String> =
            settled.iter().map(|wanted| format!("{} {}", wanted.element, told(wanted))).collect();
        assert_eq!(
            told,
            [
                "b gcc BuildOnly pre-install",
                "b vim LeaveOut pre-install",
                "a gcc Install install",
                "b gcc Install install",
                "a nano LeaveOut install",
                "b nano BuildOnly install",
                "b vim Install install",
            ]
        );
        let expected = [("gcc", Outcome::Install), ("nano", Outcome::BuildOnly), ("vim", Outcome::Install)];
        assert_eq!(outcomes(&settled), expected.into());
    }
}
