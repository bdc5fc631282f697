//! Running a tool: a program of a locked tree writes one file, out of files that it is shown, or out of the image as a tar
//! that it reads from a pipe.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::tarball::Tarball;
use crate::fault::{Fault, Place};
use crate::layer::EntryPath;
use crate::sandbox::image::{Call, ImageRan, ImageRun, Shown, Special};
use crate::sandbox::{Exit, Launcher};
use crate::work::{Job, World};

/// Where the pipe is that the tool's input comes from. It can be opened once: nobody would write into it again.
const TAR: &str = "/run/imgbuild/in/tar";
/// Where the tool writes.
pub(super) const OUT: &str = "/run/imgbuild/out";

/// A program that makes a file.
pub(super) struct Tool {
    /// Its name and its arguments.
    pub program: &'static str,
    pub arguments: Vec<String>,
    /// Files that it finds: paths begin with `run/`.
    pub finds: Vec<Special>,
    /// Files of this machine that it finds.
    pub shown: Vec<Shown>,
}

/// Where a tool runs, and for which output.
pub(super) type Tree<'a> = (&'a ImageRun, &'a Place);

impl Tool {
    /// A program with nothing beside it.
    pub fn new(program: &'static str, arguments: Vec<String>) -> Tool {
        Tool { program, arguments, finds: Vec::new(), shown: Vec::new() }
    }

    /// Lets it make the file at `out`, which must be there.
    pub fn write(&self, tree: Tree<'_>, out: &Path, world: &World, job: &Job<'_>) -> Result<(), Fault> {
        let call = Call {
            program: self.program.into(),
            arguments: self.arguments.clone(),
            must_succeed: true,
            ..Call::default()
        };
        self.done(self.run(tree, call, Vec::new(), out, world, job)?, tree, out, job)
    }

    /// Lets it make the file at `out`, which must be there, out of `tarball`, which it reads from its standard input.
    pub fn write_from(
        &self,
        tarball: &Tarball<'_>,
        tree: Tree<'_>,
        out: &Path,
        world: &World,
        job: &Job<'_>,
    ) -> Result<(), Fault> {
        let folder = world.store.stage()?.path("in");
        let pipe = folder.join("tar");
        let failed = |error: io::Error| Fault::io("make", &pipe, &error);
        fs::create_dir(&folder).map_err(failed)?;
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .map_err(|error| failed(error.into()))?;
        let input = Shown { host: folder.clone(), at: inside("run/imgbuild/in") };
        let over = AtomicBool::new(false);
        let (ran, fed) = std::thread::scope(|scope| {
            let feeder = scope.spawn(|| feed(&pipe, tarball, &over, job));
            let ran = self.run(tree, self.reading_call(), vec![input], out, world, job);
            over.store(true, Ordering::Relaxed);
            let lost = || Err(Fault::machine("internal", "a thread that wrote a tar was lost"));
            (ran, feeder.join().unwrap_or_else(|_| lost()))
        });
        let _ = fs::remove_dir_all(&folder);
        self.done(ran?, tree, out, job)?;
        fed?.map_err(|error| Fault::io("write", &pipe, &error))
    }

    /// The program with the pipe as its standard input.
    fn reading_call(&self) -> Call {
        let mut words = vec!["-c".to_string(), format!("exec \"$@\" < {TAR}"), "sh".to_string()];
        words.push(self.program.to_string());
        words.extend(self.arguments.iter().cloned());
        Call { program: "sh".into(), arguments: words, must_succeed: true, ..Call::default() }
    }

    fn run(
        &self,
        (tree, place): Tree<'_>,
        call: Call,
        mut shown: Vec<Shown>,
        out: &Path,
        world: &World,
        job: &Job<'_>,
    ) -> Result<ImageRan, Fault> {
        shown.extend(self.shown.iter().cloned());
        let run = ImageRun {
            shown,
            written: vec![Shown { host: out.to_path_buf(), at: inside(OUT) }],
            commands: vec![call],
            scratch: self.finds.clone(),
            log: job.log.clone(),
            ..tree.clone()
        };
        let ran = Launcher::of(&world.program).run_image(&run, job.cancel, &mut |line| (job.say)(line));
        ran.map_err(|fault| fault.at(place, "this output"))
    }

    fn done(&self, ran: ImageRan, (_, place): Tree<'_>, out: &Path, job: &Job<'_>) -> Result<(), Fault> {
        match ran.failed {
            Some(_) => Err(self.failure(ran, out, job).at(place, "this output")),
            None => Ok(()),
        }
    }

    fn failure(&self, ran: ImageRan, out: &Path, job: &Job<'_>) -> Fault {
        // Not every tool says so, and what others have written may be gone again.
        let is_said = ran.tail.iter().any(|line| line.contains("No space left on device"));
        if is_said || rustix::fs::statvfs(out).is_ok_and(|disk| disk.f_bavail * disk.f_frsize < 1 << 19) {
            let fault = Fault::io("write", out, &Errno::NOSPC.into());
            return Fault { output: ran.tail, ..fault };
        }
        let how = match ran.exits.last() {
            Some(Exit::Signal(signal)) => format!("it was ended by signal {signal}"),
            Some(Exit::Code(code)) => format!("it ended with {code}"),
            None => "it was not started".into(),
        };
        let fault = Fault::build("output/tool", format!("`{}` failed: {how}", self.program))
            .help(format!("the whole output is in `{}`", job.log.display()));
        Fault { output: ran.tail, ..fault }
    }
}

/// A path in the sandbox.
pub(super) fn inside(path: &str) -> EntryPath {
    EntryPath::parse(path).unwrap_or_default()
}

/// Writes the tar into the pipe, for as long as anybody reads it: that a tool ends too early, it says itself.
fn feed(
    pipe: &Path,
    tarball: &Tarball<'_>,
    over: &AtomicBool,
    job: &Job<'_>,
) -> Result<io::Result<()>, Fault> {
    let Some(pipe) = open(pipe, over).map_err(|error| Fault::io("write", pipe, &error))? else {
        return Ok(Ok(()));
    };
    let mut out = io::BufWriter::with_capacity(1 << 16, pipe);
    let written = tarball.write(&mut out, job)?.and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            // What is left in the buffer has nowhere to go.
            let _ = out.into_parts();
            Ok(Ok(()))
        }
        written => Ok(written),
    }
}

/// The pipe, once somebody reads it; none if nobody will.
fn open(pipe: &Path, over: &AtomicBool) -> io::Result<Option<File>> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    while !over.load(Ordering::Relaxed) {
        match rustix::fs::open(pipe, flags, Mode::empty()) {
            Ok(file) => {
                rustix::fs::fcntl_setfl(file.as_fd(), OFlags::empty())?;
                // As much as a plain user may have.
                let _ = rustix::pipe::fcntl_setpipe_size(&file, 1 << 20);
                return Ok(Some(File::from(file)));
            }
            Err(Errno::NXIO | Errno::INTR) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}
