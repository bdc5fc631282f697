use std::fs::File;
use std::io::{self, Read, Write};
use std::process::Command;

use tempfile::NamedTempFile;

use super::*;
use crate::key::Digest;

/// Bytes that do not compress; one seed, one stream.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Bytes that compress about as well as programs do, with a run of zeros.
fn prose(seed: u64, length: usize) -> Vec<u8> {
    let words = noise(seed, 1 << 14);
    let order = noise(seed + 1, length / 4);
    let mut bytes: Vec<u8> = order
        .chunks(2)
        .flat_map(|pick| {
            let at = usize::from(pick[0]) * 64 + usize::from(*pick.last().unwrap_or(&0)) % 32;
            words[at..].iter().copied().take(9)
        })
        .take(length)
        .collect();
    bytes.resize(length, 0);
    bytes
}

fn settings(format: Format, threads: usize) -> Settings {
    // The lowest levels: these tests are about the streams, not about the ratio.
    let level = format.levels().map(|levels| *levels.start());
    Settings { format, level, layout: Layout::Frames, threads }
}

fn encode(settings: Settings, earlier: Option<Earlier>, bytes: &[u8]) -> Finished<Vec<u8>> {
    let mut encoder = Encoder::new(settings, earlier, Vec::new()).unwrap();
    for piece in bytes.chunks(77_777) {
        encoder.write_all(piece).unwrap();
    }
    encoder.finish().unwrap()
}

fn decode(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut decoded = Vec::new();
    reader(bytes)?.read_to_end(&mut decoded)?;
    Ok(decoded)
}

fn file_of(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn earlier(bytes: &[u8], blocks: &[Block]) -> Earlier {
    Earlier { file: File::open(file_of(bytes).path()).unwrap(), blocks: blocks.to_vec() }
}

const COMPRESSED: [Format; 3] = [Format::Gzip, Format::Xz, Format::Zstd];

/// Runs `program`; none if this machine lacks it.
#[allow(clippy::disallowed_methods, reason = "whether a missing tool may be skipped is the tester's word")]
fn run(program: &str, package: &str, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let file = file_of(input);
    let output = Command::new(program).args(arguments).stdin(File::open(file.path()).unwrap()).output();
    match output {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program} {arguments:?}: {said}");
            Some(output.stdout)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            assert!(std::env::var("IMGBUILD_TESTS").as_deref() != Ok("all"), "this machine lacks {program}");
            eprintln!("skipped: this machine lacks {program} (Debian: {package})");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

#[test]
fn every_reader_reads_what_is_written() {
    let python = |module: &str| {
        format!(
            "import sys, {module} as m; i = sys.stdin.buffer.read(); sys.stdout.buffer.write(m.decompress(i))"
        )
    };
    for bytes in [Vec::new(), b"x".to_vec(), prose(3, 30_000_000)] {
        for format in COMPRESSED {
            let coded = encode(settings(format, 2), None, &bytes).out;
            assert!(decode(&coded).unwrap() == bytes, "{format:?} {}", bytes.len());
            let (program, package, module) = match format {
                Format::Gzip => ("gzip", "gzip", Some("gzip")),
                Format::Xz => ("xz", "xz-utils", Some("lzma")),
                _ => ("zstd", "zstd", None),
            };
            let read = run(program, package, &["-dc"], &coded);
            assert!(read.is_none_or(|read| read == bytes), "{program}");
            if let Some(module) = module {
                let read = run("python3", "python3", &["-c", &python(module)], &coded);
                assert!(read.is_none_or(|read| read == bytes), "python's {module}");
            }
        }
    }
}

#[test]
fn a_compressed_tar_is_a_tar() {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(3_000_000);
    header.set_mode(0o644);
    tar.append_data(&mut header, "etc/motd", io::repeat(b'm').take(3_000_000)).unwrap();
    let tar = tar.into_inner().unwrap();
    for format in Format::ALL {
        let coded = encode(settings(format, 2), None, &tar).out;
        let listed = run("bsdtar", "libarchive-tools", &["-tf", "-"], &coded);
        assert!(listed.is_none_or(|listed| listed == b"etc/motd\n"), "{format:?}");
    }
}

#[test]
fn gzip_and_xz_are_one_stream() {
    let bytes = prose(4, 25_000_000);
    let gzip = encode(settings(Format::Gzip, 2), None, &bytes);
    assert!(gzip.blocks.len() > 10);
    let mut read = Vec::new();
    flate2::bufread::GzDecoder::new(&gzip.out[..]).read_to_end(&mut read).unwrap();
    assert!(read == bytes, "one member holds everything");

    let xz = encode(settings(Format::Xz, 2), None, &bytes);
    assert!(xz.blocks.len() > 1);
    let one = ::xz2::stream::Stream::new_stream_decoder(u64::MAX, 0).unwrap();
    let (mut read, mut decoder) = (Vec::new(), xz2::bufread::XzDecoder::new_stream(&xz.out[..], one));
    decoder.read_to_end(&mut read).unwrap();
    assert!(read == bytes && decoder.get_ref().is_empty(), "one stream holds everything");
    let file = file_of(&xz.out);
    let name = file.path().to_str().unwrap();
    let Some(list) = run("xz", "xz-utils", &["--robot", "--list", "-vv", "--", name], &[]) else { return };
    let list = String::from_utf8(list).unwrap();
    let blocks: Vec<&str> = list.lines().filter(|line| line.starts_with("block\t")).collect();
    assert_eq!(blocks.len(), xz.blocks.len());
    // The flags of a header that tells both sizes: readers need them to decompress in parallel.
    assert!(blocks.iter().all(|line| line.contains("\tcu\t") && line.contains("CRC32")), "{list}");
}

#[test]
fn zstd_in_one_frame_is_one_frame_and_the_same_each_time() {
    let bytes = prose(5, 24_000_000);
    // Level 6 has the row match finder, whose tables outlive a job in its thread.
    for level in [1, 6] {
        let settings = |threads| Settings {
            format: Format::Zstd,
            level: Some(level),
            layout: Layout::OneFrame,
            threads,
        };
        let first = encode(settings(1), None, &bytes);
        assert!(first.blocks.is_empty());
        let mut read = Vec::new();
        let mut one = ::zstd::stream::read::Decoder::new(&first.out[..]).unwrap().single_frame();
        one.read_to_end(&mut read).unwrap();
        assert!(read == bytes, "one frame holds everything");
        for threads in [2, 5, 5, 0] {
            assert!(
                encode(settings(threads), None, &bytes).out == first.out,
                "level {level}, {threads} threads"
            );
        }
        let mut whole = Encoder::new(settings(2), None, Vec::new()).unwrap();
        whole.write_all(&bytes).unwrap();
        assert!(whole.finish().unwrap().out == first.out, "however it comes");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let bytes = prose(6, 30_000_000);
    for format in COMPRESSED {
        let first = encode(settings(format, 1), None, &bytes);
        assert!(first.blocks.len() > 1, "{format:?}");
        for threads in [2, 5] {
            let again = encode(settings(format, threads), None, &bytes);
            assert!(again.out == first.out && again.blocks == first.blocks, "{format:?} {threads}");
        }
    }
}

#[test]
fn unchanged_blocks_are_taken_from_the_earlier_output() {
    let old = prose(7, 40_000_000);
    let mut new = old.clone();
    // Near the start, and everything behind it moves.
    new.splice(100_000..100_000, *b"a line more\n");
    for format in COMPRESSED {
        let before = encode(settings(format, 2), None, &old);
        let fresh = encode(settings(format, 2), None, &new);
        let reused = encode(settings(format, 2), Some(earlier(&before.out, &before.blocks)), &new);
        assert!(reused.out == fresh.out, "{format:?}: reuse changes no byte");
        assert_eq!(reused.blocks, fresh.blocks);
        assert_eq!(
            (fresh.reused, reused.reused),
            (0, fresh.blocks.len() - 1),
            "{format:?}: all but one block"
        );
        let same = encode(settings(format, 2), Some(earlier(&reused.out, &reused.blocks)), &new);
        assert_eq!(same.reused, same.blocks.len(), "what was reused can be reused again");
        assert!(same.out == fresh.out);
    }
}

#[test]
fn a_table_that_lies_changes_no_byte() {
    let bytes = noise(8, 9_000_000);
    type Lie = fn(&mut Vec<Block>);
    let lies: [(&str, Lie); 8] = [
        ("offset", |blocks| blocks[0].offset += 1),
        ("offset behind the end", |blocks| blocks[0].offset = u64::MAX - 5),
        ("size", |blocks| blocks[0].size -= 1),
        ("a size beyond all memory", |blocks| blocks[0].size = u64::MAX),
        ("size of nothing", |blocks| blocks[0].size = 0),
        ("seal", |blocks| blocks[0].seal = Digest::of("")),
        ("digests swapped", |blocks| {
            let first = blocks[0].input;
            blocks[0].input = blocks[1].input;
            blocks[1].input = first;
        }),
        ("another input's place", |blocks| {
            (blocks[0].offset, blocks[0].size) = (blocks[1].offset, blocks[1].size);
        }),
    ];
    for format in [Format::Gzip, Format::Zstd] {
        let fresh = encode(settings(format, 2), None, &bytes);
        for (name, lie) in lies {
            let mut blocks = fresh.blocks.clone();
            lie(&mut blocks);
            let coded = encode(settings(format, 2), Some(earlier(&fresh.out, &blocks)), &bytes);
            assert!(coded.out == fresh.out, "{format:?} {name}");
            assert!(coded.reused < blocks.len(), "{format:?} {name}: the lie was seen");
        }
        let mut damaged = fresh.out.clone();
        damaged[fresh.blocks[0].offset as usize + 9] ^= 1;
        let coded = encode(settings(format, 2), Some(earlier(&damaged, &fresh.blocks)), &bytes);
        assert!(coded.out == fresh.out && coded.reused == fresh.blocks.len() - 1);
        let other_level = Settings { level: Some(2), ..settings(format, 2) };
        let coded = encode(other_level, Some(earlier(&fresh.out, &fresh.blocks)), &bytes);
        assert_eq!(coded.reused, 0, "a block of another level is another block");
    }
}

#[test]
fn what_begins_like_it_is_taken_for_it() {
    for format in COMPRESSED {
        let coded = encode(settings(format, 1), None, b"abc").out;
        assert_eq!(sniff(&coded).name(), format.name());
    }
    assert_eq!(sniff(&bzip2_of(b"abc")), Compression::Bzip2);
    assert_eq!(sniff(&bzip2_of(b"")), Compression::Bzip2);
    assert_eq!(sniff(&bzip2_of(b"abc")[..7]), Compression::Bzip2, "cut short it still is");
    for plain in ["", "B", "BZh9 is how bzip2 data begins", "plain"] {
        assert_eq!(sniff(plain.as_bytes()), Compression::None);
        assert_eq!(decode(plain.as_bytes()).unwrap(), plain.as_bytes());
    }
}

fn bzip2_of(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `bytes` in every format that can be read.
fn coded(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut coded: Vec<_> = COMPRESSED
        .iter()
        .map(|format| (format.name(), encode(settings(*format, 1), None, bytes).out))
        .collect();
    coded.push(("bzip2", bzip2_of(bytes)));
    coded
}

#[test]
fn streams_one_behind_the_other_are_one() {
    let (first, second) = (prose(9, 200_000), prose(10, 300_000));
    for ((name, first_coded), (_, second_coded)) in coded(&first).into_iter().zip(coded(&second)) {
        let both = [first_coded, second_coded].concat();
        assert!(decode(&both).unwrap() == [&first[..], &second].concat(), "{name}");
    }
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3], &coded(&first)[2].1[..]].concat();
    assert!(decode(&skipped).unwrap() == first, "a frame to be skipped");
    let padded = [&coded(&first)[1].1[..], &[0; 8]].concat();
    assert!(decode(&padded).unwrap() == first, "the padding of an xz stream");
}

#[test]
fn anything_but_whole_streams_is_an_error() {
    let bytes = prose(11, 40_000);
    for (name, whole) in coded(&bytes) {
        for cut in (12..whole.len()).step_by(997).chain(whole.len() - 12..whole.len()) {
            let error = decode(&whole[..cut]).expect_err(name);
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{name} cut at {cut}: {error}");
        }
        for tail in [&b"\0"[..], b"\0\0\0", b"x", b"garbage", b"more garbage than a header is long"] {
            let error = decode(&[&whole[..], tail].concat()).expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
        }
        for at in (16..whole.len()).step_by(whole.len() / 7) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            assert!(decode(&damaged).is_err(), "{name} damaged at {at}");
        }
    }
}

#[test]
fn what_asks_for_too_much_memory_is_refused() {
    // A dictionary of 1 GiB in the block's header (The .xz File Format, 5.3.1).
    let mut xz = encode(settings(Format::Xz, 1), None, b"abc").out;
    let dictionary = xz.windows(2).position(|pair| pair == [0x21, 1]).unwrap() + 2;
    xz[dictionary] = 36;
    let header = usize::from(xz[12]) * 4;
    let crc = crc32fast::hash(&xz[12..12 + header]).to_le_bytes();
    xz[12 + header..16 + header].copy_from_slice(&crc);
    let error = decode(&xz).expect_err("xz");
    assert!(error.to_string().contains("memory"), "{error}");
    // A frame header with a window of 1 GiB (RFC 8878, 3.1.1.1.2).
    let error = decode(&[0x28, 0xb5, 0x2f, 0xfd, 0, 20 << 3, 1, 0, 0]).expect_err("zstd");
    assert!(error.to_string().contains("memory"), "{error}");
}

#[test]
fn an_error_of_the_source_comes_through_unchanged() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(5))
        }
    }
    for (name, whole) in coded(&prose(12, 50_000)).into_iter().chain([("none", vec![b'.'; 100])]) {
        let source = whole[..whole.len() / 2].chain(Failing);
        let error = io::copy(&mut reader(source).unwrap(), &mut io::sink()).expect_err(name);
        assert_eq!(error.raw_os_error(), Some(5), "{name}: {error}");
    }
    assert_eq!(reader(Failing).err().and_then(|error| error.raw_os_error()), Some(5));
}

/// A writer with room for so many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match bytes.len().min(self.0) {
            0 if !bytes.is_empty() => Err(io::Error::from_raw_os_error(28)),
            fits => {
                self.0 -= fits;
                Ok(fits)
            }
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_reported_and_ends_the_stream() {
    let bytes = noise(13, 12_000_000);
    for format in Format::ALL {
        for layout in [Layout::Frames, Layout::OneFrame] {
            let settings = Settings { layout, ..settings(format, 3) };
            for room in [0, 5, 2_000_000, 11_999_000] {
                let written = Encoder::new(settings, None, Full(room)).and_then(|mut encoder| {
                    if let Err(error) = encoder.write_all(&bytes) {
                        assert!(encoder.write(b"more").is_err() && encoder.finish().is_err(), "no way back");
                        return Err(error);
                    }
                    encoder.finish().map(|_| ())
                });
                let error = written.expect_err("it does not fit");
                assert_eq!(error.raw_os_error(), Some(28), "{format:?} {layout:?} {room}: {error}");
            }
        }
    }
}

#[test]
fn an_encoder_that_is_dropped_leaves_its_work() {
    let settings = Settings { format: Format::Xz, level: Some(9), layout: Layout::Frames, threads: 2 };
    let mut encoder = Encoder::new(settings, None, Vec::new()).unwrap();
    // At least one block is on its way, and would take many seconds.
    encoder.write_all(&prose(14, 200 << 20)).unwrap();
    let dropped = std::time::Instant::now();
    drop(encoder);
    assert!(dropped.elapsed().as_secs() < 3, "{:?}", dropped.elapsed());
}

#[test]
fn a_level_that_there_is_not_is_refused() {
    let asked = Settings { format: Format::Gzip, level: Some(12), layout: Layout::Frames, threads: 1 };
    let error = Encoder::new(asked, None, io::sink()).err().unwrap();
    assert_eq!(error.to_string(), "`gzip` has the levels 1 to 9, not 12");
    for format in COMPRESSED {
        for level in format.levels().unwrap() {
            assert!(encode(Settings { format, level: Some(level), ..asked }, None, b"abc").out.len() > 3);
        }
    }
}
