//! Packages that are a few lines of text.

use super::*;

/// A package: its stanza, and its paths (a directory's with a slash at its end).
fn package(stanza: &str, paths: &[&str]) -> Package {
    let stanza = format!("Package: {stanza}\nArchitecture: amd64\nVersion: 1\n");
    let path = |path: &&str| (EntryPath::parse(path).expect("a path"), path.ends_with('/'));
    Package {
        control: Control::parse(&stanza).expect(&stanza),
        paths: paths.iter().map(path).collect(),
        ..Package::default()
    }
}

fn preinst(stanza: &str) -> Package {
    Package {
        preinst: Some(b"#!/bin/sh\n# dpkg-divert is no longer called\n".to_vec()),
        ..package(stanza, &[])
    }
}

fn postinst(stanza: &str) -> Package {
    Package { has_postinst: true, ..package(stanza, &[]) }
}

fn layers(packages: &[Package], below: &Below) -> Vec<String> {
    order(packages, below).layers.iter().map(|number| packages[*number].name().to_string()).collect()
}

fn left(packages: &[Package], below: &Below) -> Vec<String> {
    let left = order(packages, below).by_dpkg;
    left.iter().map(|(number, why)| format!("{}: {why}", packages[*number].name())).collect()
}

fn commands(packages: &[Package], below: &Below) -> Vec<String> {
    let work = work(packages, &order(packages, below), below);
    let told = |command: &Command| command.arguments.join(" ").replace("/var/lib/dpkg/info/", "");
    work.commands.iter().map(told).collect()
}

#[test]
fn what_is_needed_comes_first_and_base_files_before_all() {
    let packages = [
        package("apt\nDepends: libc6, mta | mail", &[]),
        package("base-files\nPre-Depends: libc6", &[]),
        package("libc6\nDepends: libgcc", &[]),
        package("libgcc\nDepends: libc6", &[]),
        package("zmail\nProvides: mail", &[]),
    ];
    assert_eq!(layers(&packages, &Below::default()), ["base-files", "libgcc", "libc6", "zmail", "apt"]);
}

#[test]
fn whoever_replaces_a_file_comes_later_and_the_loser_lists_it_no_more() {
    let packages = [
        package("a\nReplaces: b (<< 2)", &["usr/", "usr/bin/", "usr/bin/tool"]),
        package("b", &["bin/", "bin/tool", "bin/other"]),
    ];
    let order = order(&packages, &Below::default());
    assert_eq!((order.layers.clone(), order.by_dpkg.clone()), (vec![1, 0], vec![]));
    let files = database(&packages, &order, &Below::default());
    assert_eq!(files.get("var/lib/dpkg/info/b.list").map(String::as_str), Some("/bin\n/bin/other\n"));
    assert!(!files.contains_key("var/lib/dpkg/info/a.list"));
}

#[test]
fn what_layers_cannot_do_is_left_to_dpkg() {
    let none = Below::default();
    let two = [package("a", &["etc/x"]), package("b", &["etc/x"])];
    assert_eq!(left(&two, &none), ["b: it and `a` both have `/etc/x`"]);
    let mut diverts = package("a", &["bin/y"]);
    diverts.preinst = Some(b"#!/bin/sh\n  dpkg-divert --add /bin/x\n dpkg-divert --add /bin/y\n".to_vec());
    let both = [diverts.clone(), package("b", &["bin/x"])];
    assert_eq!(
        left(&both, &none),
        ["a: its preinst calls `dpkg-divert`, perhaps on `/bin/x` of another package"]
    );
    assert_eq!(left(&[diverts, package("b", &["bin/z"])], &none), Vec::<String>::new());
    let link = [package("a", &["usr/share/doc/x"]), package("b", &["usr/share/doc/x/", "usr/share/doc/x/y"])];
    assert_eq!(left(&link, &none), ["a: it has `/usr/share/doc/x`, which is a directory of another package"]);
    let conffile = [
        Package { conffiles: "/etc/x\n".into(), ..package("a\nReplaces: b", &["etc/x"]) },
        package("b", &["etc/x"]),
    ];
    assert_eq!(left(&conffile, &none), ["b: it and `a` both have `/etc/x`"]);

    let below = Below {
        packages: vec![package("old\nReplaces: a", &["usr/bin/a"]), package("same", &[])],
        diversions: "/bin/sh\n/bin/sh.distrib\ndash\n".into(),
        overrides: "root www-data 2750 /usr/sbin/x\n".into(),
        ..Below::default()
    };
    let packages = [
        package("a", &["usr/bin/a"]),
        package("dash", &["bin/sh"]),
        package("mksh", &["usr/bin/sh"]),
        package("same", &[]),
        package("x", &["usr/sbin/x"]),
    ];
    assert_eq!(
        left(&packages, &below),
        [
            "a: it and `old` both have `/usr/bin/a`",
            "mksh: `/bin/sh` is diverted",
            "same: another version of it is installed",
            "x: `/usr/sbin/x` has an owner and a mode of its own"
        ]
    );
    assert_eq!(layers(&packages, &below), ["dash"]);
    let told = commands(&packages, &below);
    assert!(
        told[0].starts_with("/usr/bin/dpkg --force-depends --unpack /run/imgbuild/a_amd64.deb"),
        "{told:?}"
    );
}

#[test]
fn the_same_package_for_two_architectures_shares_its_files() {
    let mut other = package("libc6\nMulti-Arch: same", &["usr/share/doc/libc6/copyright"]);
    let one = other.clone();
    other.control.set("Architecture", "i386");
    assert_eq!(left(&[one, other], &Below::default()), Vec::<String>::new());
}

#[test]
fn a_base_begins_with_its_accounts_and_preinsts_wait_for_what_they_need() {
    let packages = [
        preinst("base-passwd\nEssential: yes"),
        preinst("bash\nEssential: yes\nPre-Depends: libc6"),
        postinst("libc6"),
        postinst("debconf\nDepends: libc6"),
        preinst("needy\nPre-Depends: debconf, libquiet"),
        package("libquiet", &[]),
        preinst("quiet\nPre-Depends: libquiet, libc6"),
    ];
    assert_eq!(
        commands(&packages, &Below::default()),
        [
            "base-passwd.preinst install",
            "/usr/bin/dpkg --force-depends --configure base-passwd",
            "bash.preinst install",
            "quiet.preinst install",
            "/usr/bin/dpkg --no-triggers --configure libc6 debconf",
            "needy.preinst install",
            "/usr/bin/dpkg --configure bash",
            "/usr/bin/dpkg --configure --pending",
        ]
    );
    let circle =
        [preinst("a\nPre-Depends: b"), Package { has_postinst: true, ..preinst("b\nPre-Depends: a") }];
    let below = Below { packages: vec![package("dpkg", &[])], ..Below::default() };
    let ended = ["b.preinst install", "a.preinst install", "/usr/bin/dpkg --configure --pending"];
    assert_eq!(commands(&circle, &below), ended, "a circle ends");
    assert_eq!(commands(&[], &below), Vec::<String>::new());
}

#[test]
fn scripts_know_whose_they_are() {
    let packages = [preinst("a"), package("dpkg\nVersion-Was: 1", &[])];
    let work = work(&packages, &order(&packages, &Below::default()), &Below::default());
    let variables = work.commands[0].variables(7);
    let told = |name: &str| variables.get(name).map(String::as_str).unwrap_or_default();
    assert_eq!(told("DPKG_MAINTSCRIPT_PACKAGE"), "a");
    assert_eq!(told("DEBCONF_PACKAGE"), "a");
    assert_eq!(told("DPKG_MAINTSCRIPT_NAME"), "preinst");
    assert_eq!(told("SOURCE_DATE_EPOCH"), "7");
    assert_eq!(told("DEBIAN_FRONTEND"), "noninteractive");
    assert_eq!(told("DPKG_RUNNING_VERSION"), "1");
}

#[test]
fn the_status_is_as_dpkg_writes_it() {
    let stanza = "b\nHomepage: https://b\nDepends: c (>=1:2~),\n d|e [amd64] , f (= 3)\nEssential: no\n\
                  Description: b\n more\nMulti-Arch: no\nSize: 5";
    let b = Package { conffiles: "/etc/b\nremove-on-upgrade /etc/c\n".into(), ..package(stanza, &[]) };
    let below = Below {
        status: "Package: z\nArchitecture: all\n\nPackage: a\nArchitecture: all\n".into(),
        ..Below::default()
    };
    let packages = [b];
    let files = database(&packages, &order(&packages, &below), &below);
    assert_eq!(
        files["var/lib/dpkg/status"],
        "Package: a\nArchitecture: all\n\nPackage: b\nStatus: install ok unpacked\nArchitecture: amd64\nVersion: 1\n\
         Depends: c (>= 1:2~), d | e [amd64], f (= 3)\nConffiles:\n /etc/b newconffile\n\
         \x20/etc/c newconffile remove-on-upgrade\nDescription: b\n more\nHomepage: https://b\n\n\
         Package: z\nArchitecture: all\n\n"
    );
}

#[test]
fn triggers_of_what_is_configured_are_set_off() {
    let below = Below {
        packages: vec![package("man-db", &[])],
        triggers: BTreeMap::from([
            ("File".to_string(), "/usr/share/man man-db\n/usr/share/info install-info\n".to_string()),
            ("ldconfig".to_string(), "libc-bin\n".to_string()),
        ]),
        ..Below::default()
    };
    let mut new = package("a", &["usr/share/man/man1/", "usr/share/man/man1/a.1.gz"]);
    new.triggers =
        "# comment\nactivate-noawait ldconfig\nactivate other\ninterest-noawait /usr/share/a\ninterest a-b\n\
                    interest ../x\n"
            .into();
    let packages = [new];
    let files = database(&packages, &order(&packages, &below), &below);
    let triggers: BTreeMap<&str, &str> = files
        .iter()
        .filter_map(|(path, text)| Some((path.strip_prefix("var/lib/dpkg/triggers/")?, text.as_str())))
        .collect();
    let file = "/usr/share/man man-db\n/usr/share/info install-info\n/usr/share/a a/noawait\n";
    let expected = [("File", file), ("Unincorp", "/usr/share/man -\nldconfig -\n"), ("a-b", "a\n")];
    assert_eq!(triggers, BTreeMap::from(expected));
}

#[test]
fn what_is_cleaned_is_told_apart_from_what_stays() {
    let cleaned = |path: &str| {
        CLEANED.iter().find(|cleaned| cleaned.matches(path.as_bytes())).map(|cleaned| cleaned.clean)
    };
    assert_eq!(cleaned("etc/machine-id"), Some(Clean::Empty));
    assert_eq!(cleaned("etc/ssh/ssh_host_ed25519_key.pub"), Some(Clean::Remove));
    assert_eq!(cleaned("var/lib/apt/lists/partial/x"), Some(Clean::Contents));
    assert_eq!(cleaned("var/lib/apt/lists/partial"), None, "it is a package's own");
    assert_eq!(cleaned("var/cache/debconf/config.dat-old"), Some(Clean::Remove));
    for stays in [
        "var/lib/apt/lists",
        "etc/ssh/ssh_config",
        "var/cache/debconf/config.dat",
        "var/lib/dpkg/status",
        "tmp",
    ] {
        assert_eq!(cleaned(stays), None, "{stays}");
    }
    let mut paths: Vec<&str> = CLEANED.iter().map(|cleaned| cleaned.path).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), CLEANED.len(), "each path once");
}
