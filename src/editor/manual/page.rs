//! What a page on a word says, whatever it is written in.

use crate::editor::words::{Standing, Topic};
use crate::lang::{Field, Form};

/// The word as it is written: `output "tar"`.
pub fn name(topic: &Topic) -> String {
    match topic.kind_of {
        Some(word) => format!("{} \"{}\"", word.name, topic.name()),
        None => topic.word.own_name.as_ref().map_or_else(|| topic.name().to_string(), argument),
    }
}

/// How the word is written, in pieces that stay whole: `overlay`, `NAME`, `[from=PATH]`, `{ include …;` …
pub fn signature(topic: &Topic) -> Vec<String> {
    let mut pieces = vec![name(topic)];
    let has_kinds = topic.word.kinds.is_some();
    pieces.extend(has_kinds.then(|| String::from("KIND")));
    pieces.extend(topic.arguments().map(|field| optional(field, argument(field))));
    pieces.extend(topic.rest().map(|field| optional(field, format!("{} …", argument(field)))));
    pieces.extend(topic.properties().map(|field| optional(field, property(field))));
    pieces.extend(topic.free_properties().map(|field| format!("{} …", property(field))));
    pieces.extend(has_kinds.then(|| String::from("…")));
    let free = topic.free_children().and_then(|word| word.own_name.as_ref()).map(argument);
    let names = topic.children().map(|child| child.word.name.to_string()).chain(free);
    let block: Vec<String> = names.map(|name| format!("{name} …")).collect();
    if !block.is_empty() {
        pieces.extend(format!("{{ {} }}", block.join(";\n")).lines().map(String::from));
    }
    pieces
}

fn optional(field: &Field, written: String) -> String {
    if field.required { written } else { format!("[{written}]") }
}

/// `NAME`, as the signature calls an argument.
pub fn argument(field: &Field) -> String {
    field.name.to_uppercase()
}

/// `from=PATH`, as the signature writes a property.
pub fn property(field: &Field) -> String {
    let value = match field.form {
        Form::Flag if field.default == Some("#true") => String::from("#false"),
        // What does not fit a line is told where the property is.
        Form::OneOf(choice) if choice.iter().map(|one| one.len() + 1).sum::<usize>() <= 60 => {
            choice.join("|")
        }
        Form::OneOf(_) => field.name.to_uppercase(),
        form => placeholder(form).to_string(),
    };
    format!("{}={value}", field.name)
}

/// What stands for a value of that form.
pub fn placeholder(form: Form) -> &'static str {
    match form {
        Form::Text => "TEXT",
        Form::Script => "SCRIPT",
        Form::Name => "NAME",
        Form::Path => "PATH",
        Form::ImagePath => "/PATH",
        Form::Glob => "PATTERN",
        Form::Flag => "#true",
        Form::Integer { .. } => "NUMBER",
        Form::Size => "SIZE",
        Form::Share => "SIZE|PERCENT%",
        Form::Mode => "MODE",
        Form::Owner => "OWNER",
        Form::Time => "TIME",
        Form::Url => "URL",
        Form::Package => "PACKAGE",
        Form::OneOf(_) => "A|B",
    }
}

/// What holds if the field is left out: `required`, its default, or nothing to say.
pub fn absence(field: &Field) -> Option<String> {
    if field.required {
        Some("required".into())
    } else {
        field.default.map(|default| format!("default: {default}"))
    }
}

/// Where the word may stand, as a sentence; `link` names a word.
pub fn standing(topic: &Topic, all: &[Topic], link: impl Fn(&Topic) -> String) -> String {
    if let Some(of) = topic.kind_of.and_then(|word| all.iter().find(|topic| topic.is(word))) {
        return format!("A kind of {}.", link(of));
    }
    let place = |standing: &Standing| match standing.within {
        None => String::from("at the top of a manifest"),
        Some(word) => {
            let outer = all.iter().find(|topic| topic.is(word));
            format!("in {}", outer.map_or_else(|| format!("`{}`", word.name), &link))
        }
    };
    let often = [(true, "any number of times"), (false, "at most once")];
    let phrases = often.into_iter().filter_map(|(many, often)| {
        let places: Vec<String> =
            topic.standing.iter().filter(|standing| standing.child.many == many).map(place).collect();
        (!places.is_empty()).then(|| format!("{}, {often}", series(&places)))
    });
    format!("Stands {}.", phrases.collect::<Vec<_>>().join("; "))
}

/// `in a, b and c`.
fn series(places: &[String]) -> String {
    let mut text = String::new();
    for (number, place) in places.iter().enumerate() {
        let last = number + 1 == places.len();
        text.push_str(match number {
            0 => "",
            _ if last => " and ",
            _ => ", ",
        });
        // The first says `in` for all that follow it.
        let repeated = number > 0 && places.get(number - 1).is_some_and(|before| before.starts_with("in "));
        text.push_str(if repeated { place.strip_prefix("in ").unwrap_or(place) } else { place });
    }
    text
}
