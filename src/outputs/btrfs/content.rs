//! The tree of files: an inode for each, its names, its attributes, and where its content is.

use std::collections::BTreeMap;

use super::format::{
    CONTENT_SUMS, GENERATION, Inode, Item, Key, LARGEST_ITEM, MINOR_BITS, OF_ATTRIBUTE, ROOT_INODE, Record,
    SECTOR, dir_item, extref_hash, flags, inode_ref, kind, name_hash, tree,
};
use super::space::Space;
use crate::fault::Fault;
use crate::layer::merge::Node;
use crate::layer::{Entry, EntryPath, Kind, Merged};
use crate::outputs::files::{Access, check_kind, file_type, file_type_of, holder, number, type_bits};
use crate::outputs::unfit;
use crate::wording;

/// Content up to this stands in the tree: bytes, as in what the kernel writes without being told otherwise.
const INLINE: u64 = 2048;
/// What one extent can have: bytes (`BTRFS_MAX_EXTENT_SIZE`).
const LARGEST_EXTENT: u64 = 128 << 20;
/// Bytes of an extended attribute: its name and its value.
const LARGEST_ATTRIBUTE: usize = LARGEST_ITEM - 30;
/// Bytes of a symbolic link, which stands in the tree.
const LONGEST_LINK: usize = SECTOR as usize - 1;
/// Bits of a device's major number.
const MAJOR_BITS: u32 = 12;
/// The first place of an entry in its directory; two were for `.` and `..`.
const FIRST_INDEX: u64 = 2;
/// The sums of one item.
const SUMS: u64 = 4000;
/// Bytes of a sum.
pub const SUM: u64 = 4;

/// All files of an image, with a place for what is in them.
pub struct Content<'a, 's> {
    /// The items of the tree of files.
    pub items: Vec<Item>,
    pub extents: Vec<Extent<'a>>,
    space: &'s mut Space,
    /// Gives the content of a small file.
    read: &'s dyn Fn(&Node) -> Result<Vec<u8>, Fault>,
}

/// A piece of a file's content.
#[derive(Clone, Copy, Debug)]
pub struct Extent<'a> {
    pub node: &'a Node,
    pub inode: u64,
    /// Where it is in the file.
    pub offset: u64,
    pub address: u64,
    /// Bytes, whole sectors.
    pub length: u64,
}

/// What is known of an inode before its items are made.
#[derive(Default)]
struct Known {
    number: u64,
    links: u32,
    /// Of a directory: the place of the next entry.
    next: u64,
    /// Of a directory: its size, which is that of its names, twice.
    names: u64,
}

impl<'a, 's> Content<'a, 's> {
    /// Takes room for all files of `merged` in `space`.
    ///
    /// # Errors
    ///
    /// What btrfs cannot have, and what `read` fails with.
    pub fn of(
        merged: &'a Merged,
        epoch: i64,
        space: &'s mut Space,
        read: &'s dyn Fn(&Node) -> Result<Vec<u8>, Fault>,
    ) -> Result<Content<'a, 's>, Fault> {
        let unfit = |node: &'a Node| Some((&node.entry.path, check(&node.entry).err()?));
        unfit::check("a btrfs file system", merged.nodes().filter_map(unfit))?;
        // An image that says nothing of its root has a usual one.
        let is_told = merged.get(&EntryPath::root()).is_some();
        let items = if is_told { vec![root_ref()] } else { bare(epoch) };
        let mut content = Content { items, extents: Vec::new(), space, read };
        let mut known = numbered(merged);
        let mut further: BTreeMap<(u64, u64), Vec<u8>> = BTreeMap::new();
        for node in merged.nodes() {
            content.names(&node.entry, &mut known, &mut further)?;
        }
        content.keep_names(further);
        for node in merged.nodes() {
            if let Some(of) = known.get(&node.entry.path) {
                content.inode(node, of)?;
            }
        }
        content.items.sort_by_key(|item| item.key);
        content.join_equal_keys()?;
        Ok(content)
    }

    /// Puts a name into its directory.
    fn names(
        &mut self,
        entry: &Entry,
        known: &mut BTreeMap<EntryPath, Known>,
        further: &mut BTreeMap<(u64, u64), Vec<u8>>,
    ) -> Result<(), Fault> {
        let Some(folder) = entry.path.parent() else { return Ok(()) };
        let (name, of) = (entry.path.name(), holder(entry));
        let kind = if of == &entry.path { file_type_of(&entry.kind) } else { file_type::FILE };
        let Some(number) = known.get(of).map(|of| of.number) else { return Err(lost(&entry.path)) };
        let folder = known.get_mut(&folder).ok_or_else(|| lost(&entry.path))?;
        let index = folder.next;
        folder.next += 1;
        folder.names += 2 * name.len() as u64;
        let (directory, item) = (folder.number, dir_item(Key(number, kind::INODE, 0), name, &[], kind));
        self.put(Key(directory, kind::DIR_ITEM, name_hash(name)), item.clone());
        self.put(Key(directory, kind::DIR_INDEX, index), item);
        let names = further.entry((number, directory)).or_default();
        let told = inode_ref(index, name);
        if names.len() + told.len() <= LARGEST_ITEM {
            names.extend(told);
        } else {
            let data = Record::new().u64(directory).bytes(&told).done();
            self.put(Key(number, kind::INODE_EXTREF, extref_hash(directory, name)), data);
        }
        Ok(())
    }

    /// The names that each file has in each directory, as the file tells them.
    fn keep_names(&mut self, names: BTreeMap<(u64, u64), Vec<u8>>) {
        for ((number, directory), data) in names {
            self.put(Key(number, kind::INODE_REF, directory), data);
        }
    }

    fn inode(&mut self, node: &'a Node, of: &Known) -> Result<(), Fault> {
        let entry = &node.entry;
        let mut inode = Inode {
            links: of.links,
            user: number(&entry.owner.user),
            group: number(&entry.owner.group),
            mode: entry.mode | type_bits(&entry.kind),
            time: entry.mtime,
            ..Inode::default()
        };
        match &entry.kind {
            Kind::Directory => inode.size = of.names,
            Kind::Symlink(target) => {
                (inode.size, inode.bytes) = (target.len() as u64, target.len() as u64);
                self.inline(of.number, target);
            }
            Kind::File { size, .. } if *size <= INLINE => {
                (inode.size, inode.bytes) = (*size, *size);
                if *size > 0 {
                    let content = (self.read)(node)?;
                    self.inline(of.number, &content);
                }
            }
            Kind::File { size, .. } => {
                (inode.size, inode.bytes) = (*size, size.next_multiple_of(SECTOR));
                self.extents(node, of.number, inode.bytes);
            }
            Kind::Character(major, minor) | Kind::Block(major, minor) => {
                inode.device = u64::from(*major) << MINOR_BITS | u64::from(*minor);
            }
            Kind::Fifo | Kind::Hardlink(_) | Kind::Whiteout | Kind::Opaque => {}
        }
        self.put(Key(of.number, kind::INODE, 0), inode.record());
        for (name, value) in &entry.xattrs {
            let data = dir_item(Key(0, 0, 0), name, value, OF_ATTRIBUTE);
            self.put(Key(of.number, kind::XATTR, name_hash(name)), data);
        }
        Ok(())
    }

    /// `struct btrfs_file_extent_item` with the content itself.
    fn inline(&mut self, inode: u64, content: &[u8]) {
        let record = Record::new().u64s(&[GENERATION, content.len() as u64]).zeros(5);
        self.put(Key(inode, kind::EXTENT_DATA, 0), record.bytes(content).done());
    }

    /// `struct btrfs_file_extent_item` for each piece of `length` bytes.
    fn extents(&mut self, node: &'a Node, inode: u64, length: u64) {
        let mut offset = 0;
        while offset < length {
            let taken = self.space.take(flags::DATA, LARGEST_EXTENT.min(length - offset));
            let (address, length) = (taken.start, taken.end - taken.start);
            if length == 0 {
                break;
            }
            let record = Record::new().u64s(&[GENERATION, length]).zeros(4).u8(1);
            let record = record.u64s(&[address, length, 0, length]);
            self.put(Key(inode, kind::EXTENT_DATA, offset), record.done());
            self.extents.push(Extent { node, inode, offset, address, length });
            offset += length;
        }
    }

    fn put(&mut self, key: Key, data: Vec<u8>) {
        self.items.push(Item { key, data });
    }

    /// Names of the same hash are one item.
    fn join_equal_keys(&mut self) -> Result<(), Fault> {
        let mut joined: Vec<Item> = Vec::with_capacity(self.items.len());
        for item in self.items.drain(..) {
            match joined.last_mut().filter(|last| last.key == item.key) {
                Some(last) => last.data.extend(item.data),
                None => joined.push(item),
            }
        }
        if joined.iter().any(|item| item.data.len() > LARGEST_ITEM) {
            let message = "names in a folder have the same hash, and are too many for btrfs";
            return Err(Fault::build("output/name", message));
        }
        self.items = joined;
        Ok(())
    }
}

impl Extent<'_> {
    /// `struct btrfs_extent_item`, with the one file that has it.
    pub fn item(&self) -> Item {
        // It is of data.
        let record = Record::new().u64s(&[1, GENERATION, 1]).u8(kind::OF_FILE);
        let data = record.u64s(&[tree::FILES, self.inode, self.offset]).u32(1).done();
        Item { key: Key(self.address, kind::EXTENT, self.length), data }
    }
}

/// The items with the sums of all sectors; the sums themselves are yet to be told.
pub fn sum_items(extents: &[Extent<'_>]) -> Vec<Item> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for extent in extents {
        match runs.last_mut().filter(|(start, length)| start + length == extent.address) {
            Some((_, length)) => *length += extent.length,
            None => runs.push((extent.address, extent.length)),
        }
    }
    let mut items = Vec::new();
    for (start, length) in runs {
        for offset in (0..length).step_by((SUMS * SECTOR) as usize) {
            let sums = ((length - offset) / SECTOR).min(SUMS);
            let key = Key(CONTENT_SUMS, kind::SUMS, start + offset);
            items.push(Item { key, data: vec![0; (sums * SUM) as usize] });
        }
    }
    items
}

/// A tree of files with nothing but its root.
pub fn bare(time: i64) -> Vec<Item> {
    let root = Inode { links: 1, mode: 0o40_755, time, ..Inode::default() };
    vec![Item { key: Key(ROOT_INODE, kind::INODE, 0), data: root.record() }, root_ref()]
}

/// The root is in itself.
fn root_ref() -> Item {
    Item { key: Key(ROOT_INODE, kind::INODE_REF, ROOT_INODE), data: inode_ref(0, b"..") }
}

/// A number for each file, in the order of paths, and how many names it has.
fn numbered(merged: &Merged) -> BTreeMap<EntryPath, Known> {
    let folder = |number| Known { number, links: 1, next: FIRST_INDEX, names: 0 };
    let mut known = BTreeMap::from([(EntryPath::root(), folder(ROOT_INODE))]);
    let mut next = ROOT_INODE + 1;
    for node in merged.nodes().filter(|node| holder(&node.entry) == &node.entry.path) {
        if !node.entry.path.is_root() {
            let links = u32::from(node.entry.kind == Kind::Directory);
            known.insert(node.entry.path.clone(), Known { links, ..folder(next) });
            next += 1;
        }
    }
    let named = merged.nodes().filter(|node| node.entry.kind != Kind::Directory);
    for of in named.map(|node| holder(&node.entry)) {
        if let Some(known) = known.get_mut(of) {
            known.links += 1;
        }
    }
    known
}

fn lost(path: &EntryPath) -> Fault {
    Fault::machine("internal", format!("`/{path}` is in no folder, or a name of nothing"))
}

/// Why btrfs cannot have it, if so.
fn check(entry: &Entry) -> Result<(), String> {
    let is_large = |(name, value): &&(Vec<u8>, Vec<u8>)| name.len() + value.len() > LARGEST_ATTRIBUTE;
    if let Some((name, _)) = entry.xattrs.iter().find(is_large) {
        let name = wording::printable(&String::from_utf8_lossy(name));
        return Err(format!("its extended attribute `{name}` has more than {LARGEST_ATTRIBUTE} bytes"));
    }
    Access::check(&entry.xattrs)?;
    check_kind(&entry.kind, LONGEST_LINK, (MAJOR_BITS, MINOR_BITS))
}
