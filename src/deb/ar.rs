//! The outer archive of a .deb: Unix `ar` in the common variant (deb(5), ar(5)).

use std::fs::File;
use std::io::{self, Read};

use crate::layer::read::At;

/// A member of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, without the slash that GNU ar puts behind it.
    pub name: String,
    /// Byte in the file where its content starts.
    pub offset: u64,
    /// Bytes of its content.
    pub size: u64,
}

/// The members of the archive in `file`, in order.
///
/// # Errors
///
/// `InvalidData`, in words, for what is no such archive or is cut short; else of reading.
pub fn members(file: &File) -> io::Result<Vec<Member>> {
    const MAGIC: &[u8; 8] = b"!<arch>\n";
    let length = file.metadata()?.len();
    if read_at::<8>(file, 0).ok().as_ref() != Some(MAGIC) {
        return Err(bad("it is not a Debian package: the `ar` archive's first line is missing"));
    }
    let mut members = Vec::new();
    let mut at = MAGIC.len() as u64;
    while at < length {
        if members.len() == MOST_MEMBERS {
            return Err(bad("it has more members than a Debian package can have"));
        }
        let header: [u8; HEADER] = read_at(file, at).map_err(|_| bad("it is cut short"))?;
        let member =
            member(&header, at + HEADER as u64).ok_or_else(|| bad("a member's header is damaged"))?;
        let end = member.offset + member.size;
        if end > length {
            return Err(bad("it is cut short"));
        }
        at = end + end % 2;
        members.push(member);
    }
    Ok(members)
}

/// Three are needed; a few more may stand between and behind them.
const MOST_MEMBERS: usize = 32;

/// Name 16, time 12, owner 6, group 6, mode 8, size 10, and two bytes that end it.
const HEADER: usize = 60;

fn member(header: &[u8; HEADER], offset: u64) -> Option<Member> {
    let text = std::str::from_utf8(header).ok()?.strip_suffix("`\n")?;
    let name = text.get(..16)?.trim_end_matches(' ');
    let name = name.strip_suffix('/').unwrap_or(name).to_string();
    let size = text.get(48..58)?.trim_end_matches(' ');
    if !size.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Member { name, offset, size: size.parse().ok()? })
}

fn read_at<const N: usize>(file: &File, at: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    At { file, at, left: N as u64 }.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
pub mod tests {
    use std::io::Write;

    use super::*;

    /// An archive of these members.
    pub fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = b"!<arch>\n".to_vec();
        for (name, content) in members {
            write!(bytes, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, "100644", content.len())
                .expect("memory");
            bytes.extend_from_slice(content);
            if content.len() % 2 == 1 {
                bytes.push(b'\n');
            }
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<(String, u64)>, String> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        let members = members(&file).map_err(|error| error.to_string())?;
        Ok(members.into_iter().map(|member| (member.name, member.size)).collect())
    }

    #[test]
    fn members_are_found_and_damage_is_told() {
        let whole = archive(&[("debian-binary", b"2.0\n"), ("odd/", b"123"), ("_x", b"")]);
        let expected = [("debian-binary", 4), ("odd", 3), ("_x", 0)];
        assert_eq!(read(&whole), Ok(expected.map(|(name, size)| (name.to_string(), size)).to_vec()));
        assert_eq!(read(&whole[..70]), Err("it is cut short".into()));
        assert_eq!(read(&whole[..100]), Err("it is cut short".into()));
        assert!(read(b"!<arch>").is_err_and(|error| error.contains("not a Debian package")));
        let mut damaged = whole;
        damaged[8 + 50] = b'x';
        assert_eq!(read(&damaged), Err("a member's header is damaged".into()));
        assert!(read(&archive(&[("a", b"".as_slice()); 33])).is_err(), "too many");
    }
}
