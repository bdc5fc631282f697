//! Elements that need not be found, because imgbuild does their work.

/// An element that need not be found, because imgbuild does its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Its name.
    pub name: String,
    /// Why it need not be found: a clause in lower case.
    pub reason: String,
}

/// What imgbuild gives where the base is this distribution (`debian`, `ubuntu`).
pub fn given(distribution: &str) -> Vec<Given> {
    let base = format!("the base is {distribution}");
    let own = [distribution.to_string(), format!("{distribution}-minimal")];
    let more = RELATED.iter().filter(|(of, _)| *of == distribution).map(|(_, name)| name.to_string());
    let systems = own.into_iter().chain(more).map(|name| Given { name, reason: base.clone() });
    let others =
        GIVEN.iter().map(|(name, reason)| Given { name: name.to_string(), reason: reason.to_string() });
    systems.chain(others).collect()
}

/// The virtual element that every operating system provides.
pub(super) const SYSTEM: &str = "operating-system";

/// What imgbuild gives whatever the distribution is, and why.
const GIVEN: &[(&str, &str)] = &[
    ("operating-system", "the manifest's base is the operating system"),
    ("base", "the manifest's base is all that it adds to"),
    ("debootstrap", "the base is made out of the archive's packages"),
    ("dpkg", "packages are unpacked and configured without services being started"),
    ("install-types", "`install.d` has the folders of the install type"),
    ("package-installs", "`package-installs` files are read, and their packages are in the lock"),
    ("pkg-map", "`pkg-map` files are read"),
    ("svc-map", "`svc-map` files are read"),
    ("install-bin", "what is in `bin` is put into `/usr/local/bin`"),
    ("install-static", "what is in `static` is put into the image"),
    ("manifests", "the lock says what is in the image"),
    ("dib-init-system", "the base says what starts the system"),
    ("sysprep", "what two systems must not share is cleared"),
    ("dib-run-parts", "scripts are chosen and ordered without it"),
    ("block-device", DISK),
    ("block-device-mbr", DISK),
    ("block-device-gpt", DISK),
    ("block-device-efi", DISK),
    ("bootloader", DISK),
];

const DISK: &str = "a disk is an output here, with all that it needs to start";

/// Elements that are a distribution as well, but not by its name alone.
const RELATED: &[(&str, &str)] = &[
    ("debian", "debian-systemd"),
    ("debian", "debian-upstart"),
    ("ubuntu", "ubuntu-common"),
    ("ubuntu", "ubuntu-signed"),
    ("ubuntu", "ubuntu-systemd-container"),
];
