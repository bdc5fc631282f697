//! A line of JSON a fault, whole: nothing is cut, and no line is more than one fault.
//!
//! The shape only grows: programs rely on it.

use crate::cli::messages::positions::{Extent, Positions};
use crate::cli::messages::visible::is_hidden;
use crate::cli::messages::word;
use crate::fault::{Fault, Label};
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt::Write;

pub(super) fn render(faults: &[Fault]) -> String {
    let mut positions = Positions::default();
    faults.iter().map(|fault| line(fault, &mut positions)).collect()
}

/// A line of `--message-format json`: a fault.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "FaultAnswer")]
pub struct FaultLine<'a> {
    /// A stable name of the kind of fault.
    code: &'a str,
    /// `error` or `warning`.
    severity: &'a str,
    /// What is wrong.
    message: &'a str,
    /// A way out; null if none is known.
    help: Option<&'a str>,
    /// Places, the one that matters most first.
    labels: Vec<LabelEntry<'a>>,
    /// The last lines of the program that failed; absent if there are none.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    #[schemars(default)]
    output: &'a [String],
}

/// A place and a few words on what is there. Lines and columns count from 1, columns in characters.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "LabelAnswer")]
pub struct LabelEntry<'a> {
    /// The file, as the caller would type it.
    file: &'a str,
    /// The first line.
    line: usize,
    /// The first column.
    column: usize,
    /// The line of the end.
    end_line: usize,
    /// The column behind the end.
    end_column: usize,
    /// What is there.
    text: &'a str,
}

/// The fault as a value of JSON, to stand in another one.
pub fn value(fault: &Fault) -> serde_json::Value {
    // Only maps with odd keys and foreign `Serialize`s can fail.
    serde_json::to_value(shape(fault, &mut Positions::default())).unwrap_or_default()
}

fn shape<'a>(fault: &'a Fault, positions: &mut Positions<'a>) -> FaultLine<'a> {
    FaultLine {
        code: fault.code,
        severity: word(fault.severity),
        message: &fault.message,
        help: fault.help.as_deref(),
        labels: fault.labels.iter().map(|label| entry(label, positions)).collect(),
        output: &fault.output,
    }
}

fn line<'a>(fault: &'a Fault, positions: &mut Positions<'a>) -> String {
    let line = shape(fault, positions);
    // Only maps with odd keys and foreign `Serialize`s can fail.
    let mut text = escape_hidden(&serde_json::to_string(&line).unwrap_or_default());
    text.push('\n');
    text
}

fn entry<'a>(label: &'a Label, positions: &mut Positions<'a>) -> LabelEntry<'a> {
    let Extent { file, line, column, end_line, end_column } = positions.extent(&label.place);
    LabelEntry { file, line, column, end_line, end_column, text: &label.text }
}

/// JSON with `\u` for the characters that JSON lets through (RFC 8259, section 7, asks it for C0 alone) but that
/// drive a terminal, or end a line for some readers. They stand in strings only, where it changes no value.
pub(in crate::cli) fn escape_hidden(json: &str) -> String {
    let mut text = String::with_capacity(json.len() + 1);
    for letter in json.chars() {
        if is_hidden(letter) {
            // Writing into a string cannot fail; what is hidden is below U+10000, so four digits are enough.
            let _ = write!(text, "\\u{:04x}", u32::from(letter));
        } else {
            text.push(letter);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::messages::samples::{failed, full, hostile, twice, unknown};
    use insta::assert_snapshot;
    use serde_json::Value;

    #[test]
    fn json_is_a_line_a_fault() {
        let faults = [unknown(), twice(), failed(), full()];
        assert_snapshot!(render(&faults), @r#"
        {"code":"overlay/unknown","severity":"error","message":"there is no overlay `timezon`","help":"did you mean `timezone`?","labels":[{"file":"image.kdl","line":8,"column":11,"end_line":8,"end_column":20,"text":"in none of the folders that are searched"},{"file":"image.kdl","line":3,"column":14,"end_line":3,"end_column":37,"text":"which are these"}]}
        {"code":"output/twice","severity":"warning","message":"the output `qcow2` is asked for twice","help":null,"labels":[{"file":"image.kdl","line":11,"column":9,"end_line":11,"end_column":23,"text":"again here"},{"file":"image.kdl","line":10,"column":9,"end_line":10,"end_column":23,"text":"first here"}]}
        {"code":"hook/failed","severity":"error","message":"hook `20-motd` failed with exit code 100","help":"`imgbuild shell hook:setup/20-motd` opens a shell where it stood","labels":[{"file":"hooks/20-motd, new","line":2,"column":1,"end_line":2,"end_column":22,"text":""},{"file":"image.kdl","line":6,"column":1,"end_line":6,"end_column":20,"text":"for this image"}],"output":["Reading package lists... 10%\rReading package lists... Done","\u001b[1;31mE:\u001b[0m Unable to locate package nginx","::set-output name=100%::gone"]}
        {"code":"io/no-space","severity":"error","message":"cannot write `build/a.tar`: no space left on device","help":"free some space there","labels":[]}
        "#);
    }

    #[test]
    fn escaped_json_says_the_same() {
        let fault = hostile();
        let line: Value = serde_json::from_str(&render(&[hostile()])).expect("JSON");
        assert_eq!(line["message"], fault.message.as_str());
        assert_eq!(line["labels"][0]["file"], fault.labels[0].place.source.name.as_str());
        assert_eq!(line["output"][0], fault.output[0].as_str());
    }
}
