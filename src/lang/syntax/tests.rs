//! Slips as people make them, and what no text may do.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::*;

/// A text, and every fault in it as `file:line:column: code: message / help`.
type Case = (&'static str, &'static [&'static str]);

#[rustfmt::skip]
const SLIPS: &[Case] = &[
    ("packages-list \"x\" {\n    nginx=1.26.0\n    curl\n}\n", &[
        r#"image.kdl:2:5: kdl/node-name: a node needs a name before the property `nginx=1.26.0` / a name with its version is written `nginx version="1.26.0"`, a node with a value `nginx "1.26.0"`"#,
    ]),
    (r#"suite = "trixie""#, &[
        r#"image.kdl:1:1: kdl/node-name: a node needs a name before the property `suite = "trixie"` / write `suite "trixie"` for a node with a value"#,
    ]),
    ("from=conf/x", &[
        r#"image.kdl:1:6: kdl/needs-quotes: `conf/x` holds `/`, so it needs quotes / write `"conf/x"`"#,
    ]),
    ("disk size 512M", &[
        r#"image.kdl:1:11: kdl/number: `512M` begins like a number but is none, so it needs quotes / write `"512M"`"#,
    ]),
    ("disk size=4GiB mode=true", &[
        r#"image.kdl:1:11: kdl/number: `4GiB` begins like a number but is none, so it needs quotes / write `size="4GiB"`; if all of it is one name, `"size=4GiB"`"#,
        r#"image.kdl:1:21: kdl/bare-bool: `true` stands without its `#` / write `mode=#true`, or `mode="true"` if it is a text"#,
    ]),
    (r#"hook "a" network=true user=null"#, &[
        r#"image.kdl:1:18: kdl/bare-bool: `true` stands without its `#` / write `network=#true`, or `network="true"` if it is a text"#,
        r#"image.kdl:1:28: kdl/bare-bool: `null` stands without its `#` / write `user=#null`, or `user="null"` if it is a text"#,
    ]),
    ("true", &[
        r#"image.kdl:1:1: kdl/bare-bool: `true` is no name / a node of that name is written `"true"`"#,
    ]),
    ("7zip", &[
        r#"image.kdl:1:1: kdl/number: `7zip` begins like a number but is none, so it needs quotes / write `"7zip"`"#,
    ]),
    ("a 7zip nginx=1.26.0", &[
        r#"image.kdl:1:3: kdl/number: `7zip` begins like a number but is none, so it needs quotes / write `"7zip"`"#,
        r#"image.kdl:1:14: kdl/number: `1.26.0` begins like a number but is none, so it needs quotes / write `nginx="1.26.0"`; if all of it is one name, `"nginx=1.26.0"`"#,
    ]),
    (r##"run r"a\b" r#"a"b"#"##, &[
        r##"image.kdl:1:5: kdl/raw-string: a raw string has no `r` in KDL 2 / write `#"a\b"#`"##,
        r##"image.kdl:1:12: kdl/raw-string: a raw string has no `r` in KDL 2 / write `#"a"b"#`"##,
    ]),
    ("image \"x\" {\n    base \"debian\" {\n    packages { curl }\n}\nimage \"y\" {\n}\n", &[
        r#"image.kdl:2:19: kdl/unclosed: the block of `base "debian"` is not closed / add a `}` before line 4"#,
    ]),
    ("image \"x\" {\n    base \"debian\"\n\nimage \"y\" {\n    size 512M\n}\n", &[
        r#"image.kdl:1:11: kdl/unclosed: the block of `image "x"` is not closed / add a `}` before line 4"#,
        r#"image.kdl:5:10: kdl/number: `512M` begins like a number but is none, so it needs quotes / write `"512M"`"#,
    ]),
    ("a { b {", &[
        "image.kdl:1:7: kdl/unclosed: 2 blocks are not closed / add 2 `}`, one where each block ends",
    ]),
    ("a {\n}\n}\nb true\n", &[
        "image.kdl:3:1: kdl/unopened: this `}` closes nothing / take the `}` away, or put the `{` that it should close before it",
        r#"image.kdl:4:3: kdl/bare-bool: `true` stands without its `#` / write `#true`, or `"true"` if it is a text"#,
    ]),
    ("base suite=\nnext arch=\"x\" b = ", &[
        r#"image.kdl:1:6: kdl/no-value: the property `suite` has no value / write `suite="…"`; the empty text is `suite=""`"#,
        r#"image.kdl:2:15: kdl/no-value: the property `b` has no value / write `b="…"`; the empty text is `b=""`"#,
    ]),
    ("a \"abc\nb true\n", &[
        r#"image.kdl:1:3: kdl/unclosed-string: a string is not closed on its line / close it with `"` on the same line; a text of several lines is written in `"""`"#,
        r#"image.kdl:2:3: kdl/bare-bool: `true` stands without its `#` / write `#true`, or `"true"` if it is a text"#,
    ]),
    ("a \"abc\n   def\"\nb 1\n", &[
        r#"image.kdl:1:3: kdl/string-lines: a string in `"` cannot run over several lines / write `"""`, the text on lines of its own, and `"""` on the last line; or `\n` for a newline"#,
    ]),
    ("a #\"abc\n", &[
        r##"image.kdl:1:3: kdl/unclosed-string: a string is not closed on its line / close it with `"#` on the same line; a text of several lines is written in `"""`"##,
    ]),
    ("a #\"abc\ndef\"#", &[
        r#"image.kdl:1:3: kdl/string-lines: a string in `"` cannot run over several lines / write `"""`, the text on lines of its own, and `"""` on the last line; or `\n` for a newline"#,
    ]),
    ("packages curl, wget", &[
        "image.kdl:1:14: kdl/comma: no `,` stands between values / write `curl` and a blank; a name that ends in `,` needs quotes",
    ]),
    (r#"packages "curl", "wget""#, &[
        r#"image.kdl:1:16: kdl/comma: no `,` stands behind a string / leave it out: values are separated by blanks, as in `name "a" "b"`"#,
    ]),
    ("a , b", &[
        "image.kdl:1:3: kdl/comma: no `,` stands between values / leave it out; blanks separate values",
    ]),
    (r#"suite: "trixie""#, &[
        "image.kdl:1:6: kdl/colon: no `:` stands behind a name / write `suite …` without the `:`; a name that ends in `:` needs quotes",
    ]),
    (r#""suite": "trixie""#, &[
        r#"image.kdl:1:8: kdl/colon: no `:` stands behind a string / leave it out: a value follows a name after a blank, as in `name "a" "b"`"#,
    ]),
    ("# one\n# two\na b # three\n\n# four\n", &[
        "image.kdl:1:1: kdl/hash-comment: a comment begins with `//`, not with `#` / write `// one`",
        "image.kdl:3:5: kdl/hash-comment: a comment begins with `//`, not with `#` / write `// three`",
    ]),
    ("a #True #yes #fff", &[
        "image.kdl:1:3: kdl/keyword: `#True` is no keyword / did you mean `#true`?",
        "image.kdl:1:9: kdl/keyword: `#yes` is no keyword / did you mean `#true`?",
        r##"image.kdl:1:14: kdl/keyword: `#fff` is no keyword / a string is written `"#fff"`, a comment begins with `//`"##,
    ]),
    ("a 'x y' it's", &[
        r#"image.kdl:1:3: kdl/quotes: a string stands in `"`, not in `'` / write `"x y"`"#,
    ]),
    ("a “x” `y`", &[
        r#"image.kdl:1:3: kdl/quotes: a string stands in `"`, not in `“` / write `"x"`"#,
        r#"image.kdl:1:7: kdl/quotes: a string stands in `"`, not in a backtick / write `"y"`"#,
    ]),
    (r#"a "x""y" b"c""#, &[
        r#"image.kdl:1:3: kdl/no-blank: a blank is missing behind `"x"` / write `"x" "y"`, or put all of it into one pair of quotes"#,
        r#"image.kdl:1:10: kdl/no-blank: a blank is missing behind `b` / write `b "c"`, or put all of it into one pair of quotes"#,
    ]),
    (r#"mirror "x"(y)"#, &[
        r#"image.kdl:1:8: kdl/no-blank: a blank is missing behind `"x"` / write `"x" (y)`, or put all of it into one pair of quotes"#,
    ]),
    ("a \"\"\"\n   x\n  y\n   \"\"\"\n", &[
        r#"image.kdl:3:1: kdl/multi-line: a line of a `"""` string does not begin with the blanks that stand before the closing `"""` / indent every line at least as far as the closing `"""`, with the same tabs or spaces"#,
    ]),
    (r#"a """x""""#, &[
        r#"image.kdl:1:3: kdl/multi-line: the text of a `"""` string begins on the next line / a text of one line is written `"x"`"#,
    ]),
    ("a \"\"\"\nx\"\"\"", &[
        r#"image.kdl:2:2: kdl/multi-line: the closing `"""` stands behind text / put the closing `"""` on a line of its own"#,
    ]),
    ("a \"\"\"\nx\n", &[
        r#"image.kdl:1:3: kdl/unclosed-string: a string of several lines is not closed / close it with `"""` on a line of its own"#,
    ]),
    (r##"a #"""#"##, &[
        r#"image.kdl:1:3: kdl/raw-string: a raw string cannot hold a single `"` / write `"\""`"#,
    ]),
    (r#"a /srv ~/x from=conf/x http://x/?a=b ${SETUP}/x b\c d#e"#, &[
        r#"image.kdl:1:3: kdl/needs-quotes: `/srv` holds `/`, so it needs quotes / write `"/srv"`"#,
        r#"image.kdl:1:8: kdl/needs-quotes: `~/x` holds `/`, so it needs quotes / write `"~/x"`"#,
        r#"image.kdl:1:17: kdl/needs-quotes: `conf/x` holds `/`, so it needs quotes / write `"conf/x"`"#,
        r#"image.kdl:1:24: kdl/needs-quotes: `http://x/?a=b` holds `/`, so it needs quotes / write `"http://x/?a=b"`"#,
        r#"image.kdl:1:38: kdl/needs-quotes: `${SETUP}/x` holds `{`, so it needs quotes / write `"${SETUP}/x"`"#,
        r##"image.kdl:1:49: kdl/needs-quotes: `b\c` holds `\`, so it needs quotes / write `#"b\c"#`"##,
        r#"image.kdl:1:53: kdl/needs-quotes: `d#e` holds `#`, so it needs quotes / write `"d#e"`"#,
    ]),
    (r#"a \ x"#, &[
        r##"image.kdl:1:3: kdl/needs-quotes: `\` stands before the end of its line / a `\` that joins two lines is the last thing on the first; as a text it is written `#"\"#`"##,
    ]),
    ("a [\"x\", \"y\"]\nb true", &[
        r#"image.kdl:1:3: kdl/brackets: KDL has no lists in `[…]` / write the values one behind the other: `"x" "y"`"#,
        r#"image.kdl:2:3: kdl/bare-bool: `true` stands without its `#` / write `#true`, or `"true"` if it is a text"#,
    ]),
    ("overlays [\n  \"a\",\n  \"b\"\n]\n", &[
        r#"image.kdl:1:10: kdl/brackets: KDL has no lists in `[…]` / write the values one behind the other: `"a" "b"`"#,
    ]),
    ("[section]\nx 1\n", &[
        "image.kdl:1:1: kdl/brackets: KDL has no sections in `[…]` / write `section { … }`",
    ]),
    (r#"a "C:\dir" "\u{110000}""#, &[
        r##"image.kdl:1:6: kdl/escape: `\d` is no escape / write `\\` for a backslash, or `#"C:\dir"#` for a text that is taken as it stands"##,
        r#"image.kdl:1:13: kdl/escape: `\u{110000}` is no escape / a character is written by its number in hexadecimal, as in `\u{e9}`"#,
    ]),
    ("a b=c=d e==f", &[
        r#"image.kdl:1:3: kdl/no-blank: `b=c=d` holds a second `=` / write `b="c=d"`"#,
        r#"image.kdl:1:9: kdl/no-blank: `e==f` holds a second `=` / write `e="=f"`"#,
    ]),
    ("a {} b", &[
        "image.kdl:1:6: kdl/same-line: `b` stands behind a block that has ended / values and properties go before the `{`; another node begins on a new line or behind `;`",
    ]),
    ("a {} {}", &[
        "image.kdl:1:6: kdl/second-block: a node has one block, and this is its second / put all children into one block, or write the node's name again",
    ]),
    ("{\n a\n}\n", &[
        "image.kdl:1:1: kdl/node-name: a block needs a node's name before it / write `name { … }`; the `{` stands on the name's own line",
    ]),
    ("a (t)b=1 (x y)z", &[
        "image.kdl:1:3: kdl/type: a property's type stands before its value, not before its name / write `key=(type)value`",
        "image.kdl:1:10: kdl/type: this `(` does not begin a type / a type is written `(name)value`; a text with parentheses stands in quotes",
    ]),
    ("a (t)\nb key=(t)\n", &[
        "image.kdl:1:3: kdl/type: nothing follows the type `(t)` / write `(t)value`, or put it in quotes",
        "image.kdl:2:7: kdl/type: nothing follows the type `(t)` / write `(t)value`, or put it in quotes",
    ]),
    ("a )", &[
        "image.kdl:1:3: kdl/type: this `)` closes nothing / a text with parentheses stands in quotes",
    ]),
    ("5", &[
        r#"image.kdl:1:1: kdl/node-name: the number `5` is no name / write `"5"`"#,
    ]),
    ("a;;", &[
        "image.kdl:1:3: kdl/semicolon: this `;` ends no node / take the `;` away",
    ]),
    ("a /-", &[
        "image.kdl:1:3: kdl/slashdash: `/-` has nothing to take away / put `/-` before a node, a value, a property or a block; `//` comments out the rest of a line",
    ]),
    (r#""a"/-b"#, &[
        "image.kdl:1:4: kdl/no-blank: a blank is missing before `/-` / write a blank before `/-`; a text that holds `/-` stands in quotes",
    ]),
    ("a b=1 c b=2 {\n  d \"e\"=1 e=2\n}\n", &[
        "image.kdl:1:9: kdl/doubled-property: the property `b` is given twice / keep one of them: `b=1` or `b=2`",
        r#"image.kdl:2:11: kdl/doubled-property: the property `e` is given twice / keep one of them: `"e"=1` or `e=2`"#,
    ]),
    ("a 1=2 =4", &[
        r#"image.kdl:1:3: kdl/key: `1` cannot be a property's name / a property is written `key=value`; the name `"1"` needs quotes"#,
        "image.kdl:1:7: kdl/key: this `=` has no property's name before it / a property is written `key=value`; a text that holds `=` stands in quotes",
    ]),
    ("a hooks/*.sh", &[
        r#"image.kdl:1:8: kdl/unclosed-comment: a comment is not closed / a path with `/*` stands in quotes, as in `"hooks/*"`; a comment ends with `*/`"#,
    ]),
    ("/* x /* y */", &[
        "image.kdl:1:1: kdl/unclosed-comment: a comment is not closed / close it with `*/`; comments nest, so each `/*` needs a `*/` of its own",
    ]),
    ("a .5 1. 0x 1e9e 123456789012345678901234567890123456789012", &[
        "image.kdl:1:3: kdl/number: `.5` lacks a digit before its point / write `0.5`",
        r#"image.kdl:1:6: kdl/number: `1.` begins like a number but is none, so it needs quotes / write `"1."`"#,
        r#"image.kdl:1:9: kdl/number: `0x` begins like a number but is none, so it needs quotes / write `"0x"`"#,
        r#"image.kdl:1:12: kdl/number: `1e9e` begins like a number but is none, so it needs quotes / write `"1e9e"`"#,
        r#"image.kdl:1:17: kdl/number: the number `1234567890123456789012345678901234567890…` is too large / if it is a name or a digest, write it in quotes: `"1234567890123456789012345678901234567890…"`"#,
    ]),
    ("a \u{202e}x\u{202e}", &[
        r#"image.kdl:1:3: kdl/character: the character U+202E turns the direction of what is shown and is not allowed, here and 1 more time / delete it; inside a string it is written `\u{202e}`"#,
    ]),
    ("a\0b\0", &[
        "image.kdl:1:2: kdl/character: this is no text: it holds NUL bytes, here and 1 more time / name a text file in UTF-8",
    ]),
    ("node \"\"\"\n\\s x\n  y\n  \"\"\"\n", &[
        r#"image.kdl:2:1: kdl/multi-line: a line of a `"""` string does not begin with the blanks that stand before the closing `"""` / indent every line at least as far as the closing `"""`, with the same tabs or spaces"#,
    ]),
    // Left to kdl, and passed on.
    ("node \"\"\"\na\n   \\\n\"\"\"\n", &[
        r#"image.kdl:1:6: kdl/refused: matching multiline string prefix / multi-line string bodies must be prefixed by the exact same whitespace as the leading whitespace before the closing '"""'"#,
    ]),
];

#[test]
fn every_slip_is_one_fault_at_its_place() {
    for (text, expected) in SLIPS {
        let faults = parse(&Source::new("image.kdl", *text)).expect_err(text);
        let lines: Vec<String> = faults.iter().map(line).collect();
        assert_eq!(lines, *expected, "in:\n{text}");
    }
}

fn line(fault: &Fault) -> String {
    let place = &fault.labels.first().expect("a fault has a place").place;
    let (line, column) = place.line_column();
    let help = fault.help.as_deref().expect("a fault has a way out");
    format!("{}:{line}:{column}: {}: {} / {help}", place.source.name, fault.code, fault.message)
}

/// A manifest with a bit of everything that KDL has.
const MANIFEST: &str = r##"variable "SETUP" default="ipv4" { one-of "ipv4" "ipv6" }

search {                                  // first match wins
    overlays "overlays" "~/overlays"
    hooks "hooks" /* block /* nested ** */ */ "more"
}

packages-list "common" { openssh-server; iproute2; g++; libc6:amd64; }
overlay "site" from="overlays/site" to="/srv" owner=(name)"www-data:www-data" \ // joined
    network=#true
hook-list "hardening" phase="finalise" {
    hook "10-ssh" run=#"sed -i "s/\s//" x"#
    hook "20-motd" run="""
        echo \"built\" for ${IMGBUILD_HYPERVISOR} \
            > /etc/motd

        true
        """
    /- hook "old" { run "x" }
}

image "pptp-server" version="0.2" /-old=1 {
    base debian suite=trixie arch = amd64
    packages "common" "pptp" { curl }
    hypervisor "qemu" /-{ a } {
        disk size="4GiB" swap=-1.5e3 mask=0x1F_ff {
            partition "root" mount="/"
        } /- { gone }
        machine memory="1GiB" cpus=2
    }
    when SETUP="ipv6" { overlays "ipv6"; }
}
"##;

#[test]
fn a_manifest_is_read_as_kdl_alone_reads_it() {
    let document = parse(&Source::new("image.kdl", MANIFEST)).unwrap();
    assert_eq!(shape(&document), shape(&KdlDocument::parse_v2(MANIFEST).unwrap()));
    let swap = document.get("image").and_then(|image| image.children()?.get("hypervisor"));
    let disk = swap.and_then(|hypervisor| hypervisor.children()?.get("disk")).unwrap();
    assert_eq!(value_repr(disk.entry("mask").unwrap()), Some("0x1F_ff"));
    assert_eq!(value_repr(disk.entry("swap").unwrap()), Some("-1.5e3"));
}

/// Names, values and the spans of values, without formatting.
fn shape(document: &KdlDocument) -> String {
    let mut out = String::new();
    for node in document.nodes() {
        let _ = write!(out, "{:?}{}", node.ty().map(|ty| ty.value()), node.name().value());
        for entry in node.entries() {
            let (name, ty) = (entry.name().map(|name| name.value()), entry.ty().map(|ty| ty.value()));
            let _ = write!(out, " {name:?} {ty:?} {:?} {:?}", entry.value(), entry.span());
        }
        let _ = write!(out, "{{{}}}", node.children().map(shape).unwrap_or_default());
    }
    out
}

#[test]
fn an_unclosed_block_names_its_likely_end() {
    let text = "image \"x\" {\n    base \"debian\" {\n        mirror \"m\"\n\n    packages { curl }\n}\n";
    let faults = parse(&Source::new("image.kdl", text)).unwrap_err();
    let labels: Vec<String> = faults
        .iter()
        .flat_map(|fault| &fault.labels)
        .map(|label| format!("{:?} {}", label.place, label.text))
        .collect();
    assert_eq!(
        labels,
        ["image.kdl:2:19 opened here", "image.kdl:5:5 this line looks as if it stood outside of it"]
    );
}

#[test]
fn bytes_become_a_source() {
    assert_eq!(from_bytes("a", b"\xef\xbb\xbfa 1".to_vec()).unwrap().text, "a 1");
    let refused =
        |bytes: &[u8]| from_bytes("a.kdl", bytes.to_vec()).unwrap_err().iter().map(line).collect::<String>();
    assert_eq!(
        refused(b"a\nb \xffx"),
        "a.kdl:2:3: kdl/utf8: `a.kdl` is not UTF-8: byte 4 (0xff) begins no character / save it as UTF-8; is it a text file at all?"
    );
    assert_eq!(
        refused(b"\xff\xfea\0"),
        "a.kdl:1:1: kdl/utf8: `a.kdl` is not UTF-8: byte 0 (0xff) begins no character / it looks like UTF-16; save it as UTF-8"
    );
    assert_eq!(
        refused(&vec![0xff; 5 << 20]),
        "a.kdl:1:1: kdl/size: `a.kdl` is larger than a manifest can be / the limit is 4.0 MiB; is this the right file?"
    );
}

#[test]
fn a_flood_of_faults_ends() {
    let faults = parse(&Source::new("a", "a true\n".repeat(1000))).unwrap_err();
    assert_eq!(faults.len(), token::MOST_FAULTS + 1);
    assert_eq!(faults.last().map(|fault| fault.code), Some("kdl/too-many"));
}

/// Texts that make the kdl crate abort, hang or take minutes.
#[test]
fn no_text_takes_long() {
    let depth = guard::DEEPEST;
    let refused = [
        ("a{".repeat(100_000), "kdl/depth"),
        ("/*".repeat(100_000), "kdl/comment-depth"),
        (format!("a /-{{{}", "b c ".repeat(10_000)), "kdl/unclosed"),
        ("a /-{\n".repeat(60), "kdl/unclosed"),
        ("a\n".repeat(2 << 20), "kdl/size"),
        ("\0".repeat(4 << 20), "kdl/character"),
        (
            random(1).take(4 << 20).map(|number| char::from(b' ' + (number % 95) as u8)).collect(),
            "kdl/too-many",
        ),
    ];
    for (text, code) in refused {
        let faults = timed(&text).unwrap_err();
        assert!(faults.iter().any(|fault| fault.code == code), "{code}: {faults:?}");
    }
    let good = [
        format!("{}{}", "a /-{".repeat(depth), "}".repeat(depth)),
        format!("{}{}", "a\n/-a{".repeat(depth), "}".repeat(depth)),
        format!("/*{}*/", "* / ".repeat(1 << 18)),
        format!("a //{}", "/".repeat(1 << 20)),
        "/- a { b }\n".repeat(50_000),
    ];
    for text in good {
        timed(&text).expect("this is KDL");
    }
    for part in [
        "(", "\"", "'", "[", "\\", "\"\\u{", "#\"", "$", "${", "a=", "/", "“ ", "a {} {}", "\\ ", "a \"\n",
        "a[", "#x ",
    ] {
        let _ = timed(&part.repeat((1 << 20) / part.len()));
    }
}

/// Random changes to a manifest: an answer in time, with faults inside the text, and never one about kdl itself.
#[test]
fn a_mutated_manifest_is_read_or_refused_well() {
    const PARTS: [&str; 30] = [
        "{", "}", "\"", "\"\"\"", "#\"", "\"#", "/*", "*/", "/-", "//", ";", "\n", " ", "=", "\\", "(", ")",
        "[", ",", "true", "512M", "a=b", "#", "'", "é", "\\u{zz}", "r\"", "#null", "\t", "/- {",
    ];
    let mut numbers = random(7);
    let mut next = |below: usize| (numbers.next().unwrap_or_default() % below.max(1) as u64) as usize;
    let mut accepted = 0;
    for round in 0..2000 {
        let mut text = MANIFEST.to_string();
        for _ in 0..=next(3) {
            let at = text.floor_char_boundary(next(text.len()));
            let end = text.ceil_char_boundary((at + next(12)).min(text.len()));
            match next(3) {
                0 => text.insert_str(at, PARTS[next(PARTS.len())]),
                1 => text.replace_range(at..end, ""),
                _ => text = format!("{}{}", &text[..end], &text[at..]),
            }
        }
        match timed(&text) {
            Ok(document) => {
                // Alone, kdl does not know that a node behind `/-` may end with `;`.
                if let Ok(alone) = KdlDocument::parse_v2(&text) {
                    accepted += 1;
                    assert_eq!(shape(&document), shape(&alone), "round {round}:\n{text}");
                }
            }
            Err(faults) => {
                assert!(!faults.is_empty());
                for fault in faults {
                    assert_ne!(fault.code, "kdl/internal", "round {round}:\n{text}");
                    let _ = line(&fault);
                    assert!(fault.labels.iter().all(|label| label.place.end <= text.len()));
                }
            }
        }
    }
    assert!(accepted > 200, "only {accepted} were read: the changes are too wild to test that");
}

fn timed(text: &str) -> Result<KdlDocument, Vec<Fault>> {
    let (source, began) = (Source::new("image.kdl", text), Instant::now());
    let result = parse(&source);
    assert!(began.elapsed() < Duration::from_secs(2), "took {:?}: {:.100}", began.elapsed(), text);
    result
}

/// Numbers that are the same each time: Knuth's generator, its upper bits.
fn random(mut state: u64) -> impl Iterator<Item = u64> {
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    })
}
