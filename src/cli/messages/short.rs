//! A line a fault: `file:line:column: error: message [code]`.
//!
//! The shape is that of the GNU coding standards, "Formatting Error Messages" (`program: message` where there is no
//! place), with the code where gcc has its option. What follows a fault is indented, so that no line of it is taken
//! for another fault.

use crate::cli::messages::paint::Paint;
use crate::cli::messages::positions::Positions;
use crate::cli::messages::visible::{clip, one_line};
use crate::cli::messages::{Look, MESSAGE, last_lines, word};
use crate::fault::Fault;

pub(super) fn render(faults: &[Fault], look: &Look) -> String {
    let mut positions = Positions::default();
    let mut text = String::new();
    for fault in faults {
        text.push_str(&headline(fault, &mut positions, look));
        let message = |text: &str| one_line(&clip(text, MESSAGE, look.dots()));
        text.extend(fault.help.iter().map(|help| format!("  help: {}\n", message(help))));
        text.extend(last_lines(&fault.output, look.dots()).map(|line| format!("  | {line}\n")));
    }
    text
}

fn headline<'a>(fault: &'a Fault, positions: &mut Positions<'a>, look: &Look) -> String {
    let paint = Paint::new(look);
    let place = match fault.labels.first() {
        Some(label) => {
            let at = positions.extent(&label.place);
            format!("{}:{}:{}", one_line(at.file), at.line, at.column)
        }
        None => String::from("imgbuild"),
    };
    let severity = paint.severity(fault.severity, word(fault.severity));
    let message = one_line(&clip(&fault.message, MESSAGE, look.dots()));
    format!("{}: {severity}: {message} {}\n", paint.strong(&place), paint.faint(&format!("[{}]", fault.code)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::messages::samples::{LOOK, failed, full, hostile, twice, unknown};
    use insta::assert_snapshot;

    #[test]
    fn short_is_what_editors_read() {
        let faults = [unknown(), twice(), failed(), full(), hostile()];
        assert_snapshot!(render(&faults, &LOOK), @r#"
        image.kdl:8:11: error: there is no overlay `timezon` [overlay/unknown]
          help: did you mean `timezone`?
        image.kdl:11:9: warning: the output `qcow2` is asked for twice [output/twice]
        hooks/20-motd, new:2:1: error: hook `20-motd` failed with exit code 100 [hook/failed]
          help: `imgbuild shell hook:setup/20-motd` opens a shell where it stood
          | Reading package lists... Done
          | E: Unable to locate package nginx
          | ::set-output name=100%::gone
        imgbuild: error: cannot write `build/a.tar`: no space left on device [io/no-space]
          help: free some space there
        ev^[[il<U+202E>.kdl:2:2: error: there is no word `no<U+2066>pe^G` here [lang/unknown]
          help: say ^[]0;title^G it<U+202E> right
          | a<U+202E>b^[^Hc
        "#);
    }
}
