//! Phases: when a script runs, and where.
//!
//! The names and their order are diskimage-builder's (its `doc/source/developer/developing_elements.rst`, and
//! `lib/disk-image-create` for the order), but for `first-boot.d`, which only its forerunner of 2012 had.

/// When a script runs. The order of the variants is the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Before anything is installed: brings in what later phases need.
    ExtraData,
    /// Before packages are installed.
    PreInstall,
    /// When packages are installed.
    Install,
    /// After packages were installed.
    PostInstall,
    /// The finished tree is to become a disk.
    BlockDevice,
    /// The last that happens inside the image.
    Finalise,
    /// What must not stay in the image goes.
    Cleanup,
    /// When the image starts for the first time.
    FirstBoot,
}

/// Where a script runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Beside the image, which it is told the place of.
    Host,
    /// Inside the image, as its root.
    Image,
    /// In the image, on the machine that it was started on.
    Booted,
}

/// What is done with a folder of scripts that is no phase here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its files are read by a shell before the scripts of each phase; they are none themselves.
    Sourced,
    /// Nothing in it is run.
    Left,
}

/// A folder that diskimage-builder runs, or once ran, scripts from, and that is no phase here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The folder's name.
    pub folder: &'static str,
    /// What is done with it.
    pub fate: Fate,
    /// Why: a clause in lower case that can follow "because".
    pub reason: &'static str,
    /// A way out, where there is something to do.
    pub instead: Option<&'static str>,
}

impl Phase {
    /// All of them in the order in which they run.
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

    /// The words of all of them, in the order in which they run.
    pub const WORDS: &[&str] = &[
        "extra-data",
        "pre-install",
        "install",
        "post-install",
        "block-device",
        "finalise",
        "cleanup",
        "first-boot",
    ];

    /// `extra-data`.
    pub fn word(self) -> &'static str {
        match self {
            Phase::ExtraData => "extra-data",
            Phase::PreInstall => "pre-install",
            Phase::Install => "install",
            Phase::PostInstall => "post-install",
            Phase::BlockDevice => "block-device",
            Phase::Finalise => "finalise",
            Phase::Cleanup => "cleanup",
            Phase::FirstBoot => "first-boot",
        }
    }

    /// The phase of that word.
    pub fn of_word(word: &str) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| phase.word() == word)
    }

    /// `extra-data.d`: the folder that an element keeps the phase's scripts in.
    pub fn folder(self) -> &'static str {
        match self {
            Phase::ExtraData => "extra-data.d",
            Phase::PreInstall => "pre-install.d",
            Phase::Install => "install.d",
            Phase::PostInstall => "post-install.d",
            Phase::BlockDevice => "block-device.d",
            Phase::Finalise => "finalise.d",
            Phase::Cleanup => "cleanup.d",
            Phase::FirstBoot => "first-boot.d",
        }
    }

    /// The phase of that folder.
    pub fn of_folder(folder: &str) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| phase.folder() == folder)
    }

    /// Whether it comes behind all that a hypervisor adds to its image, for each target anew.
    pub fn is_last(self) -> bool {
        self >= Phase::BlockDevice
    }

    /// Where its scripts run.
    pub fn side(self) -> Side {
        match self {
            Phase::ExtraData | Phase::BlockDevice | Phase::Cleanup => Side::Host,
            Phase::PreInstall | Phase::Install | Phase::PostInstall | Phase::Finalise => Side::Image,
            Phase::FirstBoot => Side::Booted,
        }
    }
}

/// What is known of a folder of that name that diskimage-builder uses and that is no phase here.
///
/// `pre-finalise.d` is among them: it runs on the host where the disk is already mounted, and `finalise` is a phase
/// inside the image, so that running it there would run it somewhere else than it was written for.
pub fn foreign(folder: &str) -> Option<Foreign> {
    FOREIGN.iter().find(|foreign| foreign.folder == folder).copied()
}

const IN_DISK: &str = "a disk is written from the finished layers, and none is mounted while scripts run";
const INITRAMFS: &str = "it makes the ramdisk of `ramdisk-image-create`, and an initramfs is an output here";

const FOREIGN: &[Foreign] = &[
    Foreign {
        folder: "environment.d",
        fate: Fate::Sourced,
        reason: "its files set variables for the scripts of every phase",
        instead: None,
    },
    left("root.d", "the base is what the manifest says", "name a `base` in the manifest"),
    left(
        "post-root.d",
        "nothing has to be undone between the tree and the disk",
        "move what is in it to `cleanup.d`",
    ),
    left(
        "pre-finalise.d",
        IN_DISK,
        "move what is in it to `finalise.d` (inside the image) or to `cleanup.d`",
    ),
    left("block-device-size.d", IN_DISK, "say the size at the output"),
    left("binary-deps.d", INITRAMFS, "name the packages that have these programs"),
    left("init.d", INITRAMFS, "put `/init` into an overlay"),
    left("udev.d", INITRAMFS, "put the rules into an overlay for `/etc/udev/rules.d`"),
    left("ramdisk-install.d", INITRAMFS, "move what is in it to `install.d`"),
    left("dracut-drivers.d", INITRAMFS, "name the modules in an overlay for `/etc/dracut.conf.d`"),
];

const fn left(folder: &'static str, reason: &'static str, instead: &'static str) -> Foreign {
    Foreign { folder, fate: Fate::Left, reason, instead: Some(instead) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_folders_name_the_same_phases_in_the_order_in_which_they_run() {
        assert!(Phase::ALL.is_sorted());
        assert_eq!(Phase::ALL.map(Phase::word), Phase::WORDS);
        for phase in Phase::ALL {
            assert_eq!(Phase::of_word(phase.word()), Some(phase));
            assert_eq!(Phase::of_folder(phase.folder()), Some(phase));
            assert_eq!(phase.folder(), format!("{}.d", phase.word()));
            assert_eq!(foreign(phase.folder()), None);
        }
        assert_eq!(Phase::of_word("install.d"), None);
        assert_eq!(Phase::of_folder("install"), None);
    }

    #[test]
    fn what_is_no_phase_here_says_what_becomes_of_it() {
        assert_eq!(foreign("environment.d").map(|foreign| foreign.fate), Some(Fate::Sourced));
        for foreign in FOREIGN {
            assert_eq!(Phase::of_folder(foreign.folder), None);
            assert_eq!(foreign.instead.is_some(), foreign.fate == Fate::Left, "{}", foreign.folder);
        }
        assert_eq!(foreign("modprobe.d"), None, "a folder of data");
    }
}
