//! Files to copy from: an archive on disk with its index in memory. Never unpacked, so neither its names nor
//! its links can reach anything of this machine.

use super::ignore::Ignore;
use crate::{
    error::{EngineError, Result},
    pax::{PaxReader, PaxRecord},
};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, PoisonError},
};
use tar::{Archive, EntryType};

/// Entries of one archive, and bytes of one path.
pub(crate) const ENTRIES: usize = 2_000_000;
pub(crate) const PATH: usize = 4096;
/// Links that may lead to links.
const LINK_DEPTH: usize = 40;

/// An archive with its index.
#[derive(Debug)]
pub(crate) struct Tree {
    archive: File,
    /// By path without a slash in front; the root is the empty path.
    nodes: BTreeMap<String, Node>,
    /// Hashes of contents that were asked for, by where these stand: nothing there ever changes.
    hashes: Arc<Mutex<HashMap<u64, [u8; 32]>>>,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub kind: Kind,
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// Seconds and nanoseconds.
    pub modified: (i64, u32),
    /// Extended attributes.
    pub attributes: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    /// Where its content stands in the archive, and how long it is.
    File {
        offset: u64,
        length: u64,
    },
    Link(String),
    /// A device or FIFO: type flag and numbers.
    Special(u8, u32, u32),
}

impl Tree {
    /// Reads the index of an uncompressed archive. Blocking.
    pub(crate) fn open(archive: File) -> Result<Self> {
        let mut nodes = BTreeMap::new();
        nodes.insert(String::new(), Node::folder());
        let reader = io::BufReader::with_capacity(64 * 1024, archive.try_clone().map_err(unreadable)?);
        let reader = PaxReader::new(reader);
        let pax = reader.records();
        let mut tar = Archive::new(reader);
        for entry in tar.entries_with_seek().map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let kind = entry.header().entry_type();
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            let shown = text(pax.value("path").unwrap_or_else(|| entry.path_bytes().into_owned()));
            let path = clean(&shown);
            if nodes.len() > ENTRIES || path.len() > PATH {
                return Err(EngineError::invalid("The build context has too many files, or too long names"));
            }
            let attributes = attributes(pax.of_entry());
            let header = entry.header();
            let seconds = i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0);
            let number = |id: io::Result<u64>| u32::try_from(id.unwrap_or(0)).unwrap_or(0);
            let owner = (
                attributes.user.unwrap_or_else(|| number(header.uid())),
                attributes.group.unwrap_or_else(|| number(header.gid())),
            );
            let mut node = Node {
                kind: Kind::Folder,
                mode: header.mode().map_err(unreadable)? & 0o7777,
                modified: attributes.modified.unwrap_or((seconds, 0)),
                owner,
                attributes: attributes.extended,
            };
            let target =
                pax.value("linkpath").or_else(|| Some(entry.link_name_bytes()?.into_owned())).map(text);
            node.kind = match kind {
                EntryType::Directory => Kind::Folder,
                EntryType::Symlink => Kind::Link(target.unwrap_or_default()),
                EntryType::Link => match nodes.get(&clean(&target.unwrap_or_default())) {
                    Some(first) => {
                        let first: &Node = first;
                        let first = first.clone();
                        nodes.insert(path, first);
                        continue;
                    }
                    None => return Err(EngineError::invalid(format!("{shown}: a link to nothing"))),
                },
                EntryType::Char | EntryType::Block | EntryType::Fifo => {
                    let number = |part: io::Result<Option<u32>>| part.ok().flatten().unwrap_or(0);
                    Kind::Special(
                        kind.as_byte(),
                        number(header.device_major()),
                        number(header.device_minor()),
                    )
                }
                EntryType::GNUSparse => {
                    return Err(EngineError::invalid(format!("{shown}: sparse files cannot be copied")));
                }
                EntryType::XGlobalHeader => continue,
                _ => Kind::File { offset: entry.raw_file_position(), length: entry.size() },
            };
            add_parents(&mut nodes, &path);
            if path.is_empty() {
                node.kind = Kind::Folder;
            }
            nodes.insert(path, node);
        }
        Ok(Self { archive, nodes, hashes: Arc::default() })
    }

    /// A tree of what `nodes` says, whose contents stand in `pack`. Hashes of `earlier`, a tree in the same
    /// pack, are kept.
    pub(crate) fn of(pack: File, mut nodes: BTreeMap<String, Node>, earlier: Option<&Self>) -> Self {
        nodes.entry(String::new()).or_insert_with(Node::folder);
        let hashes = earlier.map(|earlier| Arc::clone(&earlier.hashes)).unwrap_or_default();
        Self { archive: pack, nodes, hashes }
    }

    /// Bytes of all files.
    pub(crate) fn size(&self) -> u64 {
        let length = |node: &Node| if let Kind::File { length, .. } = node.kind { length } else { 0 };
        self.nodes.values().map(length).sum()
    }

    /// The node at a path, no link followed.
    pub(crate) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Everything is root's, whosever it was elsewhere.
    pub(crate) fn disown(&mut self) {
        for node in self.nodes.values_mut() {
            node.owner = (0, 0);
        }
    }

    /// Leaves a file out.
    pub(crate) fn forget(&mut self, path: &str) {
        self.nodes.remove(path);
    }

    /// Every path, in order.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// The path without links, none of which leads out; `None` when nothing is there.
    pub(crate) fn resolve(&self, path: &str) -> Option<String> {
        let mut todo: Vec<String> = clean(path).split('/').rev().map(str::to_owned).collect();
        let mut reached = String::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    reached.truncate(reached.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let next = if reached.is_empty() { part } else { format!("{reached}/{part}") };
            match &self.nodes.get(&next)?.kind {
                Kind::Link(target) => {
                    links += 1;
                    if links > LINK_DEPTH {
                        return None;
                    }
                    if target.starts_with('/') {
                        reached.clear();
                    }
                    todo.extend(target.split('/').rev().map(str::to_owned));
                }
                _ => reached = next,
            }
        }
        Some(reached)
    }

    /// Everything in a folder, at any depth, with paths relative to it.
    pub(crate) fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a Node)> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let skip = prefix.len();
        self.nodes
            .range(prefix.clone()..)
            .take_while(move |(path, _)| path.starts_with(&prefix))
            .filter(|(path, _)| !path.is_empty())
            .map(move |(path, node)| (&path[skip..], node))
    }

    /// A file's content.
    pub(crate) fn content(&self, offset: u64, length: u64) -> impl Read + '_ {
        Content { archive: &self.archive, offset, left: length }
    }

    /// A small file as text; `None` when there is none. Blocking.
    pub(crate) fn text(&self, path: &str, limit: u64) -> Result<Option<String>> {
        let Some(node) = self.resolve(path).and_then(|path| self.nodes.get(&path)) else { return Ok(None) };
        let Kind::File { offset, length } = node.kind else { return Ok(None) };
        if length > limit {
            return Err(EngineError::invalid(format!("{path} is larger than {limit} bytes")));
        }
        let mut bytes = Vec::new();
        self.content(offset, length).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The plain hash of a file's content, in hexadecimal. Blocking.
    pub(crate) fn content_hash(&self, path: &str) -> Result<String> {
        let Some(Node { kind: Kind::File { offset, length }, .. }) = self.nodes.get(path) else {
            return Err(EngineError::invalid(format!("{path} is not a file")));
        };
        let hash = self.hash(*offset, *length)?;
        Ok(crate::image::config::named(&hash).split_off("sha256:".len()))
    }

    /// A hash of what copying `path` without `exclude` copies: names, modes, attributes and contents, but not
    /// times. Blocking.
    pub(crate) fn checksum(&self, path: &str, exclude: &Ignore) -> Result<String> {
        let mut hash = Sha256::new();
        if let Some(node) = self.nodes.get(path) {
            self.add(&mut hash, "", node)?;
            if node.kind == Kind::Folder {
                for (name, node) in self.below(path).filter(|(name, _)| !exclude.matches(name)) {
                    self.add(&mut hash, name, node)?;
                }
            }
        }
        Ok(crate::image::config::named(&hash.finalize()).split_off("sha256:".len()))
    }

    fn add(&self, hash: &mut Sha256, name: &str, node: &Node) -> Result<()> {
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        field(name.as_bytes());
        field(&node.mode.to_le_bytes());
        if node.owner != (0, 0) {
            field(format!("{}:{}", node.owner.0, node.owner.1).as_bytes());
        }
        for (key, value) in &node.attributes {
            field(key.as_bytes());
            field(value);
        }
        match &node.kind {
            Kind::Folder => field(b"5"),
            Kind::Link(target) => field(format!("2{target}").as_bytes()),
            Kind::Special(kind, major, minor) => field(format!("{kind} {major} {minor}").as_bytes()),
            Kind::File { offset, length } => {
                field(format!("0{length}").as_bytes());
                field(&self.hash(*offset, *length)?);
            }
        }
        Ok(())
    }

    /// The hash of a file's content.
    fn hash(&self, offset: u64, length: u64) -> Result<[u8; 32]> {
        let known = self.hashes.lock().unwrap_or_else(PoisonError::into_inner).get(&offset).copied();
        if let Some(hash) = known.filter(|_| length > 0) {
            return Ok(hash);
        }
        let mut hash = Sha256::new();
        let mut content = self.content(offset, length);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = content.read(&mut buffer).map_err(unreadable)?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
        }
        let hash: [u8; 32] = hash.finalize().into();
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner).insert(offset, hash);
        Ok(hash)
    }
}

impl Node {
    /// One that nobody said anything about.
    pub(crate) fn folder() -> Self {
        Self { kind: Kind::Folder, mode: 0o755, owner: (0, 0), modified: (0, 0), attributes: Vec::new() }
    }
}

struct Content<'a> {
    archive: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.archive.read_at(&mut buffer[..wanted], self.offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

#[derive(Default)]
struct Attributes {
    modified: Option<(i64, u32)>,
    extended: Vec<(String, Vec<u8>)>,
    user: Option<u32>,
    group: Option<u32>,
}

fn attributes(pax: Vec<PaxRecord>) -> Attributes {
    let mut found = Attributes::default();
    for (key, value) in pax {
        if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
            found.extended.push((name.to_owned(), value));
        } else if let ("uid" | "gid", Some(number)) = (key.as_str(), decimal(&value)) {
            let place = if key == "uid" { &mut found.user } else { &mut found.group };
            *place = Some(number);
        } else if key == "mtime"
            && let Ok(text) = std::str::from_utf8(&value)
        {
            let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
            let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
            found.modified = seconds.parse().ok().zip(digits.parse().ok());
        }
    }
    found.extended.sort();
    found
}

fn decimal(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Folders that nobody said anything about are new.
pub(crate) fn add_parents(nodes: &mut BTreeMap<String, Node>, path: &str) {
    let now = jiff::Timestamp::now().as_second();
    let mut end = path;
    while let Some((parent, _)) = end.rsplit_once('/') {
        if nodes.contains_key(parent) {
            break;
        }
        nodes.insert(parent.to_owned(), Node { modified: (now, 0), ..Node::folder() });
        end = parent;
    }
}

/// The path from the root, climbing no higher.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn unreadable(error: io::Error) -> EngineError {
    EngineError::invalid("Could not read the archive").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn tree(entries: &[(&str, &str)]) -> Tree {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            if let Some(target) = content.strip_prefix("->") {
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                tar.append_link(&mut header, path, target).unwrap();
            } else {
                header.set_size(content.len() as u64);
                tar.append_data(&mut header, path, content.as_bytes()).unwrap();
            }
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&tar.into_inner().unwrap()).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        Tree::open(file).unwrap()
    }

    #[test]
    fn links_stay_inside() {
        let tree = tree(&[
            ("a/b/c", "x"),
            ("l", "->a/b"),
            ("out", "->../../a"),
            ("abs", "->/a/b/c"),
            ("me", "->me"),
        ]);
        assert_eq!(tree.resolve("/l/c").as_deref(), Some("a/b/c"));
        assert_eq!(tree.resolve("out/b").as_deref(), Some("a/b"));
        assert_eq!(tree.resolve("abs").as_deref(), Some("a/b/c"));
        assert_eq!(tree.resolve("../../a").as_deref(), Some("a"));
        assert_eq!((tree.resolve("me"), tree.resolve("nope")), (None, None));
        assert_eq!(tree.below("a").map(|(path, _)| path).collect::<Vec<_>>(), ["b", "b/c"]);
        assert_eq!(tree.text("l/c", 10).unwrap().as_deref(), Some("x"));
    }

    #[test]
    fn checksums_know_names_and_contents() {
        let one = tree(&[("d/a", "x"), ("e/a", "x"), ("f/b", "x"), ("g/a", "y")]);
        let sum = |path: &str| one.checksum(path, &Ignore::default()).unwrap();
        assert_eq!(sum("d"), sum("e"));
        assert_ne!(sum("d"), sum("f"));
        assert_ne!(sum("d"), sum("g"));
        assert_eq!(sum("d/a"), sum("f/b"), "a file by itself has no name");
    }
}
