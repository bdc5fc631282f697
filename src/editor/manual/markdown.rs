//! The reference manual: every page, with a table of contents in front and links between them.

use super::flow::{flow, fold};
use super::page;
use crate::editor::words::Topic;
use crate::lang::{Field, Form};

const HEAD: &str = "\
<!-- Generated from the program's table of words; `IMGBUILD_UPDATE=1 cargo test --test generated` writes it again. -->

# The manifest

A manifest, `image.kdl`, says what images a project has and what they are made of. It is written in
[KDL 2](https://kdl.dev). This is every word that may stand in one; `imgbuild help WORD` shows the same, word by word.

";

const WRITTEN: &str = "\
## How a word is written

A word is followed by its arguments and its properties, and by a block with what belongs to it:

```kdl
image \"server\" version=\"1.0\" {
    overlays \"timezone\" \"site\"
    output \"tar\"
}
```

Below, capital letters stand for a value, `[…]` for what may be left out, `…` for more of the same, and `a|b` for one
of a choice. In any string, `${NAME}` stands for the value of a [`variable`](#variable), and `$${` for the two
characters `${`. A number that is meant as text, such as the version 1.10, is put in quotes.

| Value | What it is |
|---|---|
";

/// The document.
pub fn reference(all: &[Topic]) -> String {
    let mut out = String::from(HEAD);
    out.push_str("## Words\n\n");
    out.push_str("- [How a word is written](#how-a-word-is-written)\n");
    all.iter().for_each(|topic| out.push_str(&contents_line(topic)));
    out.push('\n');
    out.push_str(WRITTEN);
    values(all).for_each(|row| out.push_str(&row));
    all.iter().for_each(|topic| out.push_str(&page(topic, all)));
    out
}

fn contents_line(topic: &Topic) -> String {
    let indent = "  ".repeat(topic.path.len() - 1);
    format!("{indent}- {}: {}\n", link(topic), topic.word.summary)
}

/// The forms of value that some word takes, in their own order.
fn values(all: &[Topic]) -> impl Iterator<Item = String> {
    const FORMS: [(Form, &str); 15] = [
        (Form::Text, "Any text."),
        (
            Form::Script,
            "The text of a program, as it is: `${NAME}` in it is the program's own, and no variable of the manifest.",
        ),
        (
            Form::Name,
            "A name for something: letters, digits and `._+-`, beginning with a letter or a digit; at most 128.",
        ),
        (
            Form::Path,
            "A path. A relative one starts at the folder of the file that it stands in, unless its docs say otherwise; `~/` is \
             the caller's home.",
        ),
        (Form::ImagePath, "An absolute path inside the image, without `.` and `..`."),
        (
            Form::Glob,
            "A pattern: `*` and `?` stay within a name, `**` crosses folders, `[ab]` and `{a,b}` are choices, `\\` \
             takes a letter as it is. One without a slash matches at any depth, one with a slash from the top.",
        ),
        (Form::Flag, "`#true` or `#false`."),
        (Form::Integer { min: 0, max: 0 }, "A whole number, without quotes."),
        (
            Form::Size,
            "Bytes: a number, or `\"512MiB\"`, `\"4G\"`. Units are powers of 1024, but `kB`, `MB`, `GB` and `TB` of \
             1000.",
        ),
        (Form::Share, "Bytes as above, or hundredths of what is left: `\"50%\"`."),
        (Form::Mode, "Permission bits in octal, in quotes: `\"0644\"`."),
        (
            Form::Owner,
            "`\"user\"` or `\"user:group\"`, names or numbers. Names are looked up in the image's own `/etc/passwd` \
             and `/etc/group`; a user alone owns with the group of the same name or number.",
        ),
        (Form::Time, "A time in UTC: `\"2025-01-01\"`, `\"2025-01-01T12:30:00Z\"`, or seconds since 1970."),
        (Form::Url, "A URL that begins with `http://` or `https://`, without `?` and `#`."),
        (
            Form::Package,
            "A package's name, perhaps with an architecture (`libc6:amd64`), or with `!` before it to leave it out; a \
             task's name with `^` behind it. Names that begin with a digit are put in quotes.",
        ),
    ];
    let used = |form: Form| {
        let placeholder = page::placeholder(form);
        all.iter().flat_map(Topic::fields).any(|field| page::placeholder(field.form) == placeholder)
    };
    FORMS
        .into_iter()
        .filter(move |(form, _)| used(*form))
        .map(|(form, docs)| format!("| `{}` | {} |\n", page::placeholder(form), cell(docs)))
}

fn page(topic: &Topic, all: &[Topic]) -> String {
    let mut out = format!("\n{} `{}`\n\n", "#".repeat(topic.path.len() + 1), topic.title);
    out.push_str(&flow(&format!("{}.", capitalised(topic.word.summary)), 0));
    out.push_str(&format!("\n```text\n{}```\n\n", fold(page::signature(topic), 0, 4)));
    out.push_str(&flow(topic.word.docs, 0));
    out.push('\n');
    out.push_str(&flow(&page::standing(topic, all, link), 0));
    let rest = topic.rest().map(|field| (format!("{} …", page::argument(field)), field));
    let arguments = topic.arguments().map(|field| (page::argument(field), field));
    let own = topic.word.own_name.as_ref().map(|field| (page::argument(field), field));
    fields("Its name", own.into_iter(), &mut out);
    fields("Argument", arguments.chain(rest), &mut out);
    let free = topic.free_properties().map(|field| (format!("{} …", field.name), field));
    let properties = topic.properties().map(|field| (field.name.to_string(), field));
    fields("Property", properties.chain(free), &mut out);
    let kinds = all.iter().filter(|other| other.kind_of.is_some_and(|word| topic.is(word)));
    list("Kinds", kinds, &mut out);
    let words = topic.children().map(|child| child.word).chain(topic.free_children());
    let children = words.filter_map(|word| all.iter().find(|other| other.is(word)));
    list("In its block", children, &mut out);
    out.push_str(&format!("\n```kdl\n{}```\n", topic.word.example));
    out
}

/// Words under a title, called as they are written there.
fn list<'a>(title: &str, topics: impl Iterator<Item = &'a Topic>, out: &mut String) {
    let lines: String = topics
        .map(|topic| format!("- [`{}`]({}): {}\n", page::name(topic), anchor(topic), topic.word.summary))
        .collect();
    if !lines.is_empty() {
        out.push_str(&format!("\n{title}:\n\n{lines}"));
    }
}

fn fields<'a>(title: &str, fields: impl Iterator<Item = (String, &'a Field)>, out: &mut String) {
    let rows: String = fields.map(|(name, field)| row(&name, field)).collect();
    if !rows.is_empty() {
        out.push_str(&format!("\n| {title} | Value | If left out | |\n|---|---|---|---|\n{rows}"));
    }
}

fn row(name: &str, field: &Field) -> String {
    let absence = match (field.required, field.default) {
        (true, _) => "(required)",
        (false, default) => default.unwrap_or_default(),
    };
    format!("| `{name}` | {} | {} | {} |\n", cell(&field.form.noun()), cell(absence), cell(field.docs))
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn link(topic: &Topic) -> String {
    format!("[`{}`]({})", topic.title, anchor(topic))
}

fn anchor(topic: &Topic) -> String {
    format!("#{}", topic.title.replace(' ', "-"))
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
