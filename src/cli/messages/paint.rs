//! Colours, if they are wanted.
//!
//! Knows what deserves which colour; not whether there is a terminal that shows it.

use crate::cli::messages::Look;
use crate::fault::Severity;
use clap::builder::styling::{AnsiColor, Style};

/// How words are painted: by their role, so that every format paints the same things alike.
pub(super) struct Paint {
    wanted: bool,
}

impl Paint {
    /// Paints if `look` asks for it.
    pub fn new(look: &Look) -> Paint {
        Paint { wanted: look.colour }
    }

    /// The word for how bad it is.
    pub fn severity(&self, severity: Severity, text: &str) -> String {
        let colour = match severity {
            Severity::Error => AnsiColor::Red,
            Severity::Warning => AnsiColor::Yellow,
        };
        self.paint(colour.on_default().bold(), text)
    }

    /// What is to be read first.
    pub fn strong(&self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }

    /// The way out.
    pub fn help(&self, text: &str) -> String {
        self.paint(AnsiColor::Green.on_default().bold(), text)
    }

    /// What only some will look for.
    pub fn faint(&self, text: &str) -> String {
        self.paint(Style::new().dimmed(), text)
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.wanted && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}
