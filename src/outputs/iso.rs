//! `output "iso"`: the overlay CD-ROM, one tar a layer, as xcluster's machines unpack it when they boot.

use std::fs::File;
use std::io::BufWriter;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::iso9660::{self, Content, Node as VolumeNode, Volume};
use super::tarball::Tarball;
use super::{Kind, Stated, Target};
use crate::fault::{Fault, Faults, Place};
use crate::key::Key;
use crate::lang::{Field, Form, Node, Spanned, Word};
use crate::layer::{Entry, Kind as EntryKind, LayerWriter};
use crate::store::Layer;
use crate::tree::{Detail, Filter, Tree, What};
use crate::work::{Facts, Folders, Group, Job, Output, Stack, StackLayer, World, Writing, Written};

pub(super) const KIND: Kind = Kind { word: &WORD, decode };

static WORD: Word = Word {
    name: "iso",
    summary: "a CD-ROM of the layers' tars",
    docs: "A CD-ROM (ISO 9660 with Rock Ridge and Joliet) with one tar a layer in its root, named `00NAME.tar`, \
           `01NAME.tar` and so on, so that unpacking them in the order of their names builds the image. From a hundred \
           layers on the numbers have three digits. `cidata` makes it a NoCloud source for cloud-init as well.",
    example: "image \"cluster\" {\n    overlays \"network\" \"tests\"\n    output \"iso\" label=\"xcluster\"\n}\n",
    properties: &[
        Field::new("label", Form::Text, "The volume's name, at most 32 letters.")
            .default("xcluster, or cidata with `cidata`"),
        Field::new(
            "cidata",
            Form::Path,
            "A folder whose content goes into the root: `user-data`, `meta-data` …",
        ),
        Field::new("script", Form::Path, "A file that goes into the root as `script`."),
    ],
    ..Word::BARE
};

#[derive(Debug)]
struct IsoOutput {
    stated: Stated,
    label: Option<Spanned<String>>,
    cidata: Option<(Spanned<String>, PathBuf)>,
    script: Option<(Spanned<String>, PathBuf)>,
}

fn decode(
    node: &Node,
    _target: &Target<'_>,
    folders: &Folders,
    faults: &mut Faults,
) -> Option<Arc<dyn Output>> {
    let with_path = |field: &str| node.text(field).map(|text| (text.clone(), folders.path(&text)));
    let (cidata, script) = (with_path("cidata"), with_path("script"));
    for (stated, _) in cidata.iter().filter(|(_, path)| !path.is_dir()) {
        faults.push(missing(stated, "folder"));
    }
    for (stated, _) in script.iter().filter(|(_, path)| !path.is_file()) {
        faults.push(missing(stated, "file"));
    }
    Some(Arc::new(IsoOutput { stated: Stated::of(node), label: node.text("label"), cidata, script }))
}

fn missing(stated: &Spanned<String>, what: &str) -> Fault {
    Fault::error("iso/missing", format!("there is no {what} `{}`", stated.value))
        .at(&stated.place, "named here")
        .help("paths start at the folder of the file that they stand in")
}

impl IsoOutput {
    fn label(&self) -> &str {
        match (&self.label, &self.cidata) {
            (Some(label), _) => &label.value,
            (None, Some(_)) => "cidata",
            (None, None) => "xcluster",
        }
    }

    /// The volume of these files in its root.
    fn volume(&self, epoch: i64, files: Vec<VolumeNode>) -> Volume {
        Volume { label: self.label().to_string(), epoch, nodes: files }
    }

    fn cidata_tree(&self, world: &World, parallel: bool) -> Result<Option<(Arc<Tree>, &Path)>, Fault> {
        let Some((stated, path)) = &self.cidata else { return Ok(None) };
        let tree = world.memory.tree(path, &Filter::all(), Detail::Plain, parallel);
        Ok(Some((tree.map_err(|fault| fault.at(&stated.place, "named here"))?, path)))
    }
}

impl Output for IsoOutput {
    fn kind(&self) -> &'static str {
        "iso"
    }
    fn extension(&self) -> String {
        "iso".into()
    }
    fn place(&self) -> &Place {
        &self.stated.place
    }
    fn path(&self) -> Option<&Spanned<String>> {
        self.stated.path.as_ref()
    }
    fn names_layers(&self) -> bool {
        true
    }

    fn check(&self, names: &[String]) -> Option<Fault> {
        let names = tar_names(names.iter().map(String::as_str));
        let files = names.into_iter().map(|name| file(name, Content::Bytes(Vec::new()), 0o644, 0)).collect();
        let faults = iso9660::check(&self.volume(0, files)).err()?;
        let place = self.label.as_ref().map_or(&self.stated.place, |label| &label.place);
        faults.into_iter().next().map(|fault| fault.at(place, "this CD-ROM"))
    }

    fn facts(&self, world: &World) -> Result<Facts, Fault> {
        let mut facts = Facts::new(Key::new("output-iso", 2));
        facts.key.fact("label", self.label());
        facts.key.fact("epoch", world.epoch);
        if let Some((tree, path)) = self.cidata_tree(world, false)? {
            facts.tree("cidata", path, world, tree);
        }
        if let Some((stated, path)) = &self.script {
            let file = world.memory.file(path).map_err(|fault| fault.at(&stated.place, "named here"))?;
            facts.file("script", path, world, file);
        }
        Ok(facts)
    }

    fn write(&self, writing: Writing<'_>) -> Result<Written, Fault> {
        let Writing { world, job, stack, path, .. } = writing;
        job.go_on()?;
        let mut nodes = Vec::new();
        for (name, content) in tars(stack, world, job)? {
            nodes.push(file(name, content, 0o644, world.epoch));
        }
        if let Some((tree, root)) = self.cidata_tree(world, false)? {
            cidata_nodes(&tree, root, world.epoch, &mut nodes)?;
        }
        if let Some((_, script)) = &self.script {
            let (size, _) = world.memory.file(script)?;
            nodes.push(file(
                "script".into(),
                Content::File { path: script.clone(), size },
                0o755,
                world.epoch,
            ));
        }
        let volume = self.volume(world.epoch, nodes);
        iso9660::check(&volume).map_err(|faults| match faults.into_iter().next() {
            Some(fault) => fault.at(&self.stated.place, "this CD-ROM").while_building(),
            None => Fault::build("iso/unfit", "these files do not fit a CD-ROM"),
        })?;
        let failed = |error: std::io::Error| Fault::io("write", path, &error);
        let mut out = File::create_new(path).map_err(failed)?;
        iso9660::write(&volume, &mut out).map_err(failed)?;
        Ok(Written::default())
    }
}

/// `00NAME.tar` and so on, with as many digits as the count needs, so that their order is the order of their names.
fn tar_names<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Vec<String> {
    let digits = (names.len().saturating_sub(1)).to_string().len().max(2);
    names.enumerate().map(|(number, name)| format!("{number:0digits$}{name}.tar")).collect()
}

/// The tars and their names, one for each group of layers.
fn tars(stack: &Stack, world: &World, job: &Job<'_>) -> Result<Vec<(String, Content)>, Fault> {
    let grouped = stack.grouped();
    let faces: Vec<&StackLayer> = grouped.iter().filter_map(|group| stack.face(group)).collect();
    let names = tar_names(faces.iter().map(|face| face.name.as_str()));
    // What single layers change is what their own tars say.
    let groups = if grouped.len() < stack.layers.len() { stack.groups(world.epoch)? } else { Vec::new() };
    let own = |at: usize| grouped.get(at).is_some_and(|group| group.len() == 1);
    let mut tars = Vec::new();
    for (number, (name, face)) in names.into_iter().zip(faces).enumerate() {
        let content = match groups.get(number).filter(|_| !own(number)) {
            Some(group) => {
                refuse_removals(face, group.nodes.iter().map(|node| &node.entry))?;
                tar_of_group(group, stack, world, job)?
            }
            None => {
                refuse_removals(face, face.layer.index.entries.iter())?;
                tar_of(&face.layer, world, job)?
            }
        };
        tars.push((name, content));
    }
    Ok(tars)
}

/// A tar of what several layers change together.
fn tar_of_group(group: &Group, stack: &Stack, world: &World, job: &Job<'_>) -> Result<Content, Fault> {
    let path = world.store.stage()?.path("group.tar");
    let failed = |error: std::io::Error| Fault::io("write", &path, &error);
    let mut out = File::create_new(&path).map_err(failed)?;
    Tarball::of(group.nodes.iter(), stack).write_file(&mut out, job)?.map_err(failed)?;
    let size = out.metadata().map_err(failed)?.len();
    Ok(Content::File { path, size })
}

/// The layer's own tar, or one of it without times behind the epoch.
fn tar_of(layer: &Layer, world: &World, job: &Job<'_>) -> Result<Content, Fault> {
    if layer.index.entries.iter().all(|entry| entry.mtime <= world.epoch) {
        return Ok(Content::File { path: layer.path.clone(), size: layer.index.tar_size });
    }
    job.go_on()?;
    let path = world.store.stage()?.path("clamped.tar");
    let write = || -> std::io::Result<u64> {
        let mut writer = LayerWriter::new(BufWriter::with_capacity(1 << 20, File::create_new(&path)?));
        for entry in &layer.index.entries {
            let clamped = Entry { mtime: entry.mtime.min(world.epoch), ..entry.clone() };
            match entry.kind {
                EntryKind::File { size, digest, .. } => {
                    writer.known_content(clamped, size, digest, &mut layer.content(entry))?;
                }
                _ => writer.entry(clamped)?,
            }
        }
        Ok(writer.finish()?.1.tar_size)
    };
    let size = write().map_err(|error| Fault::io("write", &path, &error))?;
    Ok(Content::File { path, size })
}

/// Unpacking a tar adds; what a layer removes would stay, and its markers would be there as files.
fn refuse_removals<'e>(
    layer: &StackLayer,
    mut entries: impl Iterator<Item = &'e Entry>,
) -> Result<(), Fault> {
    let Some(entry) = entries.find(|entry| entry.is_whiteout()) else { return Ok(()) };
    let what = if entry.kind == EntryKind::Opaque { "what is in " } else { "" };
    let message = format!(
        "`{}` removes {what}`/{}`, which unpacking the tars of a CD-ROM cannot do",
        layer.step, entry.path
    );
    Err(Fault::build("iso/removes", message)
        .at(&layer.place, "this layer")
        .help("leave the removal out, or write the image as a whole: `tar`, `cpio`, `dir`"))
}

fn file(path: String, content: Content, mode: u32, mtime: i64) -> VolumeNode {
    VolumeNode { path, kind: iso9660::Kind::File(content), mode, mtime }
}

fn cidata_nodes(tree: &Tree, root: &Path, epoch: i64, nodes: &mut Vec<VolumeNode>) -> Result<(), Fault> {
    tree.visit(&mut |relative: &[u8], item| {
        let path = root.join(std::ffi::OsStr::from_bytes(relative));
        let unfit = |what: &str| {
            Fault::build("iso/unfit", format!("`{}` {what}, which a CD-ROM cannot hold", path.display()))
        };
        let name = String::from_utf8(relative.to_vec()).map_err(|_| unfit("has a name that is not UTF-8"))?;
        let kind = match &item.what {
            What::Folder(_) => iso9660::Kind::Directory,
            What::File(_) => iso9660::Kind::File(Content::File { path: path.clone(), size: item.stamp.size }),
            What::Symlink(target) => iso9660::Kind::Symlink(
                String::from_utf8(target.to_vec()).map_err(|_| unfit("leads to a name that is not UTF-8"))?,
            ),
            _ => return Err(unfit("is a pipe or a device")),
        };
        nodes.push(VolumeNode { path: name, kind, mode: item.mode(Detail::Plain), mtime: epoch });
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_order_of_names_does_not_break_at_a_hundred() {
        let few: Vec<&str> = vec!["a"; 100];
        assert_eq!(super::tar_names(few.into_iter()).last().map(String::as_str), Some("99a.tar"));
        let many: Vec<&str> = vec!["a"; 101];
        let names = super::tar_names(many.into_iter());
        assert_eq!((names[0].as_str(), names[100].as_str()), ("000a.tar", "100a.tar"));
    }
}
