//! Jobs as people do them, against the tools that they would use instead, and against what the machine can do at all.
//!
//!     cargo bench --bench jobs                 every job
//!     cargo bench --bench jobs -- iso noop     some of them
//!
//! Each job is run in pairs, ours and the other in turn, as whole processes; what counts is the median of the ratios,
//! which holds when the machine's speed drifts. Work is done in memory (`/dev/shm`) where there is room, else in the
//! temporary folder. Nothing here decides a test.

#![allow(
    clippy::print_stdout,
    clippy::panic,
    clippy::expect_used,
    reason = "a bench prints its rows and ends when it cannot"
)]

#[path = "jobs/debian.rs"]
mod debian;
#[path = "jobs/hooks.rs"]
mod hooks;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [mode, folder] = arguments.as_slice()
        && mode == "--limit-walk"
    {
        return println!("{}", limit::walk(Path::new(folder)));
    }
    let bench = Bench::new();
    println!("| job | imgbuild | against | ratio | goal |\n|---|---|---|---|---|");
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == name);
    type Job = fn(&Bench);
    let jobs: [(&str, Job); 9] = [
        ("noop", noop),
        ("iso", iso),
        ("rootfs", rootfs),
        ("compress", compress),
        ("filesystems", filesystems),
        ("disks", disks),
        ("plan", plan),
        ("debian", debian::debian),
        ("hooks", hooks::hooks),
    ];
    for (name, job) in jobs {
        if wanted(name) {
            job(&bench);
        }
    }
}

/// Nothing to do, over many files: against git, which looks at the same files, and against looking at them at all.
fn noop(bench: &Bench) {
    for count in [10_000, 100_000] {
        let project = bench.project(&format!("noop-{count}"));
        for number in 0..count {
            let text = "x".repeat(number % 300);
            project.write(&format!("overlays/app/opt/d{:05}/f{number:06}", number / 20), text.as_bytes());
        }
        project.write("image.kdl", b"image \"app\" {\n    overlays \"app\"\n    output \"tar\"\n}\n");
        project.write(".gitignore", b"build\n");
        project.run("git", &["init", "-q", "."]);
        project.run("git", &["add", "-A"]);
        project.run("git", &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]);
        project.imgbuild(&[]);
        std::thread::sleep(Duration::from_millis(50));
        project.imgbuild(&[]);
        let ours = || project.imgbuild(&[]);
        bench.pair(&format!("nothing to do, {count} files, against `git status`"), 15, "< 1", ours, || {
            project.run("git", &["status", "--porcelain"]);
        });
        let me = std::env::current_exe().expect("this program");
        let folder = project.folder.join("overlays");
        bench.pair(
            &format!("the same, against walking and lstat on all cores ({count})"),
            15,
            "< 2",
            ours,
            || {
                project.run(&me, &[OsStr::new("--limit-walk"), folder.as_os_str()]);
            },
        );
    }
}

/// Twenty overlays to a CD-ROM: against a loop of tar and genisoimage.
fn iso(bench: &Bench) {
    let project = bench.project("iso");
    let mut random = Random(2);
    let mut names = Vec::new();
    for overlay in 0..20 {
        for number in 0..500 {
            let size = 200 + random.next() as usize % 5800;
            let bytes: Vec<u8> = (0..size).map(|_| random.next() as u8).collect();
            project.write(&format!("overlays/ovl{overlay:02}/usr/lib/x/d{}/f{number}", number / 25), &bytes);
        }
        names.push(format!("\"ovl{overlay:02}\""));
    }
    let manifest = format!("image \"cd\" {{\n    overlays {}\n    output \"iso\"\n}}\n", names.join(" "));
    project.write("image.kdl", manifest.as_bytes());
    let shell = "rm -rf t && mkdir t && n=0; for o in overlays/*; do tar -C $o -cf t/$(printf %02d $n)$(basename $o).tar . \
                 || exit 1; n=$((n+1)); done; genisoimage -quiet -R -J -o cd.iso t";
    let loop_ = || project.run("sh", &["-c", shell]);
    bench.fresh_pair(
        "20 overlays × 500 files to ISO, cold, against tar and genisoimage",
        11,
        "< 0.7",
        || project.forget(),
        || {
            project.imgbuild(&[]);
        },
        loop_,
    );
    let changed = project.folder.join("overlays/ovl07/usr/lib/x/d3/f80");
    project.imgbuild(&[]);
    bench.pair(
        "the same, one file changed",
        11,
        "",
        || {
            let text = format!("{:?}", Instant::now());
            fs::write(&changed, text).expect("written");
            project.imgbuild(&[]);
        },
        loop_,
    );
}

/// A root file system and one changed overlay file to a tar: against copying a file of that size.
fn rootfs(bench: &Bench) {
    let project = rootfs_project(bench, "rootfs", "none");
    project.imgbuild(&[]);
    let tar = project.folder.join("build/server.tar");
    let copy = project.folder.join("copy.tar");
    bench.pair(
        "400 MB root file system, one overlay file changed, to tar, against `cp`",
        9,
        "< 1.5",
        || {
            project.write("overlays/site/etc/motd", format!("{:?}", Instant::now()).as_bytes());
            project.imgbuild(&[]);
        },
        || {
            let _ = fs::remove_file(&copy);
            project.run("cp", &[tar.as_os_str(), copy.as_os_str()]);
        },
    );
}

/// The same, compressed: against the formats' own programs on all cores.
fn compress(bench: &Bench) {
    for (format, program, runs) in
        [("zstd", vec!["zstd", "-qf", "-T0", "-3"], 5), ("xz", vec!["xz", "-kf", "-T0", "-6"], 1)]
    {
        let project = rootfs_project(bench, &format!("compress-{format}"), format);
        let plain = project.folder.join("rootfs.tar");
        let theirs = || {
            let mut arguments: Vec<&OsStr> = program[1..].iter().map(OsStr::new).collect();
            arguments.push(plain.as_os_str());
            project.run(program[0], &arguments);
        };
        bench.fresh_pair(
            &format!("root file system to tar.{format}, cold, taken in as well"),
            runs,
            "≤ 1",
            || project.forget(),
            || {
                project.imgbuild(&[]);
            },
            theirs,
        );
        bench.pair(
            &format!("the same, one overlay file changed ({format})"),
            runs,
            "",
            || {
                project.write("overlays/site/etc/motd", format!("{:?}", Instant::now()).as_bytes());
                project.imgbuild(&[]);
            },
            theirs,
        );
    }
}

/// The same as a file system: against copying the file, and, for ext4, against the machine's own mke2fs and a folder.
fn filesystems(bench: &Bench) {
    if debian::mirror().is_none() {
        return println!("| filesystems | skipped: this machine's apt has no mirror | | | |");
    }
    for kind in ["ext4", "erofs", "squashfs"] {
        let project = rootfs_project(bench, &format!("filesystems-{kind}"), "none");
        let manifest = fs::read_to_string(project.folder.join("image.kdl")).expect("the manifest");
        let manifest = manifest.replace("output \"tar\" compression=\"none\"", &format!("output \"{kind}\""));
        project.write("image.kdl", manifest.as_bytes());
        project.imgbuild(&[]);
        let ours = || {
            project.write("overlays/site/etc/motd", format!("{:?}", Instant::now()).as_bytes());
            project.imgbuild(&[]);
        };
        let image = project.folder.join(format!("build/server.{kind}"));
        let copy = project.folder.join("copy");
        bench.pair(
            &format!("400 MB root file system, one overlay file changed, to {kind}, against `cp` of it"),
            5,
            if kind == "ext4" { "< 1.5" } else { "" },
            ours,
            || {
                let _ = fs::remove_file(&copy);
                project.run("cp", &[image.as_os_str(), copy.as_os_str()]);
            },
        );
        if kind == "ext4" {
            project.run("sh", &["-c", "mkdir tree && tar -C tree -xf rootfs.tar"]);
            let size = format!("{}k", fs::metadata(&image).expect("the image").len() >> 10);
            bench.pair("the same, against `mke2fs -d` of an unpacked tree", 5, "", ours, || {
                let _ = fs::remove_file(&copy);
                project.run("mke2fs", &["-q", "-t", "ext4", "-d", "tree", "copy", &size]);
            });
        }
    }
}

/// The same on a disk with a GPT: against copying the disk, and for compressed formats against qemu-img alone.
fn disks(bench: &Bench) {
    if debian::mirror().is_none() {
        return println!("| disks | skipped: this machine's apt has no mirror | | | |");
    }
    let project = rootfs_project(bench, "disks", "none");
    let manifest = fs::read_to_string(project.folder.join("image.kdl")).expect("the manifest");
    let disk = "boot loader=\"none\"\n    disk { partition \"root\" filesystem=\"ext4\" mount=\"/\"; }\n    ";
    let copy = project.folder.join("copy");
    for (output, against, goal) in [
        ("\"raw\"", &["cp", "--sparse=always"][..], "< 1.5"),
        ("\"qcow2\"", &["qemu-img", "convert", "-f", "raw", "-O", "qcow2"], ""),
        (
            "\"qcow2\" compression=\"zlib\"",
            &["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2"],
            "< 1.1",
        ),
    ] {
        let with = |output: &str| {
            manifest.replace("output \"tar\" compression=\"none\"", &format!("{disk}output {output}"))
        };
        project.write("image.kdl", with("\"raw\"").as_bytes());
        project.imgbuild(&[]);
        let raw = project.folder.join("raw");
        fs::rename(project.folder.join("build/server.raw"), &raw).expect("a disk");
        project.write("image.kdl", with(output).as_bytes());
        project.imgbuild(&[]);
        let ours = || {
            project.write("overlays/site/etc/motd", format!("{:?}", Instant::now()).as_bytes());
            project.imgbuild(&[]);
        };
        let title = format!(
            "the same on a disk, to {}, against `{}` of it",
            output.replace('"', ""),
            against.join(" ")
        );
        bench.pair(&title, 5, goal, ours, || {
            let _ = fs::remove_file(&copy);
            let (program, options) = against.split_first().expect("a program");
            let files = [raw.as_os_str(), copy.as_os_str()];
            project.run(program, &options.iter().map(OsStr::new).chain(files).collect::<Vec<_>>());
        });
    }
}

/// Ten thousand steps out of a manifest of a thousand nodes: planning, against reading the text alone.
fn plan(bench: &Bench) {
    let project = bench.project("plan");
    let mut text = String::new();
    for overlay in 0..100 {
        project.write(&format!("overlays/o{overlay:03}/etc/o{overlay:03}"), b"x\n");
    }
    for image in 0..90 {
        text.push_str(&format!(
            "image \"i{image:02}\" {{\n    overlays \"o{image:03}\" \"o{:03}\"\n",
            (image + 1) % 100
        ));
        for hypervisor in 0..9 {
            let outputs: Vec<String> = (0..12)
                .map(|output| format!("output \"tar\" path=\"build/{image}-{hypervisor}-{output}.tar\""))
                .collect();
            text.push_str(&format!("    hypervisor \"h{hypervisor}\" {{ {} }}\n", outputs.join("; ")));
        }
        text.push_str("}\n");
    }
    project.write("image.kdl", text.as_bytes());
    project.imgbuild(&[]);
    bench.pair(
        "planning 9,820 steps, against `check` of the same text",
        9,
        "",
        || {
            project.imgbuild(&["plan"]);
        },
        || {
            project.imgbuild(&["check"]);
        },
    );
}

/// A project with a base of about 400 MB and 15,000 entries, and one small overlay.
fn rootfs_project(bench: &Bench, name: &str, compression: &str) -> Project {
    let project = bench.project(name);
    let mut random = Random(3);
    let words: Vec<String> = (0..4000).map(|_| format!("{:x} ", random.next() % 1_000_000)).collect();
    for number in 0..15_000 {
        let size = if number % 100 == 0 { 1_500_000 } else { 200 + random.next() as usize % 24_000 };
        let mut text = String::with_capacity(size + 16);
        while text.len() < size {
            text.push_str(&words[random.next() as usize % words.len()]);
        }
        project.write(&format!("tree/usr/lib/d{:03}/f{number}", number / 40), text.as_bytes());
    }
    project.run("tar", &["--sort=name", "--owner=0", "--group=0", "-C", "tree", "-cf", "rootfs.tar", "."]);
    let _ = fs::remove_dir_all(project.folder.join("tree"));
    project.write("overlays/site/etc/motd", b"hello\n");
    let manifest = format!(
        "image \"server\" {{\n    base \"tar\" from=\"rootfs.tar\"\n    overlays \"site\"\n    output \"tar\" compression=\"{compression}\"\n}}\n"
    );
    project.write("image.kdl", manifest.as_bytes());
    project
}

struct Bench {
    root: PathBuf,
}

impl Bench {
    fn new() -> Bench {
        let shm = Path::new("/dev/shm");
        let parent = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
        let root = parent.join(format!("imgbuild-bench-{}", std::process::id()));
        fs::create_dir_all(&root).expect("a folder");
        Bench { root }
    }

    fn project(&self, name: &str) -> Project {
        let folder = self.root.join(name);
        fs::create_dir_all(&folder).expect("a folder");
        Project { folder }
    }

    /// Runs both in turn and prints a row: the medians, and the median, least and greatest ratio.
    fn pair(&self, job: &str, runs: usize, goal: &str, ours: impl Fn(), theirs: impl Fn()) {
        self.fresh_pair(job, runs, goal, || {}, ours, theirs);
    }

    /// The same, with something done before each of our runs that is not counted.
    fn fresh_pair(
        &self,
        job: &str,
        runs: usize,
        goal: &str,
        before: impl Fn(),
        ours: impl Fn(),
        theirs: impl Fn(),
    ) {
        let timed = |run: &dyn Fn()| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        };
        let (mut our_times, mut their_times, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..runs {
            before();
            let (our, their) = (timed(&ours), timed(&theirs));
            our_times.push(our);
            their_times.push(their);
            ratios.push(our / their);
        }
        let (least, greatest) = (least(&ratios), greatest(&ratios));
        println!(
            "| {job} | {} | {} | {:.2} ({least:.2}–{greatest:.2}) | {goal} |",
            shown(median(our_times)),
            shown(median(their_times)),
            median(ratios)
        );
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

struct Project {
    folder: PathBuf,
}

impl Project {
    fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    /// Forgets everything that was built.
    fn forget(&self) {
        for folder in [self.cache(), self.folder.join("build")] {
            let _ = fs::remove_dir_all(folder);
        }
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("written");
    }

    fn imgbuild(&self, arguments: &[&str]) {
        self.run(env!("CARGO_BIN_EXE_imgbuild"), arguments);
    }

    fn run<A: AsRef<OsStr>>(&self, program: impl AsRef<OsStr>, arguments: &[A]) {
        let program = program.as_ref();
        let status = Command::new(program)
            .args(arguments)
            .current_dir(&self.folder)
            .env("IMGBUILD_CACHE", self.cache())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => panic!("{} ended with {status} in {}", program.display(), self.folder.display()),
            Err(error) => panic!("this machine lacks {}: {error}", program.display()),
        }
    }
}

fn shown(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1000.0) } else { format!("{seconds:.2} s") }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn greatest(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

/// A small generator (xorshift), so that inputs are the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// What the machine can do at all.
mod limit {
    use super::{MetadataExt, Path, PathBuf, fs};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    /// Walks a folder on all cores and looks at everything in it; gives a sum, so that nothing is optimised away.
    pub fn walk(root: &Path) -> u64 {
        let queue = Mutex::new(vec![root.to_path_buf()]);
        let (open, sum) = (AtomicUsize::new(1), AtomicU64::new(0));
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while open.load(Ordering::Acquire) > 0 {
                        let next = queue.lock().expect("the queue").pop();
                        let Some(folder) = next else {
                            std::thread::yield_now();
                            continue;
                        };
                        let found = look(&folder, &sum);
                        open.fetch_add(found.len(), Ordering::AcqRel);
                        queue.lock().expect("the queue").extend(found);
                        open.fetch_sub(1, Ordering::AcqRel);
                    }
                });
            }
        });
        sum.into_inner()
    }

    fn look(folder: &Path, sum: &AtomicU64) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let metadata = entry.metadata().expect("metadata");
            sum.fetch_add(metadata.size() ^ metadata.ino(), Ordering::Relaxed);
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
        folders
    }
}
