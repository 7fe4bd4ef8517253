//! The archive that puts files where a `COPY` wants them.

use super::{
    chmod::Chmod,
    tree::{Kind, Node, Tree},
};
use std::{
    collections::HashMap,
    io::{self, Write},
};
use tar::{Builder, EntryType, Header};

/// Longest name and link target that the classic header holds.
const FIELD: usize = 100;

/// Owner and mode of what is copied.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look<'a> {
    /// Instead of the source's.
    pub owner: Option<(u32, u32)>,
    /// Changes the source's; not for links.
    pub mode: Option<&'a Chmod>,
}

/// Writes entries one by one.
pub(crate) struct TreeWriter<W: Write> {
    tar: Builder<W>,
    /// First names of what is copied together, by where the content stands.
    links: HashMap<u64, String>,
}

impl<W: Write> TreeWriter<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { tar: Builder::new(to), links: HashMap::new() }
    }

    /// A folder that is made, not copied: now, unless a moment is given.
    pub(crate) fn folder(
        &mut self,
        path: &str,
        owner: Option<(u32, u32)>,
        modified: Option<(i64, u32)>,
    ) -> io::Result<()> {
        let modified = modified.unwrap_or_else(|| (jiff::Timestamp::now().as_second(), 0));
        let node = Node { owner: owner.unwrap_or_default(), modified, ..Node::folder() };
        self.put(path, &node, Look::default(), None)
    }

    /// One node of a tree under another path. Names that are one file stay one.
    pub(crate) fn copy(&mut self, tree: &Tree, node: &Node, path: &str, look: Look<'_>) -> io::Result<()> {
        self.put(path, node, look, Some(tree))
    }

    /// What comes now is copied by itself: no name of it is one with an earlier name.
    pub(crate) fn apart(&mut self) {
        self.links.clear();
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        self.tar.into_inner()?.flush()
    }

    fn put(&mut self, path: &str, node: &Node, look: Look<'_>, tree: Option<&Tree>) -> io::Result<()> {
        let mut header = Header::new_ustar();
        let mut path = path.trim_start_matches('/').to_owned();
        let first = match node.kind {
            Kind::File { offset, length: 1.. } => self.links.get(&offset).cloned(),
            _ => None,
        };
        let (kind, length) = match (&node.kind, &first) {
            (Kind::File { .. }, Some(_)) => (EntryType::Link, 0),
            (Kind::Folder, _) => (EntryType::Directory, 0),
            (Kind::File { length, .. }, None) => (EntryType::Regular, *length),
            (Kind::Link(_), _) => (EntryType::Symlink, 0),
            (Kind::Special(kind, ..), _) => (EntryType::new(*kind), 0),
        };
        if let (Kind::File { offset, length: 1.. }, None) = (&node.kind, &first) {
            self.links.insert(*offset, path.clone());
        }
        if kind.is_dir() {
            path.push('/');
        }
        header.set_entry_type(kind);
        let change = look.mode.filter(|_| !kind.is_symlink());
        header.set_mode(change.map_or(node.mode, |change| change.apply(node.mode, kind.is_dir())));
        let (user, group) = look.owner.unwrap_or(node.owner);
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
        let target = match &node.kind {
            Kind::Link(target) => Some(target),
            _ => first.as_ref(),
        };
        if let Some(target) = target
            && !fill(&mut old.linkname, target)
        {
            more.push(("linkpath".to_owned(), target.clone().into_bytes()));
        }
        // Another name of a file has the attributes already.
        if first.is_none() {
            let named = |(key, value): &(String, Vec<u8>)| (format!("SCHILY.xattr.{key}"), value.clone());
            more.extend(node.attributes.iter().map(named));
        }
        header.set_cksum();
        self.tar.append_pax_extensions(more.iter().map(|(key, value)| (key.as_str(), value.as_slice())))?;
        match (&node.kind, tree) {
            (Kind::File { offset, length }, Some(tree)) if first.is_none() => {
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
