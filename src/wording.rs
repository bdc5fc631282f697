//! How messages are worded: counts that agree, lists that read well, sizes, and "did you mean".

use std::fmt::Display;

/// `1 step`, `3 steps`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {}", plural(number, noun))
}

/// `step`, `steps`; `entry`, `entries`.
pub fn plural(number: usize, noun: &str) -> String {
    match (number, noun.strip_suffix('y')) {
        (1, _) => noun.to_string(),
        (_, Some(stem)) if !stem.ends_with(['a', 'e', 'o']) => format!("{stem}ies"),
        _ => format!("{noun}s"),
    }
}

/// `` `a`, `b` or `c` ``; more than eight are cut.
pub fn either(names: impl IntoIterator<Item = impl Display>) -> String {
    join(names, "or")
}

/// `` `a`, `b` and `c` ``; more than eight are cut.
pub fn all(names: impl IntoIterator<Item = impl Display>) -> String {
    join(names, "and")
}

fn join(names: impl IntoIterator<Item = impl Display>, word: &str) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    const SHOWN: usize = 8;
    match names.as_slice() {
        [] => String::from("nothing"),
        [one] => one.clone(),
        [first @ .., last] if names.len() <= SHOWN => format!("{} {word} {last}", first.join(", ")),
        _ => format!("{} {word} {} more", names[..SHOWN].join(", "), names.len() - SHOWN),
    }
}

/// The name that was most likely meant, if one is near enough to be worth a guess.
pub fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = typed.to_lowercase();
    names
        .into_iter()
        .filter(|name| *name != typed)
        .map(|name| (distance(&lower, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= allowed(typed.len().min(name.len())))
        .min()
        .map(|(_, name)| name)
}

fn distance(typed: &str, name: &str) -> usize {
    // A forgotten or an added ending (`output`, `outputs`) is nearer than its letters say.
    if typed.len() > 2
        && (name.starts_with(typed) || typed.starts_with(name))
        && typed.len().abs_diff(name.len()) <= 2
    {
        return 0;
    }
    strsim::osa_distance(typed, name)
}

fn allowed(length: usize) -> usize {
    match length {
        0..=2 => 0,
        3..=4 => 1,
        5..=8 => 2,
        _ => 3,
    }
}

/// ``did you mean `x`?``, or what there is to choose from when nothing is near and the choice is small.
pub fn suggest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(name) = nearest(typed, names.clone()) {
        return Some(format!("did you mean `{name}`?"));
    }
    let names: Vec<&str> = names.into_iter().collect();
    (!names.is_empty())
        .then(|| format!("there {} {}", if names.len() == 1 { "is" } else { "are" }, all(names)))
}

/// `512 B`, `3.4 KiB`, `120 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for name in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = name;
    }
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// `12 ms`, `3.4 s`, `2 min 5 s`.
pub fn duration(seconds: f64) -> String {
    if seconds < 1.0 {
        return format!("{:.0} ms", seconds * 1000.0);
    }
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    format!("{} min {} s", whole / 60, whole % 60)
}

/// `text` with control characters made visible, so that what a manifest or a program says cannot drive a terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() && letter != '\t' { '\u{fffd}' } else { letter })
        .collect()
}

/// Text between the tags of XML, or in an attribute.
pub fn xml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&apos;"),
            // XML 1.0 has no others, not even written as a number.
            letter if letter.is_control() && !"\t\n\r".contains(letter) => safe.push('\u{fffd}'),
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_agree() {
        assert_eq!(count(1, "entry"), "1 entry");
        assert_eq!(count(2, "entry"), "2 entries");
        assert_eq!(count(0, "overlay"), "0 overlays");
    }

    #[test]
    fn a_guess_is_made_only_when_it_is_near() {
        assert_eq!(nearest("overlay", ["overlays", "files"]), Some("overlays"));
        assert_eq!(nearest("ouptut", ["output", "image"]), Some("output"));
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(suggest("zebra", ["tar", "iso"]), Some("there are `tar` and `iso`".into()));
    }

    #[test]
    fn sizes_and_times_read_well() {
        assert_eq!(size(3481), "3.4 KiB");
        assert_eq!(size(125_829_120), "120 MiB");
        assert_eq!(duration(0.0123), "12 ms");
        assert_eq!(duration(125.0), "2 min 5 s");
    }
}
