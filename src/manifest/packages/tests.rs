use std::path::Path;

use super::*;
use crate::fault::Source;
use crate::manifest::{Manifest, Said, Texts, read};

const MANIFEST: &str = r#"
variable "FLAVOUR" default="cloud"
packages-list "common" { curl; nano; vim hold=#true }
packages-list "file" from="lists/file"
image "server" {
    base "debian" suite="trixie" arch="arm64" {
        components "main" "contrib"
        repository "node" url="http://node.example/x/" suite="./" keyring="key"
    }
    packages "common" recommends=#true { "linux-image-${FLAVOUR}-arm64"; curl version="8.*"; !nano }
    when FLAVOUR="cloud" { packages "file" }
    when FLAVOUR="other" { packages { never } }
    hypervisor "qemu" {
        packages "common" recommends=#false { grub-efi-arm64:arm64 }
        output "tar"
    }
    hypervisor "lxc" { output "tar" }
}
"#;

fn manifest(folder: &Path, said: Said) -> Manifest {
    std::fs::create_dir_all(folder.join("lists")).expect("folder");
    std::fs::write(folder.join("lists/file"), "wget/sid vim=9.*\n").expect("list");
    std::fs::write(folder.join("key"), "").expect("key");
    let folders = Folders { here: folder.to_path_buf(), home: None };
    let texts = Texts::of_source(&Source::new("image.kdl", MANIFEST), &folders);
    let read = read(&texts, &Said { folders, ..said });
    read.manifest.unwrap_or_else(|| panic!("{:#?}", read.faults))
}

fn told(wishes: &[Wish]) -> Vec<String> {
    let text = |part: &Option<Spanned<String>>| part.as_ref().map_or("-".into(), |part| part.value.clone());
    let line = |wish: &Wish| {
        let (out, hold) = (if wish.out { "!" } else { "" }, if wish.hold { " held" } else { "" });
        let list = wish.list.as_deref().unwrap_or("-");
        format!("{out}{} {} {} {list}{hold}", wish.name.value, text(&wish.version), text(&wish.suite))
    };
    wishes.iter().map(line).collect()
}

#[test]
fn an_image_and_its_hypervisors_ask_for_each_package_once() {
    let folder = tempfile::tempdir().expect("folder");
    let manifest = manifest(folder.path(), Said::default());
    let image = &manifest.images[0];
    assert_eq!(
        told(&image.packages),
        [
            "vim 9.* - common held",
            "wget - sid file",
            "linux-image-cloud-arm64 - - -",
            "curl 8.* - -",
            "!nano - - -"
        ]
    );
    assert!(image.recommends);
    // The list asks for `nano`, which the image leaves out: that holds for its hypervisors.
    let [qemu, lxc] = image.hypervisors.as_slice() else { panic!("{:?}", image.hypervisors) };
    assert_eq!((told(&qemu.packages), qemu.recommends), (vec!["grub-efi-arm64:arm64 - - -".into()], false));
    assert_eq!((told(&lxc.packages), lxc.recommends), (Vec::new(), true));
    assert_eq!(manifest.files, [folder.path().join("lists/file").canonicalize().expect("a file")]);
}

#[test]
fn the_users_configuration_fills_in_mirrors() {
    use crate::bases::debian::{Defaults, Mirror};
    let mirror = Mirror { urls: vec!["http://m".into()], suites: Vec::new(), place: None };
    let of = |distribution: &str, url: &str| Defaults {
        distribution: distribution.into(),
        mirrors: vec![Mirror { urls: vec![url.into()], ..mirror.clone() }],
        proxy: Some("http://p".into()),
    };
    let folder = tempfile::tempdir().expect("folder");
    let distributions = vec![of("ubuntu", "http://u"), of("debian", "http://m")];
    let manifest = manifest(folder.path(), Said { distributions, ..Said::default() });
    let spec = manifest.images[0].debian.as_ref().expect("a base");
    assert_eq!((&spec.mirrors, spec.proxy.as_deref()), (&vec![mirror], Some("http://p")));
    let sources = spec.sources(&[], &manifest.images[0].packages).expect("sources");
    let names: Vec<String> =
        sources.iter().map(|source| format!("{} {}", source.name, source.mirrors[0])).collect();
    assert_eq!(
        names,
        [
            "debian trixie http://m",
            "debian trixie-updates http://m",
            "debian sid http://m",
            "node http://node.example/x"
        ]
    );
}
