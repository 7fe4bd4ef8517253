//! Walking an image archive, in whatever order its entries come.
//!
//! Nothing in it is trusted: names are keys of a map and never paths on this machine, what is kept in
//! memory is bounded, and extended headers are read within limits.

use crate::{
    compression::Compression,
    error::{EngineError, Result},
    image::config::named,
    pax::PaxReader,
    ports::LayerInfo,
};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    io::{self, Cursor, Read},
};
use tar::{Archive, EntryType};

/// A tar block; also what recognising needs to see.
const BLOCK: usize = 512;
/// Bytes of one manifest or configuration, and of all of them together.
const SMALL: u64 = 4 << 20;
const ALL_SMALL: u64 = 64 << 20;
/// Entries of one archive.
const ENTRIES: usize = 100_000;
/// Links that may point at links.
const LINK_DEPTH: usize = 8;

/// What was in an archive.
#[derive(Debug, Default)]
pub(super) struct Contents {
    entries: HashMap<String, Entry>,
    small: u64,
}

#[derive(Debug)]
enum Entry {
    /// Manifests and configurations.
    Small(Vec<u8>),
    /// A layer, by now in the layer store.
    Layer(LayerInfo),
    /// Another entry of the archive.
    Link(String),
    /// Something that cannot be used, and why.
    Unusable(String),
}

impl Contents {
    /// Reads the whole archive and hands every layer to `add_layer` as it comes by.
    pub(super) fn read(
        source: impl Read,
        mut add_layer: impl FnMut(&mut dyn Read) -> Result<LayerInfo>,
    ) -> Result<Self> {
        let mut source = decompressed(source)?;
        let mut contents = Self::default();
        let mut archive = Archive::new(PaxReader::new(&mut source));
        for (number, entry) in archive.entries().map_err(unreadable)?.enumerate() {
            let mut entry = entry.map_err(unreadable)?;
            if number >= ENTRIES {
                return Err(invalid(format!("more than {ENTRIES} entries")));
            }
            let kind = entry.header().entry_type();
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            match kind {
                EntryType::Regular | EntryType::Continuous => {
                    let (path, size) = (normalise(&name)?, entry.size());
                    let found = contents.file(&path, size, &mut entry, &mut add_layer)?;
                    contents.entries.insert(path, found);
                }
                EntryType::Symlink | EntryType::Link => {
                    let path = normalise(&name)?;
                    let link = entry.link_name_bytes().unwrap_or_default();
                    let link = String::from_utf8_lossy(&link).into_owned();
                    let target = match (kind, path.rsplit_once('/')) {
                        (EntryType::Symlink, Some((folder, _))) => format!("{folder}/{link}"),
                        _ => link,
                    };
                    contents.entries.insert(path, Entry::Link(normalise(&target)?));
                }
                EntryType::GNUSparse => return Err(invalid(format!("{name:?} is a sparse file"))),
                _ => {}
            }
        }
        drop(archive);
        // What follows the end of the tar: the sender must be able to finish.
        io::copy(&mut source, &mut io::sink()).map_err(unreadable)?;
        Ok(contents)
    }

    /// A manifest or configuration; `None` when there is no such entry.
    pub(super) fn small(&self, path: &str) -> Result<Option<&[u8]>> {
        match self.find(path)? {
            None => Ok(None),
            Some(Entry::Small(bytes)) => Ok(Some(bytes)),
            Some(Entry::Unusable(why)) => Err(invalid(format!("{path:?} {why}"))),
            Some(_) => Err(invalid(format!("{path:?} is not a JSON document"))),
        }
    }

    /// A layer; `None` when there is no such entry.
    pub(super) fn layer(&self, path: &str) -> Result<Option<&LayerInfo>> {
        match self.find(path)? {
            None => Ok(None),
            Some(Entry::Layer(layer)) => Ok(Some(layer)),
            Some(Entry::Unusable(why)) => Err(invalid(format!("{path:?} {why}"))),
            Some(_) => Err(invalid(format!("{path:?} is not a layer"))),
        }
    }

    fn find(&self, path: &str) -> Result<Option<&Entry>> {
        let mut path = normalise(path)?;
        for _ in 0..LINK_DEPTH {
            match self.entries.get(&path) {
                Some(Entry::Link(target)) => path.clone_from(target),
                found => return Ok(found),
            }
        }
        Err(invalid(format!("{path:?} is a link in a circle")))
    }

    fn file(
        &mut self,
        path: &str,
        size: u64,
        source: &mut dyn Read,
        add_layer: &mut impl FnMut(&mut dyn Read) -> Result<LayerInfo>,
    ) -> Result<Entry> {
        let mut source = Hashed { inner: source, hash: Sha256::new(), length: 0 };
        let head = read_head(&mut source).map_err(unreadable)?;
        let format = Format::of(&head);
        let mut rest = Cursor::new(head).chain(&mut source);
        let entry = match format {
            Format::Other if size > SMALL => {
                Entry::Unusable("is neither a layer nor a JSON document".to_owned())
            }
            Format::Other => {
                self.small += size;
                if self.small > ALL_SMALL {
                    return Err(invalid("too many documents"));
                }
                let mut bytes = Vec::new();
                rest.read_to_end(&mut bytes).map_err(unreadable)?;
                Entry::Small(bytes)
            }
            Format::Tar | Format::Compressed(_) => {
                let added = match format.decoder(&mut rest) {
                    Ok(mut layer) => add_layer(&mut layer),
                    Err(error) => Err(unreadable(error)),
                };
                match added {
                    Ok(layer) => Entry::Layer(layer),
                    // Not necessarily fatal: it may be something that no manifest asks for.
                    Err(error) if error.kind() == crate::ErrorKind::InvalidParameter => {
                        Entry::Unusable(format!("is not a usable layer: {error}"))
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        // Whatever the decoder left: the hash is of the whole entry.
        io::copy(&mut rest, &mut io::sink()).map_err(unreadable)?;
        if source.length != size {
            return Err(invalid(format!("{path:?} ends early")));
        }
        let (is, says) = (named(source.hash.finalize().as_ref()), path.strip_prefix("blobs/sha256/"));
        match says {
            Some(hex) if is.strip_prefix("sha256:") != Some(hex) => {
                Err(invalid(format!("blob sha256:{hex} is damaged: its content is {is}")))
            }
            _ => Ok(entry),
        }
    }
}

#[derive(Clone, Copy)]
enum Format {
    Tar,
    Compressed(Compression),
    Other,
}

impl Format {
    fn of(head: &[u8]) -> Self {
        match Compression::of(head) {
            Some(compression) => Self::Compressed(compression),
            None if is_tar_block(head) => Self::Tar,
            None => Self::Other,
        }
    }

    fn decoder<'a>(self, source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        match self {
            Self::Compressed(compression) => compression.decoder(source),
            Self::Tar | Self::Other => Ok(Box::new(source)),
        }
    }
}

/// A header whose checksum is right, or the zeros that end (and, alone, are) an empty tar.
fn is_tar_block(head: &[u8]) -> bool {
    if head.len() < BLOCK {
        return false;
    }
    if head.iter().all(|&b| b == 0) {
        return true;
    }
    let field = String::from_utf8_lossy(&head[148..156]).into_owned();
    let stated = u32::from_str_radix(field.trim_matches(|c: char| c == '\0' || c == ' '), 8);
    let computed: u32 =
        head.iter().enumerate().map(|(n, &b)| if (148..156).contains(&n) { 32 } else { u32::from(b) }).sum();
    stated == Ok(computed)
}

pub(crate) fn decompressed<'a>(mut source: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let head = read_head(&mut source).map_err(unreadable)?;
    let format = Format::of(&head);
    let whole = Cursor::new(head).chain(source);
    match format {
        Format::Other => Err(invalid("it is not a tar archive")),
        format => format.decoder(whole).map_err(unreadable),
    }
}

fn read_head(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(BLOCK);
    source.take(BLOCK as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// `./a//b/../c` → `a/c`. Names that would lead out of the archive are refused.
fn normalise(path: &str) -> Result<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Err(invalid(format!("{path:?} leads out of the archive")));
                }
            }
            _ => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

fn invalid(why: impl std::fmt::Display) -> EngineError {
    EngineError::invalid(format!("invalid archive: {why}"))
}

fn unreadable(error: io::Error) -> EngineError {
    EngineError::invalid("invalid archive").because(error)
}

/// Hashes and counts what is read.
struct Hashed<R> {
    inner: R,
    hash: Sha256,
    length: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
        self.length += n as u64;
        Ok(n)
    }
}
