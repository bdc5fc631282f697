//! Phases.

/// When a hook runs, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// a
    ExtraData,
    /// a
    PreInstall,
    /// a
    Install,
    /// a
    PostInstall,
    /// a
    BlockDevice,
    /// a
    Finalise,
    /// a
    Cleanup,
    /// a
    FirstBoot,
}

/// Where a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// a
    Host,
    /// a
    Image,
    /// a
    Booted,
}

impl Phase {
    /// All.
    pub const ALL: [Phase; 8] = [
        Phase::ExtraData,
        Phase::PreInstall,
        Phase::Install,
        Phase::PostInstall,
        Phase::BlockDevice,
        Phase::Finalise,
        Phase::Cleanup,
        Phase::FirstBoot,
    ];
    /// Words.
    pub const WORDS: &'static [&'static str] = &[
        "extra-data", "pre-install", "install", "post-install", "block-device", "finalise", "cleanup", "first-boot",
    ];
    /// Word.
    pub fn word(self) -> &'static str {
        Phase::WORDS[self as usize]
    }
    /// Of word.
    pub fn of_word(word: &str) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| phase.word() == word)
    }
    /// Folder
    pub fn folder(self) -> String {
        format!("{}.d", self.word())
    }
    /// Of folder
    pub fn of_folder(name: &str) -> Option<Phase> {
        Phase::of_word(name.strip_suffix(".d")?)
    }
    /// Side
    pub fn side(self) -> Side {
        match self {
            Phase::ExtraData | Phase::BlockDevice | Phase::Cleanup => Side::Host,
            Phase::FirstBoot => Side::Booted,
            _ => Side::Image,
        }
    }
}
