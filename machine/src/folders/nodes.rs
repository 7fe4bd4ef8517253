//! What the guest's kernel knows by number: a name in a folder, and which file was there.
//!
//! A file is held open (as a place, not for reading) only while there is room, so that a walk over a million
//! files costs no descriptors; otherwise its name is looked up again, one component at a time and without
//! following links, and must still be the same file.

use super::journal::{Entry, Journal};
use guest_contract::fuse::ROOT;
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags, openat, statx},
    io::Errno,
};
use std::{
    collections::{HashMap, VecDeque},
    ffi::{CStr, CString},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Names that lead deeper than this are a circle.
const DEEPEST: usize = 4096;

/// Which file it is: no other has ever been it, unless the file system keeps no times of birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) born: u64,
}

/// What the guest was told last of a file's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: (i64, u32),
    size: u64,
}

/// All nodes of one mount.
#[derive(Debug)]
pub(super) struct Nodes(Mutex<Table>);

#[derive(Debug)]
struct Table {
    root: Arc<OwnedFd>,
    nodes: HashMap<u64, Node>,
    numbers: HashMap<Identity, u64>,
    next: u64,
    /// Nodes that hold a descriptor, the longest unused first, more or less.
    held: VecDeque<u64>,
    most_held: usize,
    journal: Option<Journal>,
}

#[derive(Debug)]
struct Node {
    parent: u64,
    name: CString,
    identity: Identity,
    /// How often the guest has been given the number.
    lookups: u64,
    place: Option<Arc<OwnedFd>>,
    used: bool,
    told: Option<Stamp>,
}

impl Nodes {
    /// The nodes below `folder`, with those that the journal has.
    pub(super) fn open(folder: &Path, journal: Option<&Path>, most_held: usize) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = Arc::new(openat(CWD, folder, flags, Mode::empty())?);
        let mut table = Table {
            root,
            nodes: HashMap::new(),
            numbers: HashMap::new(),
            next: ROOT + 1,
            held: VecDeque::new(),
            most_held,
            journal: None,
        };
        if let Some(path) = journal {
            let mut opened = Journal::open(path, |entry| table.replay(entry))?;
            opened.keep_short(table.entries())?;
            table.journal = Some(opened);
        }
        Ok(Self(Mutex::new(table)))
    }

    /// The place of a node. [`Errno::STALE`] when its name is another file's by now: the guest's kernel then
    /// looks the name up again.
    pub(super) fn place(&self, number: u64) -> Result<Arc<OwnedFd>, Errno> {
        let (from, names, identity) = {
            let mut table = self.table();
            if number == ROOT {
                return Ok(table.root.clone());
            }
            let node = table.nodes.get_mut(&number).ok_or(Errno::STALE)?;
            node.used = true;
            if let Some(place) = &node.place {
                return Ok(place.clone());
            }
            let identity = node.identity;
            let (from, names) = table.way(number)?;
            (from, names, identity)
        };
        let mut place = from;
        for name in names.iter().rev() {
            place = Arc::new(open_place(&*place, name).map_err(|error| match error {
                Errno::NOENT | Errno::NOTDIR => Errno::STALE,
                other => other,
            })?);
        }
        if Identity::of(&stat(&*place)?) != identity {
            return Err(Errno::STALE);
        }
        self.table().hold(number, &place);
        Ok(place)
    }

    /// Gives out the number of what was found under a name; `describe` says what the guest is told of it.
    pub(super) fn enter_with<T>(
        &self,
        parent: u64,
        name: &CStr,
        place: OwnedFd,
        found: &Statx,
        describe: impl FnOnce(u64, &OwnedFd) -> T,
    ) -> T {
        let place = Arc::new(place);
        let number = {
            let mut table = self.table();
            let number = table.number(Identity::of(found), parent, name);
            if let Some(node) = table.nodes.get_mut(&number) {
                node.lookups = node.lookups.saturating_add(1);
                node.told = Some(Stamp::of(found));
                node.used = true;
            }
            table.hold(number, &place);
            number
        };
        describe(number, &place)
    }

    /// Whether a node's name is still the same file's. It may be another's by now, of a file that was put in its
    /// place, while the old one is held open here.
    pub(super) fn is_current(&self, number: u64) -> bool {
        if number == ROOT {
            return true;
        }
        let Some((parent, name, identity)) = ({
            let table = self.table();
            table.nodes.get(&number).map(|node| (node.parent, node.name.clone(), node.identity))
        }) else {
            return false;
        };
        let found = self.place(parent).and_then(|folder| open_place(&*folder, &name)).and_then(stat);
        found.is_ok_and(|found| Identity::of(&found) == identity)
    }

    /// A file has another name now. What the guest does not know needs no node.
    pub(super) fn moved(&self, found: &Statx, parent: u64, name: &CStr) {
        let identity = Identity::of(found);
        let mut table = self.table();
        if table.numbers.contains_key(&identity) {
            table.number(identity, parent, name);
        }
    }

    /// The guest gives a number back that it was given `count` times.
    pub(super) fn forget(&self, number: u64, count: u64) {
        let mut table = self.table();
        let Some(node) = table.nodes.get_mut(&number) else { return };
        node.lookups = node.lookups.saturating_sub(count);
        if node.lookups == 0 {
            let identity = node.identity;
            table.nodes.remove(&number);
            if table.numbers.get(&identity) == Some(&number) {
                table.numbers.remove(&identity);
            }
            table.note(&Entry::Gone(number));
        }
    }

    /// Remembers what the guest is told. Whether it was told something else before.
    pub(super) fn told(&self, number: u64, found: &Statx) -> bool {
        let stamp = Stamp::of(found);
        let mut table = self.table();
        let Some(node) = table.nodes.get_mut(&number) else { return false };
        node.told.replace(stamp).is_some_and(|before| before != stamp)
    }

    /// Writes down what has been given out: called before the guest hears of it.
    pub(super) fn write_down(&self) {
        let mut table = self.table();
        let Some(mut journal) = table.journal.take() else { return };
        let written = journal.write().and_then(|()| {
            if journal.is_long(table.nodes.len()) { journal.keep_short(table.entries()) } else { Ok(()) }
        });
        match written {
            Ok(()) => table.journal = Some(journal),
            // No reason to stop: only the next keeper will not know these files.
            Err(error) => tracing::warn!(%error, "shared files are not written down any more"),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The nearest place on the way to a node, and the names from there, the last first.
    fn way(&self, number: u64) -> Result<(Arc<OwnedFd>, Vec<CString>), Errno> {
        let mut names = Vec::new();
        let mut number = number;
        while number != ROOT {
            let node = self.nodes.get(&number).ok_or(Errno::STALE)?;
            if let Some(place) = &node.place {
                return Ok((place.clone(), names));
            }
            names.push(node.name.clone());
            if names.len() > DEEPEST {
                return Err(Errno::STALE);
            }
            number = node.parent;
        }
        Ok((self.root.clone(), names))
    }

    /// The file's number, new or not, now with this name.
    fn number(&mut self, identity: Identity, parent: u64, name: &CStr) -> u64 {
        let known = self.numbers.get(&identity).copied();
        let number = known.unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        if let Some(node) = self.nodes.get_mut(&number) {
            if node.parent == parent && *node.name == *name {
                return number;
            }
            name.clone_into(&mut node.name);
            node.parent = parent;
        } else {
            self.insert(number, parent, name, identity, 0);
        }
        self.note(&Entry::Here { number, parent, name: name.to_owned(), identity });
        number
    }

    fn insert(&mut self, number: u64, parent: u64, name: &CStr, identity: Identity, lookups: u64) {
        let name = name.to_owned();
        self.numbers.insert(identity, number);
        let node = Node { parent, name, identity, lookups, place: None, used: false, told: None };
        self.nodes.insert(number, node);
    }

    fn hold(&mut self, number: u64, place: &Arc<OwnedFd>) {
        let Some(node) = self.nodes.get_mut(&number).filter(|node| node.place.is_none()) else { return };
        node.place = Some(place.clone());
        self.held.push_back(number);
        while self.held.len() > self.most_held {
            let Some(oldest) = self.held.pop_front() else { break };
            let Some(node) = self.nodes.get_mut(&oldest) else { continue };
            if std::mem::take(&mut node.used) {
                self.held.push_back(oldest);
            } else {
                node.place = None;
            }
        }
    }

    fn note(&mut self, entry: &Entry) {
        if let Some(journal) = &mut self.journal {
            journal.note(entry);
        }
    }

    /// An entry of an earlier keeper. How often it gave the number out is not known; the kernel gives numbers
    /// back all at once.
    fn replay(&mut self, entry: Entry) {
        match entry {
            Entry::Here { number, parent, name, identity } => {
                self.next = self.next.max(number + 1);
                self.insert(number, parent, &name, identity, 1);
            }
            Entry::Gone(number) => {
                if let Some(node) = self.nodes.remove(&number)
                    && self.numbers.get(&node.identity) == Some(&number)
                {
                    self.numbers.remove(&node.identity);
                }
            }
        }
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        self.nodes.iter().map(|(number, node)| Entry::Here {
            number: *number,
            parent: node.parent,
            name: node.name.clone(),
            identity: node.identity,
        })
    }
}

impl Identity {
    pub(super) fn of(found: &Statx) -> Self {
        let has_birth = found.stx_mask & StatxFlags::BTIME.bits() != 0;
        let born = &found.stx_btime;
        Self {
            device: device(found),
            inode: found.stx_ino,
            born: if has_birth {
                (born.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(u64::from(born.tv_nsec))
            } else {
                0
            },
        }
    }
}

impl Stamp {
    fn of(found: &Statx) -> Self {
        Self { modified: (found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec), size: found.stx_size }
    }
}

/// The device of a file, as one number.
pub(super) fn device(found: &Statx) -> u64 {
    u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor)
}

/// What a name in a folder is, link or not, as a place: nothing is read, and no device or pipe is opened.
pub(super) fn open_place(folder: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

pub(super) fn stat(place: impl AsFd) -> Result<Statx, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    statx(place, c"", flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME)
}

pub(super) fn kind(found: &Statx) -> FileType {
    FileType::from_raw_mode(u32::from(found.stx_mode))
}
