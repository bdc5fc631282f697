//! The commands that GitHub's runner turns into annotations: `::error file=…,line=…::message`.
//!
//! After "Workflow commands for GitHub Actions" in GitHub's documentation; the escaping is that of its toolkit
//! (`packages/core/src/command.ts`). A command is one line, so the newlines of a message travel as `%0A`; what a
//! manifest or a program says cannot begin a command of its own.

use crate::cli::messages::positions::{Extent, Positions};
use crate::cli::messages::visible::{clip, visible};
use crate::cli::messages::{MESSAGE, PLACES, last_lines, word};
use crate::fault::{Fault, Label};
use crate::wording::count;

pub(super) fn render(faults: &[Fault]) -> String {
    let mut positions = Positions::default();
    faults.iter().map(|fault| command(fault, &mut positions)).collect()
}

fn command<'a>(fault: &'a Fault, positions: &mut Positions<'a>) -> String {
    let mut properties = match fault.labels.first() {
        Some(label) => place(&positions.extent(&label.place)),
        None => String::new(),
    };
    properties.push_str(&format!("title={}", property(fault.code)));
    format!("::{} {properties}::{}\n", word(fault.severity), data(&message(fault, positions)))
}

/// The properties that say where. The runner takes columns only for what begins and ends on one line.
fn place(at: &Extent) -> String {
    let file = property(at.file);
    if at.line == at.end_line {
        let Extent { line, column, end_line, end_column, .. } = at;
        format!("file={file},line={line},col={column},endLine={end_line},endColumn={end_column},")
    } else {
        format!("file={file},line={},endLine={},", at.line, at.end_line)
    }
}

/// All that is said, in the one text that an annotation has: its place can be one only, so others are named here.
fn message<'a>(fault: &'a Fault, positions: &mut Positions<'a>) -> String {
    let mut lines = vec![clip(&fault.message, MESSAGE, "…").into_owned()];
    let others = fault.labels.get(1..).unwrap_or_default();
    lines.extend(others.iter().take(PLACES - 1).map(|label| elsewhere(label, positions)));
    let more = fault.labels.len().saturating_sub(PLACES);
    if more > 0 {
        lines.push(format!("… and {}", count(more, "more place")));
    }
    lines.extend(fault.help.iter().map(|help| format!("help: {}", clip(help, MESSAGE, "…"))));
    if !fault.output.is_empty() {
        lines.push(String::from("last lines:"));
    }
    lines.extend(last_lines(&fault.output, "…").map(|line| format!("    {line}")));
    lines.join("\n")
}

fn elsewhere<'a>(label: &'a Label, positions: &mut Positions<'a>) -> String {
    let at = positions.extent(&label.place);
    format!("{}:{}:{}: {}", at.file, at.line, at.column, clip(&label.text, MESSAGE, "…"))
}

fn data(text: &str) -> String {
    visible(text).replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::messages::samples::{failed, full, hostile, small, twice, unknown};
    use insta::assert_snapshot;

    #[test]
    fn github_gets_one_command_a_fault() {
        let faults = [unknown(), twice(), small(), failed(), full(), hostile()];
        assert_snapshot!(render(&faults), @r#"
        ::error file=image.kdl,line=8,col=11,endLine=8,endColumn=20,title=overlay/unknown::there is no overlay `timezon`%0Aimage.kdl:3:14: which are these%0Ahelp: did you mean `timezone`?
        ::warning file=image.kdl,line=11,col=9,endLine=11,endColumn=23,title=output/twice::the output `qcow2` is asked for twice%0Aimage.kdl:10:9: first here
        ::error file=image.kdl,line=12,endLine=15,title=disk/too-small::the disk is 4 GiB, but what goes into it takes 5.3 GiB { and a journal } on top of that
        ::error file=hooks/20-motd%2C new,line=2,col=1,endLine=2,endColumn=22,title=hook/failed::hook `20-motd` failed with exit code 100%0Aimage.kdl:6:1: for this image%0Ahelp: `imgbuild shell hook:setup/20-motd` opens a shell where it stood%0Alast lines:%0A    Reading package lists... Done%0A    E: Unable to locate package nginx%0A    ::set-output name=100%25::gone
        ::error title=io/no-space::cannot write `build/a.tar`: no space left on device%0Ahelp: free some space there
        ::error file=ev^[[il<U+202E>.kdl,line=2,col=2,endLine=2,endColumn=8,title=lang/unknown::there is no word `no<U+2066>pe^G`%0Ahere%0Aev^[[il<U+202E>.kdl:1:7: in this%0Aimage%0Ahelp: say ^[]0;title^G it<U+202E> right%0Alast lines:%0A    a<U+202E>b^[^Hc
        "#);
    }
}
