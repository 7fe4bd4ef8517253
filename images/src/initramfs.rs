//! The guest's first file system, written as a newc cpio archive.
//!
//! Entries are ordered by path, owned by root and dated 1970, so the same contents always give the
//! same bytes.

use std::collections::BTreeMap;
use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// A tree of files under construction. Paths have no leading slash.
#[derive(Debug, Default)]
pub(crate) struct Initramfs {
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug)]
struct Node {
    /// Type and permission bits.
    mode: u32,
    /// Contents of a file, target of a symbolic link.
    bytes: Vec<u8>,
    /// Major and minor number of a device.
    device: (u32, u32),
}

impl Initramfs {
    /// Adds a directory and its parents. A directory that is there takes the new permissions.
    pub(crate) fn directory(&mut self, path: &str, permissions: u32) {
        self.add(path, DIRECTORY | permissions, Vec::new(), (0, 0));
    }

    /// Adds a regular file.
    pub(crate) fn file(&mut self, path: &str, permissions: u32, bytes: impl Into<Vec<u8>>) {
        self.add(path, FILE | permissions, bytes.into(), (0, 0));
    }

    /// Adds a symbolic link.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) {
        self.add(path, SYMLINK | 0o777, target.into(), (0, 0));
    }

    /// Adds a character device.
    pub(crate) fn device(&mut self, path: &str, permissions: u32, major: u32, minor: u32) {
        self.add(path, CHARACTER_DEVICE | permissions, Vec::new(), (major, minor));
    }

    fn add(&mut self, path: &str, mode: u32, bytes: Vec<u8>, device: (u32, u32)) {
        for (end, _) in path.match_indices('/') {
            self.nodes.entry(path[..end].to_owned()).or_insert_with(|| Node {
                mode: DIRECTORY | 0o755,
                bytes: Vec::new(),
                device: (0, 0),
            });
        }
        self.nodes.insert(path.to_owned(), Node { mode, bytes, device });
    }

    /// Writes the archive.
    pub(crate) fn write<W: Write>(&self, mut out: W) -> io::Result<W> {
        // A map's order puts every directory before what is in it.
        for (inode, (path, node)) in (1..).zip(&self.nodes) {
            let size = u32::try_from(node.bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
            let links = if node.mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
            let mut entry = cpio::newc::Builder::new(path)
                .ino(inode)
                .mode(node.mode)
                .nlink(links)
                .rdev_major(node.device.0)
                .rdev_minor(node.device.1)
                .write(out, size);
            entry.write_all(&node.bytes)?;
            out = entry.finish()?;
        }
        cpio::newc::trailer(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_is_written_is_read_back_in_order() {
        let mut tree = Initramfs::default();
        tree.file("init", 0o755, b"engine");
        tree.file("etc/ssl/certs/ca.crt", 0o644, b"pem\n");
        tree.directory("tmp", 0o1777);
        tree.symlink("bin/sh", "busybox");
        tree.device("dev/console", 0o600, 5, 1);
        let archive = tree.write(Vec::new()).unwrap();

        let mut seen = Vec::new();
        let mut input = archive.as_slice();
        loop {
            let mut reader = cpio::newc::Reader::new(input).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            let entry = reader.entry();
            assert_eq!((entry.uid(), entry.gid(), entry.mtime()), (0, 0, 0));
            seen.push((
                entry.name().to_owned(),
                entry.mode(),
                (entry.rdev_major(), entry.rdev_minor()),
                String::from_utf8(bytes).unwrap(),
            ));
            input = reader.finish().unwrap();
        }
        let entry = |name: &str, mode, device, text: &str| (name.to_owned(), mode, device, text.to_owned());
        assert_eq!(
            seen,
            [
                entry("bin", 0o040_755, (0, 0), ""),
                entry("bin/sh", 0o120_777, (0, 0), "busybox"),
                entry("dev", 0o040_755, (0, 0), ""),
                entry("dev/console", 0o020_600, (5, 1), ""),
                entry("etc", 0o040_755, (0, 0), ""),
                entry("etc/ssl", 0o040_755, (0, 0), ""),
                entry("etc/ssl/certs", 0o040_755, (0, 0), ""),
                entry("etc/ssl/certs/ca.crt", 0o100_644, (0, 0), "pem\n"),
                entry("init", 0o100_755, (0, 0), "engine"),
                entry("tmp", 0o041_777, (0, 0), ""),
            ]
        );
    }
}
