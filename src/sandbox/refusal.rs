//! What to do where a sandbox cannot be made.

use std::fs;
use std::path::Path;

use super::wire::Refusal;
use crate::fault::Fault;

/// The fault for a step that the kernel refused, with the way out that fits this machine.
pub(super) fn fault(refused: &Refusal) -> Fault {
    if refused.asked {
        let message = format!("cannot {}: {}", refused.step, refused.reason);
        return Fault::build("sandbox/image", message).maybe_help(refused.way_out.clone());
    }
    let message =
        format!("this machine refuses to make a sandbox: cannot {}: {}", refused.step, refused.reason);
    let way_out =
        refused.way_out.clone().unwrap_or_else(|| way_out(&setting, &|path| Path::new(path).exists()));
    Fault::machine("sandbox/refused", message).help(way_out)
}

fn setting(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_string())
}

/// `setting` reads a file of `/proc/sys`, `exists` tells whether a file is there.
fn way_out(setting: &dyn Fn(&str) -> Option<String>, exists: &dyn Fn(&str) -> bool) -> String {
    let is = |path: &str, value: &str| setting(path).as_deref() == Some(value);
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return "allow user namespaces: `sudo sysctl user.max_user_namespaces=15000`".into();
    }
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return "allow user namespaces: `sudo sysctl kernel.unprivileged_userns_clone=1`".into();
    }
    if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        return "AppArmor restricts user namespaces here (Ubuntu does since 23.10): give imgbuild a profile with the rule \
                `userns,`, or `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
            .into();
    }
    if exists("/.dockerenv") || exists("/run/.containerenv") {
        return "start the container with `--privileged`, or with `--security-opt seccomp=unconfined --security-opt \
                apparmor=unconfined --security-opt systempaths=unconfined`"
            .into();
    }
    "it takes Linux 5.12 or newer with user namespaces that this user may make; try `unshare --user --mount --pid \
     --fork true`"
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_out_fits_the_machine() {
        let with = |path: &'static str, value: &'static str| {
            way_out(&move |asked| (asked == path).then(|| value.into()), &|_| false)
        };
        assert!(with("/proc/sys/user/max_user_namespaces", "0").contains("max_user_namespaces=15000"));
        assert!(with("/proc/sys/user/max_user_namespaces", "63000").contains("Linux 5.12"));
        assert!(with("/proc/sys/kernel/unprivileged_userns_clone", "0").contains("userns_clone=1"));
        assert!(with("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1").contains("AppArmor"));
        assert!(way_out(&|_| None, &|path| path == "/.dockerenv").contains("--privileged"));
    }
}
