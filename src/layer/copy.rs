//! Copying contents out of layers, by the kernel where it can.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use super::read::At;

/// Copies all of `source`, which has `length` bytes; less is an error.
pub fn copy(source: &mut dyn Read, length: u64, out: &mut dyn Write, buffer: &mut [u8]) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        match source.read(&mut buffer[..room]) {
            Ok(0) => return Err(short()),
            Ok(read) => {
                out.write_all(&buffer[..read])?;
                left -= read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Copies a range of `source` to where `out` stands.
pub fn copy_by_kernel(source: &File, at: u64, length: u64, out: &mut File) -> io::Result<()> {
    let (mut from, mut left) = (at, length);
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(source.as_fd(), Some(&mut from), out.as_fd(), None, most) {
            Ok(0) => return Err(short()),
            Ok(copied) => left -= copied as u64,
            Err(rustix::io::Errno::INTR) => {}
            // Other file systems, or a kernel that cannot: by hand.
            Err(
                rustix::io::Errno::XDEV
                | rustix::io::Errno::INVAL
                | rustix::io::Errno::NOSYS
                | rustix::io::Errno::OPNOTSUPP
                | rustix::io::Errno::PERM,
            ) => return send(source, from, left, out),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Copies a range through the page cache alone; through a buffer where that cannot be.
fn send(source: &File, at: u64, length: u64, out: &mut File) -> io::Result<()> {
    let (mut from, mut left) = (at, length);
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::sendfile(out.as_fd(), source.as_fd(), Some(&mut from), most) {
            Ok(0) => return Err(short()),
            Ok(copied) => left -= copied as u64,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                return copy(&mut At { file: source, at: from, left }, left, out, &mut vec![0; 256 * 1024]);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What is wrong where a layer's tar ends too early.
pub fn short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "a layer in the cache is cut short")
}
