//! The archive that puts files where a `COPY` wants them.

use super::tree::{Kind, Node, Tree};
use std::io::{self, Write};
use tar::{Builder, EntryType, Header};

/// Longest name and link target that the classic header holds.
const FIELD: usize = 100;

/// Owner and mode of what is copied.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    /// Instead of the source's.
    pub owner: Option<(u32, u32)>,
    /// Instead of the source's; not for links.
    pub mode: Option<u32>,
}

/// Writes entries one by one.
pub(crate) struct TreeWriter<W: Write> {
    tar: Builder<W>,
    look: Look,
}

impl<W: Write> TreeWriter<W> {
    pub(crate) fn new(to: W, look: Look) -> Self {
        Self { tar: Builder::new(to), look }
    }

    /// A folder that is made, not copied.
    pub(crate) fn folder(&mut self, path: &str, mode: u32) -> io::Result<()> {
        let now = jiff::Timestamp::now();
        let node = Node { kind: Kind::Folder, mode, modified: (now.as_second(), 0), ..Node::folder() };
        self.put(path, &node, None)
    }

    /// One node of a tree under another path.
    pub(crate) fn copy(&mut self, tree: &Tree, node: &Node, path: &str) -> io::Result<()> {
        self.put(path, node, Some(tree))
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        self.tar.into_inner()?.flush()
    }

    fn put(&mut self, path: &str, node: &Node, tree: Option<&Tree>) -> io::Result<()> {
        let mut header = Header::new_ustar();
        let mut path = path.trim_start_matches('/').to_owned();
        let (kind, length) = match &node.kind {
            Kind::Folder => (EntryType::Directory, 0),
            Kind::File { length, .. } => (EntryType::Regular, *length),
            Kind::Link(_) => (EntryType::Symlink, 0),
            Kind::Special(kind, ..) => (EntryType::new(*kind), 0),
        };
        if kind.is_dir() {
            path.push('/');
        }
        header.set_entry_type(kind);
        header.set_mode(self.look.mode.filter(|_| !kind.is_symlink()).unwrap_or(node.mode));
        let (user, group) = self.look.owner.unwrap_or(node.owner);
        header.set_uid(user.into());
        header.set_gid(group.into());
        header.set_size(length);
        let (seconds, nanoseconds) = node.modified;
        header.set_mtime(u64::try_from(seconds).unwrap_or(0));
        if let Kind::Special(_, major, minor) = node.kind {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
        }
        let mut more: Vec<(String, Vec<u8>)> = Vec::new();
        if nanoseconds != 0 {
            more.push(("mtime".to_owned(), format!("{seconds}.{nanoseconds:09}").into_bytes()));
        }
        let old = header.as_old_mut();
        if !fill(&mut old.name, &path) {
            more.push(("path".to_owned(), path.into_bytes()));
        }
        if let Kind::Link(target) = &node.kind
            && !fill(&mut old.linkname, target)
        {
            more.push(("linkpath".to_owned(), target.clone().into_bytes()));
        }
        more.extend(
            node.attributes.iter().map(|(key, value)| (format!("SCHILY.xattr.{key}"), value.clone())),
        );
        header.set_cksum();
        self.tar.append_pax_extensions(more.iter().map(|(key, value)| (key.as_str(), value.as_slice())))?;
        match (&node.kind, tree) {
            (Kind::File { offset, length }, Some(tree)) => {
                self.tar.append(&header, tree.content(*offset, *length))
            }
            _ => self.tar.append(&header, io::empty()),
        }
    }
}

/// Whether the text fits and is plain.
fn fill(field: &mut [u8; FIELD], text: &str) -> bool {
    let length = text.len().min(FIELD);
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
    text.len() <= FIELD && text.is_ascii()
}
