//! Text in lines of a width: paragraphs, lists, and what must not be torn apart.

/// The width of a page.
pub const WIDTH: usize = 80;

/// Markdown of paragraphs and `- ` lists as lines no longer than [`WIDTH`], indented; what stands in backticks stays
/// together.
pub fn flow(text: &str, indent: usize) -> String {
    let lines = text.lines().map(|line| match line.trim_start() {
        "" => String::from("\n"),
        item if item.starts_with("- ") => fold(pieces(item), indent, indent + 2),
        line => fold(pieces(line), indent, indent),
    });
    lines.collect()
}

/// Pieces with blanks between them as lines; the first is indented by `indent`, the others by `hang`.
pub fn fold(pieces: impl IntoIterator<Item = impl AsRef<str>>, indent: usize, hang: usize) -> String {
    let mut out = " ".repeat(indent);
    let mut column = indent;
    let mut fresh = true;
    for piece in pieces {
        let length = piece.as_ref().chars().count();
        if !fresh && column + 1 + length > WIDTH {
            out.push('\n');
            out.push_str(&" ".repeat(hang));
            (column, fresh) = (hang, true);
        }
        if !fresh {
            out.push(' ');
            column += 1;
        }
        out.push_str(piece.as_ref());
        (column, fresh) = (column + length, false);
    }
    out.push('\n');
    out
}

/// The words of a line; a code span is one.
fn pieces(line: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut code = false;
    for letter in line.chars() {
        code ^= letter == '`';
        match pieces.last_mut() {
            Some(piece) if letter != ' ' || code => piece.push(letter),
            _ => pieces.push(String::new()),
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_before_the_width_and_never_in_code() {
        let text = format!("{} `a b c` d\n\n- {} e", "x".repeat(71), "y".repeat(75));
        let expected = format!("  {}\n  `a b c` d\n\n  - {}\n    e\n", "x".repeat(71), "y".repeat(75));
        assert_eq!(flow(&text, 2), expected);
    }
}
