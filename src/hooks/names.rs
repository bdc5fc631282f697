//! Names.

/// Whose rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// a
    List,
    /// a
    RunParts,
    /// a
    Dib,
}

impl Dialect {
    /// Words.
    pub const WORDS: &'static [&'static str] = &["list", "run-parts", "dib"];

    /// Of word.
    pub fn of_word(word: &str) -> Option<Dialect> {
        match word {
            "list" => Some(Dialect::List),
            "run-parts" => Some(Dialect::RunParts),
            "dib" => Some(Dialect::Dib),
            _ => None,
        }
    }
}
