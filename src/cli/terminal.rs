//! Where text goes.

use std::io::{self, IsTerminal, Write};

use super::arguments::Color;
use super::messages::Look;

/// Standard output and error, and how they look.
#[derive(Debug)]
pub struct Terminal {
    /// How messages look.
    pub look: Look,
    /// Whether standard error is a terminal that lines can be drawn over on.
    pub live: bool,
}

impl Terminal {
    /// The terminal of this process.
    pub fn new(color: Color, no_color: bool, dumb: bool, unicode: bool) -> Terminal {
        let live = io::stderr().is_terminal() && !dumb;
        let colour = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => live && !no_color,
        };
        let width = rustix::termios::tcgetwinsize(io::stderr()).map_or(80, |size| usize::from(size.ws_col));
        Terminal { look: Look { colour, width: if width < 20 { 80 } else { width.min(160) }, unicode }, live }
    }

    /// Writes an answer to standard output. Nobody reading any more is no error.
    pub fn answer(&self, text: &str) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Writes all that `source` yields to standard output. Nobody reading any more is no error.
    pub fn pour(&self, source: &mut dyn io::Read) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match io::copy(source, &mut out).and_then(|_| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// Writes what people should know to standard error.
    pub fn tell(&self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// The text in bold, where there is colour.
    pub fn bold(&self, text: &str) -> String {
        self.styled("1", text)
    }

    /// The text dimmed, where there is colour.
    pub fn dim(&self, text: &str) -> String {
        self.styled("2", text)
    }

    /// The text in green, where there is colour.
    pub fn green(&self, text: &str) -> String {
        self.styled("32", text)
    }

    /// The text in yellow, where there is colour.
    pub fn yellow(&self, text: &str) -> String {
        self.styled("33", text)
    }

    fn styled(&self, code: &str, text: &str) -> String {
        if self.look.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_string() }
    }
}
