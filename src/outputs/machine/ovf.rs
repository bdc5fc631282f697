//! A machine as DMTF's Open Virtualization Format has it (DSP0243 1.1), as VMware and VirtualBox read it.

use std::fmt::Write as _;

use crate::wording::xml;

/// A machine and its one disk.
pub(super) struct Package<'a> {
    pub name: &'a str,
    /// The disk's file, as streamOptimized VMDK, and how many bytes it has.
    pub file: (&'a str, u64),
    /// Bytes of the disk in it.
    pub capacity: u64,
    /// MiB.
    pub memory: u64,
    pub cpus: i64,
    pub nics: i64,
    pub is_efi: bool,
}

const NAMESPACES: &str = "xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" \
                          xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\" \
                          xmlns:rasd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData\" \
                          xmlns:vssd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData\" \
                          xmlns:vmw=\"http://www.vmware.com/schema/ovf\"";
const STREAM: &str = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";
/// `Linux 64-Bit` (CIM_OperatingSystem).
const SYSTEM: u32 = 101;

/// The descriptor.
pub(super) fn descriptor(package: &Package<'_>) -> String {
    let (file, size) = package.file;
    let (file, name) = (xml(file), xml(package.name));
    let network = match package.nics {
        0 => "",
        _ => {
            "    <Network ovf:name=\"VM Network\">\n      <Description>the machine's network</Description>\n    </Network>\n"
        }
    };
    let firmware = if package.is_efi {
        "      <vmw:Config ovf:required=\"false\" vmw:key=\"firmware\" vmw:value=\"efi\"/>\n"
    } else {
        ""
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Envelope {NAMESPACES}>\n  <References>\n    <File ovf:id=\"file1\" \
         ovf:href=\"{file}\" ovf:size=\"{size}\"/>\n  </References>\n  <DiskSection>\n    <Info>disks</Info>\n    <Disk \
         ovf:diskId=\"disk1\" ovf:fileRef=\"file1\" ovf:capacity=\"{}\" ovf:format=\"{STREAM}\"/>\n  </DiskSection>\n  \
         <NetworkSection>\n    <Info>networks</Info>\n{network}  </NetworkSection>\n  <VirtualSystem ovf:id=\"{name}\">\n    \
         <Info>a machine</Info>\n    <Name>{name}</Name>\n    <OperatingSystemSection ovf:id=\"{SYSTEM}\">\n      \
         <Info>Linux</Info>\n    </OperatingSystemSection>\n    <VirtualHardwareSection>\n      <Info>hardware</Info>\n      \
         <System>\n        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>\n        \
         <vssd:InstanceID>0</vssd:InstanceID>\n        <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>\n        \
         <vssd:VirtualSystemType>vmx-14</vssd:VirtualSystemType>\n      </System>\n{}{firmware}    \
         </VirtualHardwareSection>\n  </VirtualSystem>\n</Envelope>\n",
        package.capacity,
        items(package),
    )
}

/// An item: its elements stand in the order of their names, as the schema wants them.
fn item(elements: &[(&str, &str)]) -> String {
    let mut text = String::from("      <Item>\n");
    for (name, value) in elements {
        let _ = writeln!(text, "        <rasd:{name}>{value}</rasd:{name}>");
    }
    text.push_str("      </Item>\n");
    text
}

fn items(package: &Package<'_>) -> String {
    let (cpus, memory) = (package.cpus.to_string(), package.memory.to_string());
    let mut text = item(&[
        ("AllocationUnits", "hertz * 10^6"),
        ("ElementName", &format!("{cpus} processors")),
        ("InstanceID", "1"),
        ("ResourceType", "3"),
        ("VirtualQuantity", &cpus),
    ]);
    text += &item(&[
        ("AllocationUnits", "byte * 2^20"),
        ("ElementName", &format!("{memory} MiB of memory")),
        ("InstanceID", "2"),
        ("ResourceType", "4"),
        ("VirtualQuantity", &memory),
    ]);
    text += &item(&[
        ("Address", "0"),
        ("ElementName", "SATA controller"),
        ("InstanceID", "3"),
        ("ResourceSubType", "AHCI"),
        ("ResourceType", "20"),
    ]);
    text += &item(&[
        ("AddressOnParent", "0"),
        ("ElementName", "disk"),
        ("HostResource", "ovf:/disk/disk1"),
        ("InstanceID", "4"),
        ("Parent", "3"),
        ("ResourceType", "17"),
    ]);
    for nic in 0..package.nics {
        text += &item(&[
            ("AddressOnParent", &nic.to_string()),
            ("AutomaticAllocation", "true"),
            ("Connection", "VM Network"),
            ("ElementName", &format!("network card {}", nic + 1)),
            ("InstanceID", &(5 + nic).to_string()),
            ("ResourceSubType", "E1000"),
            ("ResourceType", "10"),
        ]);
    }
    text
}
