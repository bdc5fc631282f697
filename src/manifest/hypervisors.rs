//! Hypervisors that are known: what one of that name has where a manifest says nothing else.
//!
//! What a kind brings is written in the manifest's own words. Each word counts only where neither the hypervisor nor, for
//! its disk, its boot loader and its machine, the image says it.

use std::fmt::Write as _;

use super::words;
use crate::fault::{Faults, Place, Source};
use crate::lang::raw::from_document;
use crate::lang::{Node, Scope, check, syntax};
use crate::outputs::disk::Machine;

/// A kind of hypervisor.
#[derive(Debug)]
pub struct Kind {
    /// What it is called; the first is its name.
    pub names: &'static [&'static str],
    /// One line, without a full stop.
    pub summary: &'static str,
    /// How what is built is used.
    pub use_of_it: &'static str,
    /// What it brings.
    pub brings: &'static str,
}

/// Every kind, in the order in which help tells them.
pub static KINDS: &[Kind] = &[
    Kind {
        names: &["qemu", "kvm", "libvirt"],
        summary: "a disk for QEMU and KVM that boots with a BIOS and with EFI",
        use_of_it: "`imgbuild boot TARGET`, `qemu-system-x86_64 -drive file=FILE,if=virtio`, or `virt-install --import \
                    --disk FILE`",
        brings: "boot console=\"ttyS0\"\noutput \"qcow2\"\n",
    },
    Kind {
        names: &["xen"],
        summary: "a file system on a bare disk, with the kernel beside it for a paravirtual machine",
        use_of_it: "copy the disk and the folder `.kernel` to `/var/lib/xen/images`, and `xl create FILE.cfg`",
        brings: "boot loader=\"none\" console=\"hvc0\"\noutput \"raw\"\noutput \"kernel\"\noutput \"machine\" \
                 format=\"xl\"\n",
    },
    Kind {
        names: &["vmware", "esxi"],
        summary: "a compressed disk for VMware",
        use_of_it: "import it with `vmkfstools -i` on the host; `output \"ova\"` is one file of machine and disk, which \
                    vSphere and Workstation import as it is",
        brings: "output \"vmdk\"\n",
    },
    Kind {
        names: &["virtualbox"],
        summary: "a disk for VirtualBox",
        use_of_it: "`VBoxManage storageattach MACHINE --medium FILE …`; or `output \"ova\"`, and `VBoxManage import FILE`",
        brings: "output \"vdi\"\n",
    },
    Kind {
        names: &["hyperv"],
        summary: "a disk for a machine of the second generation, which boots with EFI; Secure Boot has to be off",
        use_of_it: "`New-VM -Generation 2 -VHDPath FILE`",
        brings: "machine firmware=\"efi\"\noutput \"vhdx\"\n",
    },
    Kind {
        names: &["azure"],
        summary: "a disk of a fixed size, as Azure takes it",
        use_of_it: "upload it as a page blob, and make an image of it",
        brings: "boot console=\"ttyS0\"\noutput \"vhd\" fixed=#true\n",
    },
    Kind {
        names: &["cloud", "openstack"],
        summary: "a compressed disk for OpenStack and other clouds; add cloud-init to its packages",
        use_of_it: "`openstack image create --disk-format qcow2 --file FILE NAME`",
        brings: "boot console=\"ttyS0\"\noutput \"qcow2\" compression=\"zlib\"\n",
    },
    Kind {
        names: &["nspawn"],
        summary: "a disk that systemd-nspawn starts, and that boots in a machine, too",
        use_of_it: "`systemd-nspawn --boot --image FILE`",
        brings: "boot console=\"ttyS0\"\noutput \"raw\"\n",
    },
    Kind {
        names: &["ganeti"],
        summary: "one file system on a bare disk, as instances without partitions have it",
        use_of_it: "copy it to the instance's disk; the kernel is the node's",
        brings: "boot loader=\"none\" console=\"ttyS0\"\noutput \"raw\"\n",
    },
    Kind {
        names: &["openvz", "virtuozzo"],
        summary: "a template: the system as a tar compressed with gzip, and a container's configuration",
        use_of_it: "copy the tar to `/vz/template/cache` and the configuration to `/etc/vz/conf/CTID.conf`, and name the \
                    template with `vzctl create --ostemplate`; `config from=` packs files of your own beside them",
        brings: "output \"tar\" compression=\"gzip\"\noutput \"machine\" format=\"openvz\"\n",
    },
    Kind {
        names: &["lxc"],
        summary: "the system as a tar compressed with xz, as LXC's template `local` takes it, and what goes with it",
        use_of_it: "`lxc-create -n NAME -t local -- -m METADATA.tar.xz -f ROOTFS.tar.xz`",
        brings: "output \"tar\" compression=\"xz\" level=1\noutput \"metadata\" format=\"lxc\"\n",
    },
    Kind {
        names: &["proxmox"],
        summary: "a template of Proxmox' containers: the system as a tar compressed with zstd",
        use_of_it: "copy it to `/var/lib/vz/template/cache`, and `pct create ID FILE`",
        brings: "output \"tar\" compression=\"zstd\"\n",
    },
    Kind {
        names: &["incus", "lxd"],
        summary: "the system as a squashfs, and the metadata that goes with it",
        use_of_it: "`incus image import METADATA.tar.xz ROOTFS.squashfs --alias NAME`",
        brings: "output \"squashfs\"\noutput \"metadata\" format=\"incus\"\n",
    },
    Kind {
        names: &["oci", "docker", "podman"],
        summary: "an OCI image",
        use_of_it: "`skopeo copy oci-archive:FILE docker-daemon:NAME`, `podman load -i FILE`",
        brings: "output \"oci\"\n",
    },
    Kind {
        names: &["pxe"],
        summary: "a kernel and its initramfs, and the system as a squashfs that it loads",
        use_of_it: "serve the folder by TFTP or HTTP; how the root is found is the initramfs' business",
        brings: "boot loader=\"none\"\noutput \"kernel\"\noutput \"squashfs\"\n",
    },
];

/// The kind of that name.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.names.contains(&name))
}

impl Kind {
    /// What it brings to a hypervisor that says `own`, of an image that says `below`; all of it stands at `place`.
    pub(super) fn brought(&self, own: &[&Node], below: &Machine, place: &Place) -> Vec<Node> {
        let source = Source::new(format!("hypervisor {}", self.names[0]), self.brings);
        let Ok(document) = syntax::parse(&source) else { return Vec::new() };
        let raw = from_document(&document, &source.text);
        // The tests look at each of them.
        let mut faults = Faults::new();
        let mut nodes = check(&raw, &source, words::HYPERVISOR.children, &Scope::new(), &mut faults);
        nodes.retain(|node| {
            let said = |other: &&Node| other.word.name == node.word.name;
            !own.iter().any(said) && !below.says(node.word.name)
        });
        nodes.iter_mut().for_each(|node| stand_at(node, place));
        nodes
    }

    /// What help tells of it.
    pub fn page(&self) -> String {
        let mut page = format!("hypervisor \"{}\"\n    {}\n\n", self.names[0], self.summary);
        if let [_, others @ ..] = self.names
            && !others.is_empty()
        {
            let _ = writeln!(page, "Also called {}.\n", crate::wording::all(others));
        }
        page.push_str("Where neither it nor its image says otherwise, it has\n\n");
        self.brings.lines().for_each(|line| page.push_str(&format!("    {line}\n")));
        page.push_str(
            "\nWhat it says by one of these words stands in place of all that is here by that word: with an\n\
             `output` of its own it has none of these.\n",
        );
        let _ = writeln!(page, "\nTo use it: {}.", self.use_of_it);
        page
    }
}

/// Says of a node, and of all in it, that it stands elsewhere.
fn stand_at(node: &mut Node, place: &Place) {
    node.place = place.clone();
    node.name = place.clone();
    node.given.iter_mut().for_each(|given| given.value.place = place.clone());
    node.children.iter_mut().for_each(|child| stand_at(child, place));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_brings_what_its_text_says() {
        for kind in KINDS {
            let source = Source::new(kind.names[0], kind.brings);
            let place = Place::new(&source, 0..0);
            let document = syntax::parse(&source).expect("KDL");
            let raw = from_document(&document, &source.text);
            let mut faults = Faults::new();
            check(&raw, &source, words::HYPERVISOR.children, &Scope::new(), &mut faults);
            assert!(faults.list.is_empty(), "{}: {:?}", kind.names[0], faults.list);
            let brought = kind.brought(&[], &Machine::unsaid("amd64", &place), &place);
            assert_eq!(brought.len(), kind.brings.lines().count());
            assert!(brought.iter().any(|node| node.word.name == "output"), "{}", kind.names[0]);
            let said: Vec<&Node> = brought.iter().collect();
            assert!(kind.brought(&said, &Machine::unsaid("amd64", &place), &place).is_empty());
        }
    }

    #[test]
    fn every_kind_can_be_stated() {
        let kinds = words::HYPERVISOR.properties.iter().find(|field| field.name == "kind").expect("a field");
        let crate::lang::Form::OneOf(stated) = kinds.form else { panic!("{:?}", kinds.form) };
        let names: Vec<&str> = KINDS.iter().flat_map(|kind| kind.names.iter().copied()).collect();
        assert_eq!(stated, names);
    }

    #[test]
    fn no_name_is_two_kinds() {
        let mut names: Vec<&str> = KINDS.iter().flat_map(|kind| kind.names.iter().copied()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
