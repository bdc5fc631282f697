//! btrfs, written without a tool: it is new, so that every tree is made at once, out of all its items, and everything lies
//! in one piece. Nothing is unpacked and nothing mounted; what would be drawn at random comes from its UUID.
//!
//! One device and no subvolumes. As mkfs.btrfs(8) makes them: data once and metadata twice, sums of CRC-32C, nodes of
//! 16 KiB, a tree of free space. What no group has is there for the kernel to make groups of.
//!
//! The format is that of the kernel's `include/uapi/linux/btrfs_tree.h` and of btrfs' own documentation, "On-disk format".

mod content;
mod format;
mod space;
mod tree;

use super::files::file_type;
use super::made::{Device, Made};
use super::seed::Seed;
use super::seed::uuid_bytes;
use crate::fault::Fault;
use crate::layer::Merged;
use crate::layer::merge::Node;
use crate::work::Job;
use content::{Content, Extent};
use format::{
    DEFAULT, GENERATION, Inode, Item, Key, MAGIC, NODE, ROOT_INODE, Record, SECTOR, Uuid, dir_item, flags,
    inode_ref, kind,
};
use space::Space;
use tree::{NodeIds, Tree, summed};

/// The smallest one: bytes (mkfs.btrfs(8), with metadata twice).
pub const SMALLEST: u64 = 109 << 20;
/// The size of a group is a multiple of this: bytes.
const STEP: u64 = 1 << 20;

/// The smallest groups: bytes.
const SYSTEM_GROUP: u64 = 8 << 20;
const DATA_GROUP: u64 = 8 << 20;
/// What metadata has beyond what is in it: bytes. The kernel keeps some for itself, and writes anew before it frees.
const METADATA_ROOM: u64 = 24 << 20;

/// A file system that is yet to be written.
pub struct Btrfs<'a>(pub &'a Made<'a>);

/// Bytes of the smallest file system that holds all of `merged`.
///
/// # Errors
///
/// What btrfs cannot have.
pub fn least(merged: &Merged) -> Result<u64, Fault> {
    let nothing = |node: &Node| Ok(vec![0; node.entry.kind.size() as usize]);
    let plan = Plan::of(merged, &Ids::of(""), (0, 0), &nothing)?;
    Ok(plan.space.end)
}

impl Btrfs<'_> {
    /// Writes it, `size` bytes large, where nothing but zeros is. It has to be as large as [`least`] says.
    ///
    /// # Errors
    ///
    /// What btrfs cannot have; reading layers, writing.
    pub fn write(&self, device: &Device<'_>, size: u64, job: &Job<'_>) -> Result<(), Fault> {
        let ids = Ids::of(self.0.uuid);
        let mut plan = Plan::of(self.0.merged, &ids, (size, self.0.epoch), &|node| self.0.content(node))?;
        let sums = self.write_content(&plan, device, job)?;
        plan.fill_sums(&sums);
        for tree in plan.trees.iter().chain([&plan.chunks]) {
            for (address, bytes) in tree.written(&ids.nodes) {
                job.go_on()?;
                plan.space.on_device(address).iter().try_for_each(|copy| device.put(*copy, &bytes))?;
            }
        }
        let mut copies = format::SUPERBLOCKS.into_iter().filter(|copy| copy + SECTOR <= size);
        copies.try_for_each(|copy| device.put(copy, &self.superblock(&plan, &ids, copy, size)))
    }

    /// Writes the content of all files that does not stand in the tree; gives the sum of each sector.
    fn write_content(&self, plan: &Plan<'_>, device: &Device<'_>, job: &Job<'_>) -> Result<Vec<u8>, Fault> {
        let mut sums = Vec::new();
        for extent in &plan.extents {
            job.go_on()?;
            let place = plan.space.on_device(extent.address).first().copied().unwrap_or_default();
            self.0.copy(extent.node, (extent.offset, extent.length), (device, place), &mut |piece| {
                let sectors = piece.chunks(SECTOR as usize);
                sums.extend(sectors.flat_map(|sector| crc32c::crc32c(sector).to_le_bytes()));
            })?;
        }
        Ok(sums)
    }

    /// `struct btrfs_super_block`, whose copy is at `at`.
    fn superblock(&self, plan: &Plan<'_>, ids: &Ids, at: u64, size: u64) -> Vec<u8> {
        const WRITTEN: u64 = 1;
        // The tree of free space, and that it is whole.
        const READ_ONLY_COMPATIBLE: u64 = 1 | 2;
        // References of both kinds, large nodes, many names of a file, short items of metadata, no items for holes.
        const INCOMPATIBLE: u64 = 1 | 0x20 | 0x40 | 0x100 | 0x200;
        const LABEL: usize = 256;
        const ARRAY: usize = 2048;
        let (root, chunks) = (plan.trees.last(), &plan.chunks);
        let (root, level) = root.map_or((0, 0), |tree| (tree.root(), tree.level()));
        let array = plan.space.groups.first().map(|group| group.chunk(&ids.device));
        let array =
            array.map(|item| Record::new().key(item.key).bytes(&item.data).done()).unwrap_or_default();
        let record =
            Record::new().zeros(format::SUM).bytes(&ids.nodes.system).u64s(&[at, WRITTEN]).bytes(MAGIC);
        let record = record.u64s(&[GENERATION, root, chunks.root(), 0, 0, size, plan.space.used()]);
        let record = record.u64s(&[format::tree::ROOT_DIRECTORY, 1]).u32(SECTOR as u32).u32(NODE as u32);
        let record = record.u32(NODE as u32).u32(SECTOR as u32).u32(array.len() as u32).u64(GENERATION);
        let record = record.u64s(&[0, READ_ONLY_COMPATIBLE, INCOMPATIBLE]).u16(0);
        let record = record.u8(level).u8(chunks.level()).u8(0).bytes(&device_item(ids, size, &plan.space));
        let label = self.0.label.unwrap_or_default().as_bytes();
        let record = record.bytes(label).zeros(LABEL.saturating_sub(label.len()));
        // No cache of the old kind; the tree of UUIDs is up to date.
        let record = record.u64s(&[0, GENERATION]).zeros(240).bytes(&array);
        let mut bytes = record.zeros(ARRAY - array.len()).done();
        bytes.resize(SECTOR as usize, 0);
        summed(bytes)
    }
}

/// What tells its parts from all others.
struct Ids {
    nodes: NodeIds,
    device: Uuid,
    /// Of the tree of files.
    files: Uuid,
}

impl Ids {
    fn of(uuid: &str) -> Ids {
        let seed = Seed::of_text(uuid);
        let made = |name| uuid_bytes(&seed.uuid(name));
        Ids {
            nodes: NodeIds { system: uuid_bytes(uuid), chunks: made("chunks") },
            device: made("device"),
            files: made("files"),
        }
    }
}

/// Where everything is to be.
struct Plan<'a> {
    space: Space,
    extents: Vec<Extent<'a>>,
    /// All trees but that of chunks; the root of them is the last.
    trees: Vec<Tree>,
    chunks: Tree,
}

impl<'a> Plan<'a> {
    /// The plan for a file system with `merged`, `size` bytes large; what is not in the image is as of `epoch`. `read` gives
    /// the content of a small file.
    fn of(
        merged: &'a Merged,
        ids: &Ids,
        (size, epoch): (u64, i64),
        read: &dyn Fn(&Node) -> Result<Vec<u8>, Fault>,
    ) -> Result<Plan<'a>, Fault> {
        let mut space = Space::new();
        space.add(flags::SYSTEM | flags::DUP, SYSTEM_GROUP);
        space.add(flags::DATA, space::LARGEST);
        let Content { items, extents, .. } = Content::of(merged, epoch, &mut space, read)?;
        space.trim(DATA_GROUP);
        let mut trees = vec![
            Tree::of(format::tree::FILES, items),
            Tree::of(format::tree::SUMS, content::sum_items(&extents)),
            Tree::of(format::tree::UUID, vec![uuid_item(&ids.files)]),
            Tree::of(format::tree::RELOCATION, content::bare(epoch)),
        ];
        add_metadata(&mut space, trees.iter().map(Tree::nodes).sum(), extents.len());
        let of_device = space.groups.iter().flat_map(|group| group.device_extents(&ids.nodes.chunks));
        trees.push(Tree::of(format::tree::DEVICE, of_device.collect()));
        let mut chunks: Vec<Item> = space.groups.iter().map(|group| group.chunk(&ids.device)).collect();
        chunks.push(Item { key: Key(1, kind::DEVICE, 1), data: device_item(ids, size, &space) });
        let mut chunks = Tree::of(format::tree::CHUNK, chunks);
        chunks.places = take(&mut space, flags::SYSTEM, chunks.nodes())?;
        let mut plan = Plan { space, extents, trees, chunks };
        plan.place(ids, epoch)?;
        Ok(plan)
    }

    /// Gives a place to every node. The trees of free space and of extents tell of themselves, too: they grow until they
    /// have room for that.
    fn place(&mut self, ids: &Ids, epoch: i64) -> Result<(), Fault> {
        for tree in &mut self.trees {
            tree.places = take(&mut self.space, flags::METADATA, tree.nodes())?;
        }
        let root = take(&mut self.space, flags::METADATA, 1)?;
        let (mut of_free, mut of_extents) = (1, 1);
        loop {
            let mut space = self.space.clone();
            let (free_places, extent_places) =
                (take(&mut space, flags::METADATA, of_free)?, take(&mut space, flags::METADATA, of_extents)?);
            let free = space.groups.iter().flat_map(space::Group::free_items).collect();
            let mut free = Tree::of(format::tree::FREE, free);
            free.places = free_places;
            let mut items = self.extent_items(&space, &root, &free);
            items.extend(extent_places.iter().map(|place| node_item(*place, 0, format::tree::EXTENT)));
            let mut extents = Tree::of(format::tree::EXTENT, items);
            extents.places = extent_places;
            if (free.nodes(), extents.nodes()) == (of_free, of_extents) {
                extents.tell_own_levels();
                self.space = space;
                self.trees.extend([free, extents]);
                let items = root_items(&self.trees, &ids.files, epoch);
                let mut roots = Tree::of(format::tree::ROOT, items);
                roots.places = root;
                self.trees.push(roots);
                return Ok(());
            }
            (of_free, of_extents) = (of_free.max(free.nodes()), of_extents.max(extents.nodes()));
        }
    }

    /// All that is taken, but for the nodes of the tree that tells this.
    fn extent_items(&self, space: &Space, root: &[u64], free: &Tree) -> Vec<Item> {
        let trees = self.trees.iter().chain([&self.chunks, free]);
        let nodes =
            trees.flat_map(|tree| tree.placed().map(|(place, level)| node_item(place, level, tree.id)));
        let roots = root.iter().map(|place| node_item(*place, 0, format::tree::ROOT));
        let groups = space.groups.iter().map(space::Group::item);
        nodes.chain(roots).chain(groups).chain(self.extents.iter().map(Extent::item)).collect()
    }

    /// Tells the sums of all sectors, in the order of their addresses.
    fn fill_sums(&mut self, sums: &[u8]) {
        let Some(tree) = self.trees.iter_mut().find(|tree| tree.id == format::tree::SUMS) else { return };
        let mut rest = sums;
        for item in &mut tree.items {
            let (own, behind) = rest.split_at(item.data.len().min(rest.len()));
            item.data.copy_from_slice(own);
            rest = behind;
        }
    }
}

/// Adds groups for the metadata: for `nodes` and for what tells of these and of `extents`.
fn add_metadata(space: &mut Space, nodes: usize, extents: usize) {
    // Items of the tree of extents: of a node, and of a piece of content. Leaves are almost full.
    let told = (nodes * 58 + extents * 78) / 12_000 + 64;
    let bytes = (nodes + told) as u64 * NODE;
    let mut left = (bytes + bytes / 4 + METADATA_ROOM).next_multiple_of(STEP);
    while left > 0 {
        let length = left.min(space::LARGEST);
        space.add(flags::METADATA | flags::DUP, length);
        left -= length;
    }
}

/// Takes places for nodes, of groups of that kind.
fn take(space: &mut Space, of: u64, count: usize) -> Result<Vec<u64>, Fault> {
    let full = || Fault::machine("internal", "a btrfs file system has no room for its own trees");
    let mut groups = space.groups.iter_mut().filter(|group| group.flags & of != 0);
    let mut group = groups.next();
    let mut places = Vec::with_capacity(count);
    while places.len() < count {
        match group.as_mut().ok_or_else(full)?.take(NODE) {
            Some(taken) => places.push(taken.start),
            None => group = groups.next(),
        }
    }
    Ok(places)
}

/// `struct btrfs_dev_item`: the only device.
fn device_item(ids: &Ids, size: u64, space: &Space) -> Vec<u8> {
    let record = Record::new().u64s(&[1, size, space.given()]);
    let record = record.u32(SECTOR as u32).u32(SECTOR as u32).u32(SECTOR as u32);
    let record = record.u64s(&[0, 0, 0]).u32(0).u8(0).u8(0);
    record.bytes(&ids.device).bytes(&ids.nodes.system).done()
}

/// A node in the tree of extents: `struct btrfs_extent_item`, and whose it is.
fn node_item(place: u64, level: u8, tree: u64) -> Item {
    const OF_A_TREE: u64 = 2;
    let data = Record::new().u64s(&[1, GENERATION, OF_A_TREE]).u8(kind::OF_TREE).u64(tree).done();
    Item { key: Key(place, kind::METADATA, u64::from(level)), data }
}

/// What the tree of UUIDs says of the tree of files.
fn uuid_item(files: &Uuid) -> Item {
    let number = u128::from_le_bytes(*files);
    let key = Key(number as u64, kind::UUID_OF_SUBVOLUME, (number >> 64) as u64);
    Item { key, data: Record::new().u64(format::tree::FILES).done() }
}

/// The tree of all trees, and the folder in it that says which of them is mounted.
fn root_items(trees: &[Tree], files: &Uuid, epoch: i64) -> Vec<Item> {
    let folder = format::tree::ROOT_DIRECTORY;
    let inode = Inode { links: 1, bytes: NODE, mode: 0o40_755, time: epoch, ..Inode::default() };
    let mounted = Key(format::tree::FILES, kind::ROOT, u64::MAX);
    let entry = dir_item(mounted, DEFAULT, &[], file_type::DIRECTORY);
    let mut items: Vec<Item> = trees.iter().map(|tree| root_item(tree, files, epoch)).collect();
    let mut put = |key, data| items.push(Item { key, data });
    put(Key(format::tree::FILES, kind::INODE_REF, folder), inode_ref(0, DEFAULT));
    put(Key(folder, kind::INODE, 0), inode.record());
    put(Key(folder, kind::INODE_REF, folder), inode_ref(0, b".."));
    put(Key(folder, kind::DIR_ITEM, format::name_hash(DEFAULT)), entry);
    items
}

/// `struct btrfs_root_item`.
fn root_item(tree: &Tree, files: &Uuid, epoch: i64) -> Item {
    let has_files = [format::tree::FILES, format::tree::RELOCATION].contains(&tree.id);
    let (folder, bytes) = (if has_files { ROOT_INODE } else { 0 }, tree.nodes() as u64 * NODE);
    let inode = Inode { size: 3, bytes: NODE, links: 1, mode: 0o40_755, ..Inode::default() };
    let record = Record::new().bytes(&inode.record());
    let record = record.u64s(&[GENERATION, folder, tree.root(), 0, bytes, 0, 0]).u32(1);
    let record = record.key(Key(0, 0, 0)).u8(0).u8(tree.level()).u64(GENERATION);
    let is_mounted = tree.id == format::tree::FILES;
    let (uuid, time) = if is_mounted { (*files, epoch) } else { (Uuid::default(), 0) };
    let record = record.bytes(&uuid).zeros(32).zeros(32).time(time).time(time).time(0).time(0);
    Item { key: Key(tree.id, kind::ROOT, 0), data: record.zeros(64).done() }
}
