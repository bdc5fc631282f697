//! The threads that compress, and what they make of a block.
//!
//! They are threads of their own and not those of rayon's pool: the caller is a job in that pool and waits for them.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::earlier::{Earlier, Shelf};
use super::recipe::{Recipe, Stop};
use crate::key::Digest;

/// A block that is ready to be written.
pub(super) struct Piece {
    pub input: Digest,
    pub input_size: u64,
    pub input_crc: crc32fast::Hasher,
    pub bytes: Vec<u8>,
    pub seal: Digest,
    pub reused: bool,
}

/// Where the piece of one block will come out.
pub(super) struct Ticket(Receiver<io::Result<Piece>>);

impl Ticket {
    /// Waits for the piece.
    pub fn wait(self) -> io::Result<Piece> {
        self.0
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("a thread that compresses ended before its work")))
    }
}

/// The threads. They are started as work comes in, and have ended once the pool is dropped; that waits for a block of
/// gzip or zstd which is under way, and breaks one of xz off.
pub(super) struct Pool {
    bench: Arc<Bench>,
    jobs: Option<Sender<Job>>,
    waiting: Receiver<Job>,
    threads: Vec<JoinHandle<()>>,
    limit: usize,
}

struct Job {
    input: Vec<u8>,
    answer: Sender<io::Result<Piece>>,
}

impl Pool {
    pub fn new(recipe: Recipe, threads: usize, earlier: Option<Earlier>) -> Pool {
        let (jobs, waiting) = unbounded();
        let bench = Bench { recipe, shelf: earlier.map(Shelf::new), stop: Stop::default() };
        Pool { bench: Arc::new(bench), jobs: Some(jobs), waiting, threads: Vec::new(), limit: threads.max(1) }
    }

    /// Hands a block in. How many may be under way is the caller's care: the pool takes any number.
    pub fn submit(&mut self, input: Vec<u8>) -> io::Result<Ticket> {
        if self.threads.len() < self.limit {
            self.start()?;
        }
        let (answer, ticket) = bounded(1);
        if let Some(jobs) = &self.jobs {
            // It cannot fail: the pool itself holds an end to receive from.
            let _ = jobs.send(Job { input, answer });
        }
        Ok(Ticket(ticket))
    }

    /// Starts one more thread; that there cannot be more of them matters only if there is none.
    fn start(&mut self) -> io::Result<()> {
        let (bench, waiting) = (Arc::clone(&self.bench), self.waiting.clone());
        match thread::Builder::new().name(String::from("compress")).spawn(move || bench.work(&waiting)) {
            Ok(thread) => self.threads.push(thread),
            Err(error) if self.threads.is_empty() => return Err(error),
            Err(_) => self.limit = self.threads.len(),
        }
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.bench.stop.now();
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // One that panicked has left a ticket without its piece, and that was reported.
            let _ = thread.join();
        }
    }
}

/// What the threads share.
struct Bench {
    recipe: Recipe,
    shelf: Option<Shelf>,
    stop: Stop,
}

impl Bench {
    fn work(&self, waiting: &Receiver<Job>) {
        for job in waiting {
            // Nobody listens any more when the encoder was dropped.
            let _ = job.answer.send(self.piece(&job.input));
        }
    }

    fn piece(&self, input: &[u8]) -> io::Result<Piece> {
        self.stop.check()?;
        let digest = Digest::of(input);
        let found = self.shelf.as_ref().and_then(|shelf| shelf.find(self.recipe, &digest, input.len()));
        let reused = found.is_some();
        let (bytes, seal) = match found {
            Some(found) => found,
            None => self.compress(&digest, input)?,
        };
        let mut input_crc = crc32fast::Hasher::new();
        input_crc.update(input);
        Ok(Piece { input: digest, input_size: input.len() as u64, input_crc, bytes, seal, reused })
    }

    fn compress(&self, digest: &Digest, input: &[u8]) -> io::Result<(Vec<u8>, Digest)> {
        let bytes = self.recipe.compress(input, &self.stop)?;
        let seal = self.recipe.seal(digest, &bytes);
        Ok((bytes, seal))
    }
}
