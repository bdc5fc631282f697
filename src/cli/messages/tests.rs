//! What no format may do, whatever it is given.

use super::*;
use crate::cli::messages::samples::{LOOK, failed, full, hostile, manifest, small, twice, unknown};
use crate::fault::{Place, Source};

const FORMATS: [Format; 5] = [Format::Fancy, Format::Short, Format::Json, Format::Github, Format::Sarif];

#[test]
fn no_faults_are_no_text() {
    for format in [Format::Fancy, Format::Short, Format::Json, Format::Github] {
        assert_eq!(render(&[], format, &LOOK), "");
    }
}

#[test]
fn no_format_lets_through_what_drives_a_terminal() {
    for format in FORMATS {
        let text = render(&[hostile(), failed()], format, &LOOK);
        assert!(!text.contains(visible::is_hidden), "{format:?}: {text:?}");
    }
}

#[test]
fn colours_are_there_when_asked_for_and_change_no_word() {
    let faults = [unknown(), twice(), small(), failed(), full()];
    for format in FORMATS {
        let plain = render(&faults, format, &LOOK);
        let coloured = render(&faults, format, &Look { colour: true, ..LOOK });
        assert!(!plain.contains('\x1b'));
        let for_people = matches!(format, Format::Fancy | Format::Short);
        assert_eq!(coloured.contains("\x1b["), for_people, "{format:?}");
        let bare: String =
            coloured.lines().map(|line| format!("{}\n", visible::program_line(line))).collect();
        assert_eq!(bare, plain, "{format:?}");
    }
    let first_line = |fault| render(&[fault], Format::Fancy, &Look { colour: true, ..LOOK });
    assert!(first_line(unknown()).starts_with("\x1b[1m\x1b[31merror:"), "{:?}", first_line(unknown()));
    assert!(first_line(twice()).starts_with("\x1b[1m\x1b[33mwarning:"), "{:?}", first_line(twice()));
}

#[test]
fn masses_are_cut_for_people_and_whole_for_programs() {
    let source = Source::new("long.kdl", "nope ".repeat(4 * 1024 * 1024 / 5));
    let spread = (0..10_000).map(|number| Place::new(&source, number * 400..number * 400 + 4));
    let crowd = spread
        .clone()
        .fold(Fault::error("lang/unknown", "no such word"), |fault, place| fault.at(&place, "here"));
    let crowd = [crowd];
    let many: Vec<Fault> =
        spread.map(|place| Fault::error("lang/unknown", "no such word").at(&place, "here")).collect();

    let fancy = render(&crowd, Format::Fancy, &LOOK);
    assert!(fancy.len() < 8192, "{} bytes", fancy.len());
    assert!(fancy.ends_with("    … and 9992 more places\n"), "{fancy}");
    let fancy = render(&many, Format::Fancy, &LOOK);
    assert!(fancy.len() < 65_536, "{} bytes", fancy.len());
    assert!(fancy.ends_with("\n\n… and 9950 more faults; `--message-format short` shows all\n"), "{fancy}");

    assert_eq!(render(&many, Format::Short, &LOOK).lines().count(), 10_000);
    assert_eq!(render(&many, Format::Github, &LOOK).lines().count(), 10_000);
    let json = render(&crowd, Format::Json, &LOOK);
    assert_eq!(json.lines().count(), 1);
    assert_eq!(json.matches("\"end_column\"").count(), 10_000);
    assert!(json.contains("\"column\":3999601,"), "the last one is where it is");
    assert_eq!(render(&many, Format::Sarif, &LOOK).matches("\"ruleId\"").count(), 10_000);
}

#[test]
fn a_message_of_a_megabyte_is_cut_for_people() {
    let mut fault = Fault::error("lang/unknown", "x".repeat(1 << 20)).help("y ".repeat(1 << 20));
    fault = fault.at(&Place::new(&manifest(), 0..2), "z".repeat(1 << 20));
    fault.output = vec!["w".repeat(1 << 20); 1000];
    for format in [Format::Fancy, Format::Short, Format::Github] {
        let text = render(std::slice::from_ref(&fault), format, &LOOK);
        assert!(text.len() < 100_000, "{format:?}: {} bytes", text.len());
    }
}
