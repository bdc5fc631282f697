//! What a script of an element of diskimage-builder finds: its environment, the functions that it may call, and the
//! programs that it asks for packages and services (diskimage-builder's `lib/common-functions`, its elements `pkg-map`,
//! `svc-map` and `dpkg`, and `dib-run-parts`).

use super::HookStep;
use crate::hooks::pkg_map::Mapped;
use crate::hooks::{Phase, Side};
use crate::sandbox::image::TARGET;

/// What packages and services are called, and which elements there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The elements, in their order.
    pub elements: Vec<String>,
    /// The distribution: `debian`.
    pub distribution: String,
    /// Element, name, and what that is here.
    pub packages: Vec<(String, String, Mapped)>,
    /// Service, and what it is called here.
    pub services: Vec<(String, String)>,
}

/// Where an element's files stand inside the image.
pub const IN_TARGET: &str = "tmp/in_target.d";
/// Where they stand on the host's side.
pub const HOOKS: &str = "run/imgbuild/elements";
/// Where the shell libraries are that scripts read.
pub const LIBRARY: &str = "run/imgbuild/lib";
/// What the programs below look names up in.
const PACKAGES: &str = "run/imgbuild/names/packages";
const SERVICES: &str = "run/imgbuild/names/services";

/// Where the elements' files stand for this hook.
pub fn folder(phase: Phase, side: Side) -> String {
    match (phase, side) {
        // What such a script adds to them is what it leaves.
        (Phase::ExtraData, _) => TARGET.trim_start_matches('/').to_string(),
        (_, Side::Host) => HOOKS.to_string(),
        _ => IN_TARGET.to_string(),
    }
}

/// Starts a script as dib-run-parts does: with what the files of `environment.d` set, and the functions that are exported.
/// `$1` is the folder of the elements' files, `$2` the script.
pub const START: &str = r#"
die() { printf 'ERROR: %s\n' "$*"; exit 1; }
get_image_element_array() { for one in $IMAGE_ELEMENT; do printf '[%s]=%s ' "$one" "$TMP_HOOKS_PATH"; done; }
_ps4() { :; }
export -f die get_image_element_array _ps4
script=$2
set -ue -o pipefail
LC_ALL=C
if [ -d "$1/environment.d" ]; then
    for file in "$1"/environment.d/*; do
        case ${file##*/} in *[!0-9A-Za-z_.\\-]*) continue ;; esac
        if [ -f "$file" ]; then source "$file"; fi
    done
fi
exec "$script"
"#;

/// The environment of such a script, but for what the manifest sets.
pub fn environment(step: &HookStep, set: &mut impl FnMut(&str, &str)) {
    let (hook, target) = (&step.hook, &step.target);
    let side = hook.side();
    let folder = format!("/{}", folder(hook.phase, side));
    let empty = Names::default();
    let names = hook.names.as_deref().unwrap_or(&empty);
    let suite = target.suite.as_deref().unwrap_or_default();
    let elements = names.elements.join(" ");
    let offline = if hook.network { "" } else { "1" };
    for (name, value) in [
        ("ARCH", target.arch.as_str()),
        ("LC_ALL", "C"),
        ("_LIB", &format!("/{LIBRARY}")),
        ("DIB_PYTHON", "python3"),
        ("DIB_PYTHON_EXEC", "/usr/bin/python3"),
        ("DIB_PYTHON_VERSION", "3"),
        ("DIB_ARGS", ""),
        ("DIB_ENV", ""),
        ("DIB_IMAGE_CACHE", "/tmp/image-create"),
        ("DIB_LOCKFILES", "/tmp/lock"),
        ("DIB_OFFLINE", offline),
        ("DIB_CHECKSUM", ""),
        ("DIB_NO_TMPFS", "0"),
        ("DIB_MIN_TMPFS", "2"),
        ("DIB_DEBUG_TRACE", "0"),
        ("DIB_INIT_SYSTEM", "systemd"),
        ("DIB_RELEASE", suite),
        ("DIB_ROOT_LABEL", "cloudimg-rootfs"),
        ("DISTRO_NAME", &names.distribution),
        ("ELEMENTS_PATH", &folder),
        ("FS_TYPE", "ext4"),
        ("IMAGE_ELEMENT", &elements),
        ("IMAGE_NAME", &target.image),
        ("IMAGE_TYPE", "raw"),
        ("TMP_BUILD_DIR", "/tmp"),
        ("TMP_IMAGE_DIR", "/tmp"),
        ("TMP_HOOKS_PATH", &folder),
    ] {
        set(name, value);
    }
    let as_yaml: String = names.elements.iter().map(|name| format!("{name}: {folder}\n")).collect();
    set("IMAGE_ELEMENT_YAML", &as_yaml);
    if side == Side::Host && hook.phase != Phase::ExtraData {
        set("TMP_MOUNT_PATH", TARGET);
        set("TARGET_ROOT", TARGET);
    }
}

/// The files that such a script needs beside its own: path, mode, text.
pub fn files(names: &Names) -> Vec<(String, u32, String)> {
    let mut files = vec![
        (format!("{LIBRARY}/die"), 0o644, "die() { printf 'ERROR: %s\\n' \"$*\"; exit 1; }\n".to_string()),
        (format!("{LIBRARY}/img-functions"), 0o644, IMG_FUNCTIONS.to_string()),
        (format!("{LIBRARY}/common-functions"), 0o644, ". \"$_LIB/die\"\n".to_string()),
    ];
    let line = |(element, name, to): &(String, String, Mapped)| match to {
        Mapped::Names(names) => format!("{element} {name} {}\n", names.join(" ")),
        Mapped::Skip => format!("{element} {name}\n"),
        Mapped::Unknown => String::new(),
    };
    files.push((PACKAGES.to_string(), 0o644, names.packages.iter().map(line).collect()));
    let line = |(service, name): &(String, String)| format!("{service} {name}\n");
    files.push((SERVICES.to_string(), 0o644, names.services.iter().map(line).collect()));
    let programs = [("install-packages", INSTALL_PACKAGES), ("pkg-map", PKG_MAP), ("svc-map", SVC_MAP)];
    files.extend(
        programs.map(|(name, text)| (format!("{}/{name}", super::run::PROGRAMS), 0o755, text.to_string())),
    );
    files
}

/// `select_boot_kernel_initrd ROOT` sets `BOOTDIR`, `KERNEL` and `RAMDISK`: the newest of each.
const IMG_FUNCTIONS: &str = r#"
select_boot_kernel_initrd() {
    BOOTDIR="$1/boot"
    KERNEL=$(cd "$BOOTDIR" && ls -1rv vmlinu* 2>/dev/null | head -n 1)
    RAMDISK=$(cd "$BOOTDIR" && ls -1rv initr* 2>/dev/null | head -n 1)
    [ -n "$KERNEL" ] || { echo "ERROR: no kernel in $BOOTDIR" >&2; return 1; }
    [ -n "$RAMDISK" ] || { echo "ERROR: no initramfs in $BOOTDIR" >&2; return 1; }
}
"#;

/// Packages are in the image before a script runs: the manifest and `package-installs` say which.
const INSTALL_PACKAGES: &str = r#"#!/bin/sh
set -eu
mode=install element=
while [ $# -gt 0 ]; do
    case $1 in
        -u) mode=update; shift ;;
        -d) mode=upgrade; shift ;;
        -e) mode=erase; shift ;;
        -x) shift ;;
        -m) element=$2; shift 2 ;;
        --) shift; break ;;
        -*) echo "install-packages: unknown option $1" >&2; exit 1 ;;
        *) break ;;
    esac
done
names="$*"
[ -z "$element" ] || names=$(pkg-map --missing-ok --element "$element" "$@")
installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
case $mode in
    update) exit 0 ;;
    upgrade) echo "install-packages: versions are those of the lock: \`imgbuild update\` renews it" >&2; exit 0 ;;
    erase)
        for name in $names; do
            if installed "$name"; then apt-get -y purge "$name"; fi
        done
        exit 0
        ;;
esac
missing=
for name in $names; do
    installed "$name" || missing="$missing $name"
done
[ -n "$missing" ] || exit 0
if [ "${DIB_OFFLINE:-}" ]; then
    echo "install-packages: not in the image:$missing" >&2
    echo "install-packages: name them in the manifest: packages {$missing }" >&2
    exit 1
fi
apt-get update
apt-get -y --no-install-recommends install $missing
"#;

const PKG_MAP: &str = r#"#!/bin/sh
set -eu
element= lenient=
while [ $# -gt 0 ]; do
    case $1 in
        --element) element=$2; shift 2 ;;
        --element=*) element=${1#*=}; shift ;;
        --missing-ok) lenient=yes; shift ;;
        --distro|--pkg-map|--release) shift 2 ;;
        -*) shift ;;
        *) break ;;
    esac
done
table=/run/imgbuild/names/packages
if [ -n "$element" ] && ! grep -q "^$element " "$table" && [ -z "$lenient" ]; then
    echo "pkg-map: $element has no map" >&2
    exit 2
fi
for name in "$@"; do
    if line=$(awk -v e="$element" -v n="$name" '($1 == e || e == "") && $2 == n { $1 = $2 = ""; print; f = 1; exit } END { exit !f }' "$table"); then
        for one in $line; do echo "$one"; done
    elif [ -n "$lenient" ]; then
        echo "$name"
    else
        echo "pkg-map: $name is in no map" >&2
        exit 1
    fi
done
"#;

const SVC_MAP: &str = r#"#!/bin/sh
set -eu
table=/run/imgbuild/names/services
for name in "$@"; do
    if [ -e "/lib/systemd/system/$name.service" ]; then
        echo "$name"
        continue
    fi
    found=$(awk -v n="$name" '$1 == n { print $2; exit }' "$table")
    echo "${found:-$name}"
done
"#;
