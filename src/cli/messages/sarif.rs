//! SARIF 2.1.0 (OASIS Standard, with errata 01): one document for all faults.
//!
//! A fault with a place is a *result*. One without (no space left, a missing kernel feature) is about the run, not
//! about a text, and becomes a *notification* of the invocation (section 3.58): a result without a location makes
//! GitHub's code scanning refuse the whole document.
//!
//! Section numbers below are those of the standard.

use crate::cli::messages::json::escape_hidden;
use crate::cli::messages::positions::Positions;
use crate::cli::messages::word;
use crate::fault::{Fault, Label, Severity};
use serde::Serialize;
use std::collections::HashMap;

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

pub(super) fn render(faults: &[Fault]) -> String {
    let mut positions = Positions::default();
    let mut rules = Rules::default();
    let (placed, others): (Vec<&Fault>, Vec<&Fault>) =
        faults.iter().partition(|fault| !fault.labels.is_empty());
    let results = placed.into_iter().map(|fault| result(fault, &mut rules, &mut positions)).collect();
    let failed = others.iter().any(|fault| fault.severity == Severity::Error);
    let invocation = Invocation {
        execution_successful: !failed,
        tool_execution_notifications: others.into_iter().map(notification).collect(),
    };
    let driver = Driver { name: "imgbuild", version: env!("CARGO_PKG_VERSION"), rules: rules.list };
    let run =
        Run { tool: Tool { driver }, invocations: [invocation], column_kind: "unicodeCodePoints", results };
    let log = Log { schema: SCHEMA, version: "2.1.0", runs: [run] };
    // Only maps with odd keys and foreign `Serialize`s can fail.
    let mut text = escape_hidden(&serde_json::to_string_pretty(&log).unwrap_or_default());
    text.push('\n');
    text
}

#[derive(Serialize)]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'a str,
    version: &'a str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    tool: Tool<'a>,
    invocations: [Invocation<'a>; 1],
    column_kind: &'a str,
    results: Vec<Finding<'a>>,
}

#[derive(Serialize)]
struct Tool<'a> {
    driver: Driver<'a>,
}

#[derive(Serialize)]
struct Driver<'a> {
    name: &'a str,
    version: &'a str,
    rules: Vec<Rule>,
}

/// A `reportingDescriptor` (3.49).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: &'static str,
    short_description: Message,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation<'a> {
    execution_successful: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_execution_notifications: Vec<Notification<'a>>,
}

#[derive(Serialize)]
struct Notification<'a> {
    descriptor: Descriptor<'a>,
    level: &'a str,
    message: Message,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<Properties<'a>>,
}

#[derive(Serialize)]
struct Descriptor<'a> {
    id: &'a str,
}

/// A `result` (3.27).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding<'a> {
    rule_id: &'a str,
    rule_index: usize,
    level: &'a str,
    message: Message,
    locations: Vec<Location>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_locations: Vec<Location>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<Properties<'a>>,
}

/// Our own, in the bag that the standard has for that (3.8).
#[derive(Serialize)]
struct Properties<'a> {
    output: &'a [String],
}

#[derive(Serialize)]
struct Message {
    text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    /// Only related locations have one: theirs shall not be equal (3.27.22), and two labels may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<usize>,
    physical_location: PhysicalLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    region: Region,
}

#[derive(Serialize)]
struct ArtifactLocation {
    uri: String,
}

/// From 1; the end is just behind the last character (3.30).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: usize,
    start_column: usize,
    end_line: usize,
    end_column: usize,
}

/// The codes that occur, each once.
#[derive(Default)]
struct Rules {
    list: Vec<Rule>,
    indices: HashMap<&'static str, usize>,
}

impl Rules {
    fn index(&mut self, code: &'static str) -> usize {
        *self.indices.entry(code).or_insert_with(|| {
            self.list.push(Rule { id: code, short_description: message(&describe(code)) });
            self.list.len() - 1
        })
    }
}

/// `overlay/not-found` in words.
fn describe(code: &str) -> String {
    code.replace('/', ": ").replace('-', " ")
}

fn result<'a>(fault: &'a Fault, rules: &mut Rules, positions: &mut Positions<'a>) -> Finding<'a> {
    let (first, others) = fault.labels.split_at(1.min(fault.labels.len()));
    let mut locate = |label: &'a Label, id| location(label, id, positions);
    Finding {
        rule_id: fault.code,
        rule_index: rules.index(fault.code),
        level: word(fault.severity),
        message: whole_message(fault),
        locations: first.iter().map(|label| locate(label, None)).collect(),
        related_locations: others.iter().zip(1..).map(|(label, id)| locate(label, Some(id))).collect(),
        properties: properties(fault),
    }
}

fn notification(fault: &Fault) -> Notification<'_> {
    Notification {
        descriptor: Descriptor { id: fault.code },
        level: word(fault.severity),
        message: whole_message(fault),
        properties: properties(fault),
    }
}

fn properties(fault: &Fault) -> Option<Properties<'_>> {
    (!fault.output.is_empty()).then_some(Properties { output: &fault.output })
}

fn location<'a>(label: &'a Label, id: Option<usize>, positions: &mut Positions<'a>) -> Location {
    let at = positions.extent(&label.place);
    let region = Region {
        start_line: at.line,
        start_column: at.column,
        end_line: at.end_line,
        end_column: at.end_column,
    };
    let artifact_location = ArtifactLocation { uri: uri(at.file) };
    let said = (!label.text.is_empty()).then(|| message(&label.text));
    Location { id, physical_location: PhysicalLocation { artifact_location, region }, message: said }
}

/// The message and the way out: `fixes` are for changes that a program can make, which a sentence is not.
fn whole_message(fault: &Fault) -> Message {
    match &fault.help {
        Some(help) => message(&format!("{}\nhelp: {help}", fault.message)),
        None => message(&fault.message),
    }
}

/// Braces are doubled, because single ones are placeholders (3.11.5).
fn message(text: &str) -> Message {
    Message { text: text.replace('{', "{{").replace('}', "}}") }
}

/// The name of a file as a URI reference (RFC 3986, section 4.1): whole for an absolute path, else relative to
/// where people stand. Everything that is not unreserved is escaped, so that no colon makes a scheme of a name.
fn uri(file: &str) -> String {
    let scheme = if file.starts_with('/') { "file://" } else { "" };
    let mut uri = String::from(scheme);
    for byte in file.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::messages::samples::{failed, full, hostile, small, twice, unknown};
    use insta::assert_snapshot;
    use serde_json::Value;

    #[test]
    fn sarif_is_one_document() {
        let text = render(&[small(), failed(), full()]);
        let ours = concat!("\"version\": \"", env!("CARGO_PKG_VERSION"), "\"");
        assert_snapshot!(text.replace(ours, "\"version\": \"(ours)\""), @r#"
        {
          "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
          "version": "2.1.0",
          "runs": [
            {
              "tool": {
                "driver": {
                  "name": "imgbuild",
                  "version": "(ours)",
                  "rules": [
                    {
                      "id": "disk/too-small",
                      "shortDescription": {
                        "text": "disk: too small"
                      }
                    },
                    {
                      "id": "hook/failed",
                      "shortDescription": {
                        "text": "hook: failed"
                      }
                    }
                  ]
                }
              },
              "invocations": [
                {
                  "executionSuccessful": false,
                  "toolExecutionNotifications": [
                    {
                      "descriptor": {
                        "id": "io/no-space"
                      },
                      "level": "error",
                      "message": {
                        "text": "cannot write `build/a.tar`: no space left on device\nhelp: free some space there"
                      }
                    }
                  ]
                }
              ],
              "columnKind": "unicodeCodePoints",
              "results": [
                {
                  "ruleId": "disk/too-small",
                  "ruleIndex": 0,
                  "level": "error",
                  "message": {
                    "text": "the disk is 4 GiB, but what goes into it takes 5.3 GiB {{ and a journal }} on top of that"
                  },
                  "locations": [
                    {
                      "physicalLocation": {
                        "artifactLocation": {
                          "uri": "image.kdl"
                        },
                        "region": {
                          "startLine": 12,
                          "startColumn": 9,
                          "endLine": 15,
                          "endColumn": 10
                        }
                      },
                      "message": {
                        "text": "this disk"
                      }
                    }
                  ]
                },
                {
                  "ruleId": "hook/failed",
                  "ruleIndex": 1,
                  "level": "error",
                  "message": {
                    "text": "hook `20-motd` failed with exit code 100\nhelp: `imgbuild shell hook:setup/20-motd` opens a shell where it stood"
                  },
                  "locations": [
                    {
                      "physicalLocation": {
                        "artifactLocation": {
                          "uri": "hooks/20-motd%2C%20new"
                        },
                        "region": {
                          "startLine": 2,
                          "startColumn": 1,
                          "endLine": 2,
                          "endColumn": 22
                        }
                      }
                    }
                  ],
                  "relatedLocations": [
                    {
                      "id": 1,
                      "physicalLocation": {
                        "artifactLocation": {
                          "uri": "image.kdl"
                        },
                        "region": {
                          "startLine": 6,
                          "startColumn": 1,
                          "endLine": 6,
                          "endColumn": 20
                        }
                      },
                      "message": {
                        "text": "for this image"
                      }
                    }
                  ],
                  "properties": {
                    "output": [
                      "Reading package lists... 10%\rReading package lists... Done",
                      "\u001b[1;31mE:\u001b[0m Unable to locate package nginx",
                      "::set-output name=100%::gone"
                    ]
                  }
                }
              ]
            }
          ]
        }
        "#);
    }

    /// What the schema of the standard cannot say, or says in a way that the snapshot would not show.
    #[test]
    fn sarif_holds_together() {
        let faults = [unknown(), twice(), unknown(), hostile(), full()];
        let log: Value = serde_json::from_str(&render(&faults)).expect("JSON");
        let run = &log["runs"][0];
        let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
        assert_eq!(rules.len(), 3, "each rule stands there once");
        let results = run["results"].as_array().expect("results");
        assert_eq!(results.len(), 4);
        for (result, fault) in results.iter().zip(&faults) {
            let index = result["ruleIndex"].as_u64().expect("index") as usize;
            assert_eq!(result["ruleId"], fault.code);
            assert_eq!(rules[index]["id"], fault.code);
            let locations = result["locations"].as_array().expect("locations");
            let related = result["relatedLocations"].as_array().expect("related locations");
            assert_eq!((locations.len(), related.len()), (1, fault.labels.len() - 1));
        }
        assert_eq!(run["invocations"][0]["executionSuccessful"], false);

        let log: Value = serde_json::from_str(&render(&[])).expect("JSON");
        assert_eq!(log["runs"][0]["results"], Value::Array(Vec::new()), "no faults are a document too");
        assert_eq!(log["runs"][0]["invocations"][0]["executionSuccessful"], true);
    }
}
