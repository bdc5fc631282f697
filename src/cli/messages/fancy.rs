//! For people: the message, the lines that it is about, the way out.
//!
//! Each begins a line of its own at the left margin, so that the eye goes `error:`, place, `help:`. The code is for
//! who wants to look the fault up, and stands faintly behind the message.

use crate::cli::messages::paint::Paint;
use crate::cli::messages::positions::Positions;
use crate::cli::messages::visible::{clip, columns, visible};
use crate::cli::messages::{Look, MESSAGE, last_lines, snippet, word};
use crate::fault::Fault;
use crate::wording::count;

/// As many faults are shown; who has more mends these first.
const FAULTS: usize = 50;

pub(super) fn render(faults: &[Fault], look: &Look) -> String {
    let mut positions = Positions::default();
    let shown = faults.iter().take(FAULTS);
    let mut blocks: Vec<String> = shown.map(|fault| block(fault, &mut positions, look)).collect();
    if let Some(more) = faults.len().checked_sub(FAULTS).filter(|more| *more > 0) {
        let more = count(more, "more fault");
        blocks.push(format!("{} and {more}; `--message-format short` shows all\n", look.dots()));
    }
    blocks.join("\n")
}

fn block<'a>(fault: &'a Fault, positions: &mut Positions<'a>, look: &Look) -> String {
    [
        headline(fault, look),
        snippet::draw(fault.severity, &fault.labels, positions, look),
        output(&fault.output, look),
        fault.help.as_ref().map(|text| help(text, look)).unwrap_or_default(),
    ]
    .concat()
}

fn headline(fault: &Fault, look: &Look) -> String {
    let paint = Paint::new(look);
    let lead = format!("{}:", word(fault.severity));
    let code = format!("[{}]", fault.code);
    let text = format!("{} {code}", visible(&clip(&fault.message, MESSAGE, look.dots())));
    hang(&lead, &paint.severity(fault.severity, &lead), &text, look, |line| match line.strip_suffix(&code) {
        Some(line) => format!("{}{}", paint.strong(line), paint.faint(&code)),
        None => paint.strong(line),
    })
}

fn help(text: &str, look: &Look) -> String {
    let painted = Paint::new(look).help("help:");
    hang("help:", &painted, &visible(&clip(text, MESSAGE, look.dots())), look, str::to_owned)
}

fn output(lines: &[String], look: &Look) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let title = Paint::new(look).strong("last lines:");
    let shown = last_lines(lines, look.dots()).map(|line| format!("    {line}"));
    std::iter::once(title).chain(shown).map(ended).collect()
}

/// `text` behind `lead`, wrapped so that nothing stands below `lead`.
fn hang(lead: &str, painted: &str, text: &str, look: &Look, paint: impl Fn(&str) -> String) -> String {
    let indent = lead.len() + 1;
    let lines = wrap(text, look.width.clamp(40, 400) - indent);
    let lines = lines.iter().enumerate().map(|(number, line)| match number {
        0 => format!("{painted} {}", paint(line)),
        _ => format!("{:indent$}{}", "", paint(line)),
    });
    lines.map(ended).collect()
}

fn ended(line: String) -> String {
    format!("{}\n", line.trim_end())
}

/// `text` in lines of `room` columns, broken between words.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in words(paragraph) {
            if !line.is_empty() && columns(&line) + 1 + columns(word) > room {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// What stands in backticks is one word, so that a command can be copied from one line.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |letter| {
        quoted ^= letter == '`';
        letter == ' ' && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::messages::samples::{
        LOOK, MANIFEST, failed, full, hostile, manifest, place, small, twice, unknown,
    };
    use crate::fault::{Place, Source};
    use insta::assert_snapshot;

    fn fancy(fault: Fault) -> String {
        render(&[fault], &LOOK)
    }

    #[test]
    fn the_eye_finds_message_place_and_help() {
        assert_snapshot!(fancy(unknown()), @r#"
        error: there is no overlay `timezon` [overlay/unknown]
           ╭─[image.kdl:8:11]
         7 │     base "debian" suite="trixie"
         8 │     overlays "timezon" "site"
           ·              ────┬────
           ·                  ╰── in none of the folders that are searched
         9 │     hypervisor "qemu" {
           ╰────
           ╭─[image.kdl:3:14]
         2 │ search {
         3 │     overlays "overlays" "~/overlays"
           ·              ───────────┬───────────
           ·                         ╰── which are these
         4 │ }
           ╰────
        help: did you mean `timezone`?
        "#);
    }

    #[test]
    fn labels_near_each_other_share_their_lines() {
        assert_snapshot!(fancy(twice()), @r#"
        warning: the output `qcow2` is asked for twice [output/twice]
            ╭─[image.kdl:11:9]
          9 │     hypervisor "qemu" {
         10 │         output "qcow2"
            ·         ───────┬──────
            ·                ╰── first here
         11 │         output "qcow2"
            ·         ───────┬──────
            ·                ╰── again here
         12 │         disk size="4GiB" {
            ╰────
        "#);
    }

    #[test]
    fn a_long_message_hangs_beside_its_severity() {
        assert_snapshot!(fancy(small()), @r#"
        error: the disk is 4 GiB, but what goes into it takes 5.3 GiB { and a journal }
               on top of that [disk/too-small]
            ╭─[image.kdl:12:9]
         11 │             output "qcow2"
         12 │ ╭─▶         disk size="4GiB" {
         13 │ │               partition "esp"
         14 │ │               partition "root"
         15 │ ├─▶         }
            · ╰──── this disk
         16 │         }
            ╰────
        "#);
    }

    #[test]
    fn a_place_of_many_lines_shows_its_first() {
        let manifest = manifest();
        let image = MANIFEST.find("image").expect("it stands there");
        let fault = Fault::error("image/idle", "the image `pptp-server` has no output")
            .at(&Place::new(&manifest, image..MANIFEST.len()), "this image");
        assert_snapshot!(fancy(fault), @r#"
        error: the image `pptp-server` has no output [image/idle]
            ╭─[image.kdl:6:1]
          6 │ ╭─▶ image "pptp-server" {
          7 │ │       base "debian" suite="trixie"
          8 │ │       overlays "timezon" "site"
          9 │ ├─▶     hypervisor "qemu" {
            · ╰──── this image (to line 17)
         10 │             output "qcow2"
            ╰────
        "#);
    }

    #[test]
    fn another_file_has_a_snippet_of_its_own_and_a_program_its_last_words() {
        assert_snapshot!(fancy(failed()), @r#"
        error: hook `20-motd` failed with exit code 100 [hook/failed]
           ╭─[hooks/20-motd, new:2:1]
         1 │ set -e
         2 │ apt-get install nginx
           · ─────────────────────
           ╰────
           ╭─[image.kdl:6:1]
         6 │ image "pptp-server" {
           · ─────────┬─────────
           ·          ╰── for this image
         7 │     base "debian" suite="trixie"
           ╰────
        last lines:
            Reading package lists... Done
            E: Unable to locate package nginx
            ::set-output name=100%::gone
        help: `imgbuild shell hook:setup/20-motd` opens a shell where it stood
        "#);
    }

    #[test]
    fn without_a_place_the_message_and_the_help_are_all() {
        assert_snapshot!(fancy(full()), @r#"
        error: cannot write `build/a.tar`: no space left on device [io/no-space]
        help: free some space there
        "#);
    }

    #[test]
    fn what_drives_a_terminal_is_shown_and_labels_still_fit() {
        assert_snapshot!(fancy(hostile()), @r#"
        error: there is no word `no<U+2066>pe^G`
               here [lang/unknown]
           ╭─[ev^[[il<U+202E>.kdl:2:2]
         1 │ image "a^[[2J<U+009B>" {
           ·       ────────┬───────
           ·               ╰── in this image
         2 │     no<U+2066>pe^G 1
           ·     ───────┬──────
           ·            ╰── not a^[word
         3 │ }
           ╰────
        last lines:
            a<U+202E>b^[^Hc
        help: say ^[]0;title^G it<U+202E> right
        "#);
    }

    #[test]
    fn a_long_line_is_cut_around_its_labels() {
        let text =
            format!("a {}\"needle\" {} \"other\" {}", "x ".repeat(500), "y ".repeat(40), "z ".repeat(500));
        let source = Source::new("long.kdl", text);
        let fault = Fault::error("lang/unknown", "there is no word `needle`")
            .at(&place(&source, "\"needle\""), "here")
            .at(&place(&source, "\"other\""), "and here")
            .at(&place(&source, "a"), "in this")
            .at(&place(&source, "y"), "near this");
        assert_snapshot!(fancy(fault), @r#"
        error: there is no word `needle` [lang/unknown]
           ╭─[long.kdl:1:1003]
         1 │ …x x x x x x x x x x x "needle" y y y y y y y y y y y y y y y y y y…
           ·                        ────┬─── ┬
           ·                            │    ╰── near this
           ·                            ╰── here
           ╰────
           ╭─[long.kdl:1:1093]
         1 │ … y y y y y y y y y y  "other" z z z z z z z z z z z z z z z z z z …
           ·                        ───┬───
           ·                           ╰── and here
           ╰────
           ╭─[long.kdl:1:1]
         1 │ a x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x …
           · ┬
           · ╰── in this
           ╰────
        "#);
    }

    #[test]
    fn nothing_can_be_pointed_at_too() {
        let (empty, manifest) = (Source::new("empty.kdl", ""), manifest());
        let fault = Fault::error("lang/no-image", "there is no image")
            .at(&Place::new(&empty, 0..0), "")
            .at(&Place::new(&manifest, MANIFEST.len()..MANIFEST.len()), "nor here, at the end")
            .at(&Place::new(&manifest, 3..3), "nor here");
        assert_snapshot!(fancy(fault), @r#"
        error: there is no image [lang/no-image]
           ╭─[empty.kdl:1:1]
         1 │
           · ▲
           ╰────
            ╭─[image.kdl:18:1]
         17 │ }
         18 │
            · ▲
            · ╰── nor here, at the end
            ╰────
           ╭─[image.kdl:1:4]
         1 │ // Servers.
           ·    ▲
           ·    ╰── nor here
         2 │ search {
           ╰────
        "#);
    }

    #[test]
    fn ascii_is_enough() {
        let ascii = Look { unicode: false, ..LOOK };
        assert_snapshot!(render(&[twice()], &ascii), @r#"
        warning: the output `qcow2` is asked for twice [output/twice]
            ,-[image.kdl:11:9]
          9 |     hypervisor "qemu" {
         10 |         output "qcow2"
            :         ^^^^^^^|^^^^^^
            :                `-- first here
         11 |         output "qcow2"
            :         ^^^^^^^|^^^^^^
            :                `-- again here
         12 |         disk size="4GiB" {
            `----
        "#);
    }

    #[test]
    fn faults_stand_apart_in_the_order_given() {
        assert_snapshot!(render(&[full(), full()], &LOOK), @r#"
        error: cannot write `build/a.tar`: no space left on device [io/no-space]
        help: free some space there

        error: cannot write `build/a.tar`: no space left on device [io/no-space]
        help: free some space there
        "#);
    }
}
