//! Reading: what a stream is compressed with is seen from its first bytes.

use std::fmt;
use std::io::{self, BufReader, Cursor, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use xz2::bufread::XzDecoder;
use xz2::stream::{CONCATENATED, Stream, TELL_UNSUPPORTED_CHECK};

/// What a stream is compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Nothing that is known here.
    None,
    /// Gzip (RFC 1952).
    Gzip,
    /// Bzip2.
    Bzip2,
    /// The .xz format.
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Compression {
    /// Its name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Bzip2 => "bzip2",
            Compression::Xz => "xz",
            Compression::Zstd => "zstd",
        }
    }
}

/// How many bytes [`sniff`] looks at.
const SNIFFED: usize = 10;

/// What a stream that begins with `start` (ten bytes are enough) is compressed with.
pub fn sniff(start: &[u8]) -> Compression {
    match start {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        // A frame to be skipped (RFC 8878, 3.1.2): pzstd begins with one.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        [b'B', b'Z', b'h', b'1'..=b'9', block @ ..] if begins_bzip2(block) => Compression::Bzip2,
        _ => Compression::None,
    }
}

/// Whether the first block of bzip2 data, or its end if there is none, begins so: its header alone could be text.
fn begins_bzip2(block: &[u8]) -> bool {
    const BLOCK: [u8; 6] = [0x31, 0x41, 0x59, 0x26, 0x53, 0x59];
    const END: [u8; 6] = [0x17, 0x72, 0x45, 0x38, 0x50, 0x90];
    [BLOCK, END].iter().any(|magic| magic.iter().zip(block).all(|(magic, byte)| magic == byte))
}

/// The decompressed bytes of `source`, which are its own bytes if it is not compressed.
///
/// Members, streams and frames that stand one behind the other are read as one. Data that ends too early, is damaged,
/// or has anything else behind it is an error; one that is read only in part cannot be told from a good one, so read
/// to the end. Memory is bounded whatever the data asks for.
pub fn reader<'a>(source: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    // A check that this library cannot make would be passed over without a word.
    decoded(source, TELL_UNSUPPORTED_CHECK)
}

/// As [`reader`], of compressed bytes whose digest was compared already: an .xz stream's own sums, which could only say
/// the same again and cost a sixteenth of the decompressing, are passed over.
pub fn reader_of_proven<'a>(source: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    decoded(source, IGNORE_CHECK)
}

/// `LZMA_IGNORE_CHECK` of liblzma's `lzma/container.h`: what xz2 0.1 has under that name is another flag.
const IGNORE_CHECK: u32 = 0x10;

fn decoded<'a>(source: impl Read + Send + 'a, xz_flags: u32) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut source = Source(source);
    let start = start_of(&mut source)?;
    let compression = sniff(&start);
    let whole = Cursor::new(start).chain(source);
    let whole = BufReader::with_capacity(1 << 16, whole);
    Ok(match compression {
        Compression::None => Box::new(Decoded { inner: whole, compression }),
        Compression::Gzip => Box::new(Decoded { inner: MultiGzDecoder::new(whole), compression }),
        Compression::Bzip2 => Box::new(Decoded { inner: MultiBzDecoder::new(whole), compression }),
        Compression::Xz => Box::new(Decoded { inner: xz(whole, xz_flags)?, compression }),
        Compression::Zstd => Box::new(Decoded { inner: zstd(whole)?, compression }),
    })
}

fn start_of(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(SNIFFED);
    match source.take(SNIFFED as u64).read_to_end(&mut start) {
        Ok(_) => Ok(start),
        Err(error) => Err(told(error, Compression::None)),
    }
}

fn xz<R: io::BufRead>(whole: R, flags: u32) -> io::Result<XzDecoder<R>> {
    // The highest level of the program takes 65 MiB; a larger dictionary can be asked for by hand.
    const MEMORY: u64 = 256 << 20;
    let stream = Stream::new_stream_decoder(MEMORY, CONCATENATED | flags)?;
    Ok(XzDecoder::new_stream(whole, stream))
}

fn zstd<'a, R: io::BufRead>(whole: R) -> io::Result<::zstd::stream::read::Decoder<'a, R>> {
    // 128 MiB: what the program itself allows, and what its highest level makes.
    const WINDOW_LOG: u32 = 27;
    let mut decoder = ::zstd::stream::read::Decoder::with_buffer(whole)?;
    decoder.window_log_max(WINDOW_LOG)?;
    Ok(decoder)
}

/// A decoder whose errors say what they are about.
struct Decoded<D> {
    inner: D,
    compression: Compression,
}

impl<D: Read> Read for Decoded<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.inner.read(buffer).map_err(|error| told(error, self.compression))
    }
}

/// The error of the source as it was, or that of the decoder in words.
fn told(error: io::Error, compression: Compression) -> io::Error {
    let name = compression.name();
    match error.downcast::<SourceError>() {
        Ok(SourceError(error)) => error,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            io::Error::new(io::ErrorKind::UnexpectedEof, format!("the {name} data ends too early"))
        }
        Err(error) => {
            let message = format!("cannot decompress the {name} data: {}", crate::fault::reason(&error));
            io::Error::new(io::ErrorKind::InvalidData, message)
        }
    }
}

/// The source, its errors marked so that they come through a decoder unchanged.
struct Source<R>(R);

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                // Not every decoder goes on after it.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(io::Error::new(error.kind(), SourceError(error))),
                read => return read,
            }
        }
    }
}

#[derive(Debug)]
struct SourceError(io::Error);

impl fmt::Display for SourceError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl std::error::Error for SourceError {}
