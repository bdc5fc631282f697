//! fstab(5): what the partitions of a disk add to the image's own.

use super::kernel::Ids;
use super::spec::{Content, Disk, Partition};
use crate::outputs::own::Own;

/// The image's fstab with a line for each partition that is mounted, in front of what is there for others.
pub fn fstab(disk: &Disk, ids: &Ids, image: &[u8]) -> Vec<u8> {
    let mut parts: Vec<(usize, &Partition)> =
        disk.partitions.iter().enumerate().filter(|(_, part)| part.has_fstab_line()).collect();
    // What is mounted in something comes behind it.
    parts.sort_by_key(|(number, part)| (part.mount.as_ref().map(|mount| mount.value.clone()), *number));
    parts.sort_by_key(|(_, part)| part.mount.is_none());
    let mut text: String = parts.iter().map(|(number, part)| line(part, ids.filesystem(*number))).collect();
    text.insert_str(0, "# <file system> <mount point> <type> <options> <dump> <pass>\n");
    let mounted = |line: &&[u8]| {
        let words: Vec<&[u8]> = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
        let told = words.first().is_some_and(|word| !word.starts_with(b"#"));
        let known = words.get(1).is_some_and(|at| parts.iter().any(|(_, part)| is_at(part, at)));
        told && !known
    };
    let mut bytes = text.into_bytes();
    for line in image.split(|byte| *byte == b'\n').filter(mounted) {
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    bytes
}

fn is_at(part: &Partition, at: &[u8]) -> bool {
    // A slash at its end says nothing.
    let at = if at.len() > 1 { at.strip_suffix(b"/").unwrap_or(at) } else { at };
    part.mount.as_ref().is_some_and(|mount| mount.value.as_bytes() == at)
}

fn line(part: &Partition, uuid: &str) -> String {
    let Partition { options, mount, content, .. } = part;
    match (content, mount.as_ref().map(|mount| mount.value.as_str())) {
        (Content::Vfat, Some(mount)) => format!("UUID={uuid} {mount} vfat {options} 0 0\n"),
        (Content::Swap, _) => {
            let options = if options == "defaults" { "sw" } else { options };
            format!("UUID={uuid} none swap {options} 0 0\n")
        }
        (Content::Own(own), Some(mount)) => {
            let pass = match own {
                Own::Ext4 if mount == "/" => 1,
                Own::Ext4 => 2,
                // Programs that check the others before they are mounted do nothing there (fsck.btrfs(8), fsck.xfs(8)).
                Own::Btrfs | Own::Xfs => 0,
            };
            format!("UUID={uuid} {mount} {} {options} 0 {pass}\n", own.name())
        }
        (Content::File(_) | Content::Empty, _) | (_, None) => String::new(),
    }
}
