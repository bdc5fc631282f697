//! Writing: what comes in is cut into blocks, which are compressed on threads and written in order.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::mem;

use super::cut::Cutter;
use super::earlier::{Block, Earlier};
use super::envelope::Envelope;
use super::format::Format;
use super::pool::{Piece, Pool, Ticket};
use super::recipe::Recipe;
use super::zstd;

/// How a stream is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The format.
    pub format: Format,
    /// The level; the format's default if none is given.
    pub level: Option<i32>,
    /// What readers must be able to read it.
    pub layout: Layout,
    /// How many threads compress. It never changes the bytes. None is the same as one.
    pub threads: usize,
}

/// What readers must be able to read a stream. It makes a difference for zstd alone: the blocks of gzip are always in
/// one member, those of xz always in one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Those that follow the format: a frame for each block.
    #[default]
    Frames,
    /// Also those that stop behind the first frame, as the Linux kernel does with an initramfs. Nothing is taken from
    /// an earlier output.
    OneFrame,
}

/// A writer that compresses. Without [`Encoder::finish`] the output is cut short.
///
/// It holds about two blocks a thread in memory. `flush` does nothing: a block ends where its bytes say so. Once a
/// write has failed every other fails too.
pub struct Encoder<W: Write> {
    stream: Stream<W>,
    broken: bool,
}

/// A stream that was written to its end.
#[derive(Debug)]
pub struct Finished<W> {
    /// Where it was written to.
    pub out: W,
    /// Its blocks, to be given as [`Earlier`] the next time; empty if the stream has none to take.
    pub blocks: Vec<Block>,
    /// How many of them were taken from the earlier output.
    pub reused: usize,
}

enum Stream<W: Write> {
    Plain(W),
    OneFrame(::zstd::stream::write::Encoder<'static, W>),
    Blocks(Box<Blocks<W>>),
}

impl<W: Write> Encoder<W> {
    /// Begins a stream; the bytes are the same with and without `earlier`. A level that the format does not have is
    /// an error.
    pub fn new(settings: Settings, earlier: Option<Earlier>, out: W) -> io::Result<Encoder<W>> {
        let stream = match (Recipe::new(settings.format, settings.level)?, settings.layout) {
            (None, _) => Stream::Plain(out),
            (Some(Recipe::Zstd(level)), Layout::OneFrame) => {
                Stream::OneFrame(zstd::single(level, settings.threads, out)?)
            }
            (Some(recipe), _) => {
                let pool = Pool::new(recipe, settings.threads, earlier);
                Stream::Blocks(Box::new(Blocks::new(recipe, pool, 2 * settings.threads.max(1), out)?))
            }
        };
        Ok(Encoder { stream, broken: false })
    }

    /// Writes what is left and the stream's end, and flushes `out`.
    pub fn finish(self) -> io::Result<Finished<W>> {
        if self.broken {
            return Err(broken());
        }
        let mut finished = match self.stream {
            Stream::Plain(out) => Finished::without_blocks(out),
            Stream::OneFrame(encoder) => Finished::without_blocks(encoder.finish()?),
            Stream::Blocks(blocks) => blocks.finish()?,
        };
        finished.out.flush()?;
        Ok(finished)
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.broken {
            return Err(broken());
        }
        let written = match &mut self.stream {
            Stream::Plain(out) => out.write(bytes),
            Stream::OneFrame(encoder) => encoder.write(bytes),
            Stream::Blocks(blocks) => blocks.write(bytes),
        };
        self.broken = written.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn broken() -> io::Error {
    io::Error::other("an earlier write to this stream failed")
}

impl<W> Finished<W> {
    fn without_blocks(out: W) -> Finished<W> {
        Finished { out, blocks: Vec::new(), reused: 0 }
    }
}

/// A stream of blocks.
struct Blocks<W> {
    out: W,
    offset: u64,
    cutter: Cutter,
    /// The block that is being filled.
    input: Vec<u8>,
    pool: Pool,
    /// The blocks that are being compressed, in order.
    under_way: VecDeque<Ticket>,
    most_under_way: usize,
    envelope: Envelope,
    written: Vec<Block>,
    reused: usize,
}

impl<W: Write> Blocks<W> {
    fn new(recipe: Recipe, pool: Pool, most_under_way: usize, out: W) -> io::Result<Blocks<W>> {
        let mut blocks = Blocks {
            out,
            offset: 0,
            cutter: Cutter::new(recipe.sizes()),
            input: Vec::new(),
            pool,
            under_way: VecDeque::new(),
            most_under_way,
            envelope: Envelope::new(recipe),
            written: Vec::new(),
            reused: 0,
        };
        blocks.put(blocks.envelope.head())?;
        Ok(blocks)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.cutter.take(bytes);
        self.input.extend_from_slice(&bytes[..taken.bytes]);
        if taken.ends {
            self.end_block()?;
        }
        Ok(taken.bytes)
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.under_way.len() == self.most_under_way {
            self.write_next()?;
        }
        let input = mem::take(&mut self.input);
        self.under_way.push_back(self.pool.submit(input)?);
        Ok(())
    }

    fn write_next(&mut self) -> io::Result<()> {
        match self.under_way.pop_front() {
            Some(ticket) => self.write_piece(&ticket.wait()?),
            None => Ok(()),
        }
    }

    fn write_piece(&mut self, piece: &Piece) -> io::Result<()> {
        self.envelope.add(piece)?;
        let Piece { input, input_size, seal, .. } = *piece;
        let size = piece.bytes.len() as u64;
        self.written.push(Block { input, input_size, offset: self.offset, size, seal });
        self.reused += usize::from(piece.reused);
        self.put(&piece.bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self) -> io::Result<Finished<W>> {
        if !self.input.is_empty() {
            self.end_block()?;
        }
        while !self.under_way.is_empty() {
            self.write_next()?;
        }
        self.out.write_all(&self.envelope.tail()?)?;
        Ok(Finished { out: self.out, blocks: self.written, reused: self.reused })
    }
}
