//! Clients' folders as far as builds have seen them. A pack holds contents one after the other and only ever
//! grows, so what has not changed since the last build of the same folder is not sent again.

use super::client::{BuildClient, EntryKind, FileEntry, FileSink, FolderRequest};
use crate::{
    build::tree::{ENTRIES, Kind, Node, PATH, Tree, add_parents, clean},
    error::{EngineError, Result},
    id::random_id,
    image::config::digest,
};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Folders that are remembered.
const REMEMBERED: usize = 16;
/// Bytes that a pack may have more than twice what is in use before it is begun anew.
const SLACK: u64 = 64 << 20;

/// As archives call it.
pub(super) const FIFO: u8 = b'6';

/// The folders that builds have seen.
#[derive(Debug)]
pub(in crate::build) struct Mirrors {
    folder: PathBuf,
    /// The last used last.
    seen: Mutex<Vec<Remembered>>,
}

/// One folder; the lock is held while it is brought up to date.
type Slot = Arc<tokio::sync::Mutex<Option<Seen>>>;

#[derive(Debug)]
struct Seen {
    pack: File,
    length: u64,
    tree: Arc<Tree>,
}

/// One that is remembered.
#[derive(Debug)]
struct Remembered {
    key: String,
    /// As the client calls it.
    folder: String,
    created: Timestamp,
    /// Seconds since the epoch.
    used_at: i64,
    uses: u64,
    slot: Slot,
}

/// A folder as `docker buildx du` shows it.
#[derive(Debug)]
pub(super) struct MirrorUsage {
    pub(super) key: String,
    /// As the client calls it.
    pub(super) folder: String,
    pub(super) size: u64,
    pub(super) created: Timestamp,
    /// Seconds since the epoch.
    pub(super) used_at: i64,
    pub(super) uses: u64,
    pub(super) in_use: bool,
}

/// What bringing a folder up to date took.
#[derive(Debug)]
pub(super) struct Synced {
    pub(super) tree: Arc<Tree>,
    /// Bytes that were sent.
    pub(super) sent: u64,
}

impl Mirrors {
    pub(in crate::build) fn new(folder: PathBuf) -> Self {
        Self { folder, seen: Mutex::default() }
    }

    /// The client's folder as it is now.
    pub(super) async fn sync(&self, client: &dyn BuildClient, request: FolderRequest) -> Result<Synced> {
        let slot = match client.shared_key() {
            "" => Slot::default(),
            key => self.slot(key, &request.name),
        };
        self.fill(slot, client, request).await
    }

    /// A small part of a folder, which is not remembered.
    pub(super) async fn peek(&self, client: &dyn BuildClient, request: FolderRequest) -> Result<Synced> {
        self.fill(Slot::default(), client, request).await
    }

    async fn fill(&self, slot: Slot, client: &dyn BuildClient, request: FolderRequest) -> Result<Synced> {
        let mut seen = slot.lock().await;
        let mut mirror = Mirror::after(seen.take(), &self.folder)?;
        client.files(request, &mut mirror).await?;
        let sent = mirror.sent;
        let done = mirror.finish()?;
        let tree = Arc::clone(&done.tree);
        *seen = Some(done);
        Ok(Synced { tree, sent })
    }

    fn slot(&self, client: &str, folder: &str) -> Slot {
        let now = Timestamp::now();
        let key = digest(format!("{client} {folder}").as_bytes());
        let mut seen = self.seen();
        let known = seen.iter().position(|known| known.key == key).map(|position| seen.remove(position));
        let folder = folder.to_owned();
        let mut known = known.unwrap_or_else(|| {
            let slot = Slot::default();
            Remembered { key, folder, created: now, used_at: 0, uses: 0, slot }
        });
        (known.used_at, known.uses) = (now.as_second(), known.uses + 1);
        let slot = Arc::clone(&known.slot);
        if seen.len() >= REMEMBERED {
            seen.remove(0);
        }
        seen.push(known);
        slot
    }

    /// Those that are remembered.
    pub(super) fn list(&self) -> Vec<MirrorUsage> {
        let usage = |known: &Remembered| {
            let seen = known.slot.try_lock();
            MirrorUsage {
                key: known.key.clone(),
                folder: known.folder.clone(),
                size: seen.as_ref().ok().and_then(|seen| seen.as_ref()).map_or(0, |seen| seen.length),
                created: known.created,
                used_at: known.used_at,
                uses: known.uses,
                in_use: seen.is_err(),
            }
        };
        self.seen().iter().map(usage).collect()
    }

    /// Forgets some of those that no build uses right now; says how many bytes that freed.
    pub(super) fn remove(&self, is_doomed: impl Fn(&str) -> bool) -> u64 {
        let mut freed = 0;
        self.seen().retain(|known| {
            let Ok(seen) = known.slot.try_lock() else { return true };
            if !is_doomed(&known.key) {
                return true;
            }
            freed += seen.as_ref().map_or(0, |seen| seen.length);
            false
        });
        freed
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Remembered>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A folder that is coming in.
struct Mirror {
    pack: File,
    length: u64,
    earlier: Option<Arc<Tree>>,
    nodes: BTreeMap<String, Node>,
    count: u32,
    /// Contents on their way, by the number of their entry: where they go, how much there is, how much is to be.
    coming: HashMap<u32, (u64, u64, u64)>,
    sent: u64,
}

impl Mirror {
    fn after(seen: Option<Seen>, folder: &Path) -> Result<Self> {
        let kept = seen.filter(|seen| seen.length <= 2 * seen.tree.size() + SLACK);
        let (pack, length, earlier) = match kept {
            Some(seen) => (seen.pack, seen.length, Some(seen.tree)),
            None => (new_pack(folder)?, 0, None),
        };
        Ok(Self { pack, length, earlier, nodes: BTreeMap::new(), count: 0, coming: HashMap::new(), sent: 0 })
    }

    fn finish(self) -> Result<Seen> {
        if !self.coming.is_empty() {
            return Err(EngineError::invalid("The build context ended early"));
        }
        let pack = self.pack.try_clone().map_err(unkept)?;
        let tree = Arc::new(Tree::of(pack, self.nodes, self.earlier.as_deref()));
        Ok(Seen { pack: self.pack, length: self.length, tree })
    }
}

impl FileSink for Mirror {
    fn entry(&mut self, entry: FileEntry) -> Result<bool> {
        let number = self.count;
        self.count += 1;
        let path = clean(&entry.path);
        if path.is_empty() {
            return Ok(false);
        }
        if self.nodes.len() > ENTRIES || path.len() > PATH {
            return Err(EngineError::invalid("The build context has too many files, or too long names"));
        }
        let modified = (
            entry.modified.div_euclid(1_000_000_000),
            u32::try_from(entry.modified.rem_euclid(1_000_000_000)).unwrap_or(0),
        );
        let attributes = entry.attributes;
        let mut node = Node { mode: entry.mode, modified, attributes, ..Node::folder() };
        let mut wanted = false;
        match entry.kind {
            EntryKind::Folder => {}
            EntryKind::Link { target } => node.kind = Kind::Link(target),
            EntryKind::Fifo => node.kind = Kind::Special(FIFO, 0, 0),
            EntryKind::Other => return Ok(false),
            EntryKind::SameAs { path: first } => match self.nodes.get(&clean(&first)) {
                Some(first) => node = first.clone(),
                None => return Err(EngineError::invalid(format!("{path}: a link to nothing"))),
            },
            EntryKind::File { length } => {
                let known = self.earlier.as_ref().and_then(|earlier| earlier.get(&path));
                node.kind = match known {
                    Some(Node { kind: Kind::File { offset, length: known }, modified, .. })
                        if *known == length && *modified == node.modified =>
                    {
                        Kind::File { offset: *offset, length }
                    }
                    _ => {
                        let offset = self.length;
                        self.length += length;
                        wanted = length > 0;
                        if wanted {
                            self.coming.insert(number, (offset, 0, length));
                        }
                        Kind::File { offset, length }
                    }
                };
            }
        }
        add_parents(&mut self.nodes, &path);
        self.nodes.insert(path, node);
        Ok(wanted)
    }

    fn content(&mut self, number: u32, bytes: &[u8]) -> Result<()> {
        let Some((offset, there, length)) = self.coming.get_mut(&number) else {
            return Err(EngineError::invalid("The client sent a file that was not asked for"));
        };
        // A file that grew meanwhile is as long as it was when it was listed.
        let room = usize::try_from(*length - *there).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(room)];
        self.pack.write_all_at(bytes, *offset + *there).map_err(unkept)?;
        *there += bytes.len() as u64;
        self.sent += bytes.len() as u64;
        Ok(())
    }

    fn complete(&mut self, number: u32) -> Result<()> {
        let Some((offset, there, length)) = self.coming.remove(&number) else { return Ok(()) };
        if there < length {
            // It shrank: the rest is empty, as in an archive.
            let end = offset + length;
            let reached = self.pack.metadata().map_err(unkept)?.len();
            if reached < end {
                self.pack.set_len(end).map_err(unkept)?;
            }
        }
        Ok(())
    }
}

/// A file without a name: it goes with the last who holds it.
fn new_pack(folder: &Path) -> Result<File> {
    std::fs::create_dir_all(folder).map_err(unkept)?;
    let path = folder.join(random_id()?);
    let pack = File::options().read(true).write(true).create_new(true).open(&path).map_err(unkept)?;
    std::fs::remove_file(&path).map_err(unkept)?;
    Ok(pack)
}

fn unkept(error: io::Error) -> EngineError {
    EngineError::system("Could not keep the build context").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, length: u64, modified: i64) -> FileEntry {
        FileEntry {
            path: path.into(),
            kind: EntryKind::File { length },
            mode: 0o644,
            modified,
            ..FileEntry::default()
        }
    }

    #[test]
    fn what_is_remembered_is_told_and_can_be_forgotten() {
        let mirrors = Mirrors::new("/nowhere".into());
        let held = mirrors.slot("client", "context");
        mirrors.slot("client", "dockerfile");
        mirrors.slot("client", "context");
        let told: Vec<_> = mirrors.list().into_iter().map(|mirror| (mirror.folder, mirror.uses)).collect();
        assert_eq!(told, [("dockerfile".to_owned(), 1), ("context".to_owned(), 2)]);
        let guard = held.try_lock().unwrap();
        assert!(mirrors.list()[1].in_use);
        mirrors.remove(|_| true);
        assert_eq!(mirrors.list().len(), 1, "one is in use");
        drop(guard);
        mirrors.remove(|_| true);
        assert!(mirrors.list().is_empty());
    }

    #[test]
    fn only_what_changed_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Mirror::after(None, folder.path()).unwrap();
        assert!(first.entry(file("a", 3, 1)).unwrap());
        assert!(first.entry(file("d/b", 2, 1)).unwrap());
        // In pieces, and side by side.
        first.content(1, b"x").unwrap();
        first.content(0, b"abc!").unwrap();
        first.content(1, b"y").unwrap();
        first.complete(0).unwrap();
        first.complete(1).unwrap();
        let seen = first.finish().unwrap();
        assert_eq!(seen.tree.text("d/b", 9).unwrap().as_deref(), Some("xy"));
        let mut second = Mirror::after(Some(seen), folder.path()).unwrap();
        assert!(!second.entry(file("a", 3, 1)).unwrap(), "unchanged");
        assert!(second.entry(file("d/b", 2, 2)).unwrap(), "touched");
        second.content(1, b"zz").unwrap();
        second.complete(1).unwrap();
        let tree = second.finish().unwrap().tree;
        assert_eq!(tree.text("a", 9).unwrap().as_deref(), Some("abc"));
        assert_eq!(tree.text("d/b", 9).unwrap().as_deref(), Some("zz"));
    }

    #[test]
    fn a_context_that_breaks_off_is_no_context() {
        let folder = tempfile::tempdir().unwrap();
        let mut mirror = Mirror::after(None, folder.path()).unwrap();
        mirror.entry(file("../../a", 3, 1)).unwrap();
        mirror.content(0, b"a").unwrap();
        assert!(mirror.nodes.contains_key("a"), "names climb no higher than the root");
        assert!(mirror.finish().is_err());
    }
}
