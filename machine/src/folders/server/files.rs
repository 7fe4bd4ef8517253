//! Open files: reading, writing and what else is done to contents.

use super::{Answer, FolderServer, Request, attributes::drop_set_id, path};
use crate::folders::nodes::{kind, stat};
use guest_contract::fuse::{ANSWER_HEADER, INVALIDATE_INODE, MOST_DATA, answer_header};
use rustix::{
    fs::{
        FallocateFlags, FileType, Mode, OFlags, SeekFrom, copy_file_range, fallocate, fdatasync, fsync, open,
    },
    io::Errno,
};
use std::{
    collections::HashMap,
    fs::File,
    os::unix::fs::FileExt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// Flags of `open` with numbers that are the same on every machine that we know.
pub(super) const WRITE_ONLY: u32 = 1;
const READ_WRITE: u32 = 2;
const ACCESS_MODE: u32 = 3;
const TRUNCATE: u32 = 0o1000;
const APPEND: u32 = 0o2000;
const DATA_SYNC: u32 = 0o10000;
const FULL_SYNC: u32 = 0o4_010_000;

/// The guest's cached contents stay while the attributes are what they were.
const KEEP_CACHE: u32 = 1 << 1;

/// A file that the guest has opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) writes: bool,
    node: u64,
    /// Held while a folder is read: its descriptor has one position.
    pub(super) reading: Mutex<()>,
}

/// All of them, by the numbers that the guest has for them.
#[derive(Debug)]
pub(super) struct OpenFiles {
    files: Mutex<HashMap<u64, Arc<Opened>>>,
    next: AtomicU64,
}

impl Default for OpenFiles {
    fn default() -> Self {
        // Unlike any number of an earlier keeper.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { files: Mutex::default(), next: AtomicU64::new((now.as_millis() as u64) << 20) }
    }
}

impl OpenFiles {
    pub(super) fn get(&self, handle: u64, node: u64) -> Option<Arc<Opened>> {
        self.files().get(&handle).filter(|opened| opened.node == node).cloned()
    }

    pub(super) fn put(&self, opened: Opened) -> u64 {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        self.files().insert(handle, Arc::new(opened));
        handle
    }

    fn files(&self) -> MutexGuard<'_, HashMap<u64, Arc<Opened>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FolderServer {
    pub(super) fn open_file(
        &self,
        node: u64,
        request: &mut Request<'_>,
        notice: &mut Vec<u8>,
    ) -> Result<Answer, Errno> {
        const DROP_SET_ID: u32 = 1;
        let (flags, more) = (request.u32()?, request.u32()?);
        if !self.nodes.is_current(node) {
            // The guest's kernel looks the name up again.
            return Err(Errno::STALE);
        }
        let opened = self.open_node(node, flags)?;
        let found = stat(&opened.file)?;
        if more & DROP_SET_ID != 0 && self.superuser && flags & TRUNCATE != 0 {
            drop_set_id(&opened.file, &found)?;
        }
        if self.nodes.told(node, &found) {
            // Changed on this side: whoever opens it sees it as it is, not as it was a second ago.
            notice.extend_from_slice(&answer_header(ANSWER_HEADER + 24, INVALIDATE_INODE, 0));
            for field in [node, -1_i64 as u64, 0] {
                notice.extend_from_slice(&field.to_le_bytes());
            }
        }
        Ok(Answer::new().u64(self.files.put(opened)).u32(KEEP_CACHE).u32(0))
    }

    /// Opens what a node is, for reading or writing. Only files and folders have anything to open; the guest's
    /// kernel has pipes, sockets and devices of its own.
    pub(super) fn open_node(&self, node: u64, flags: u32) -> Result<Opened, Errno> {
        let (place, found) = self.found(node)?;
        let folder = match kind(&found) {
            FileType::RegularFile => OFlags::empty(),
            FileType::Directory => OFlags::DIRECTORY,
            FileType::Symlink => return Err(Errno::LOOP),
            _ => return Err(Errno::NXIO),
        };
        let flags = self.host_flags(flags)?;
        let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR);
        let file = open(path(&*place), flags | folder, Mode::empty())?;
        Ok(Opened { file: file.into(), writes, node, reading: Mutex::default() })
    }

    /// What of the guest's flags counts here.
    pub(super) fn host_flags(&self, flags: u32) -> Result<OFlags, Errno> {
        let mut host = match flags & ACCESS_MODE {
            WRITE_ONLY => OFlags::WRONLY,
            READ_WRITE => OFlags::RDWR,
            _ => OFlags::RDONLY,
        };
        for (bits, flag) in [
            (TRUNCATE, OFlags::TRUNC),
            (APPEND, OFlags::APPEND),
            (DATA_SYNC, OFlags::DSYNC),
            (FULL_SYNC, OFlags::SYNC),
        ] {
            if flags & bits == bits {
                host |= flag;
            }
        }
        if self.read_only && host.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC) {
            return Err(Errno::ROFS);
        }
        Ok(host | OFlags::CLOEXEC | OFlags::NOCTTY)
    }

    /// What the guest has open under a number; opened again when that was with an earlier keeper.
    pub(super) fn opened(&self, handle: u64, node: u64, flags: u32) -> Result<Arc<Opened>, Errno> {
        if let Some(opened) = self.files.get(handle, node) {
            return Ok(opened);
        }
        let opened = Arc::new(self.open_node(node, flags & !TRUNCATE)?);
        self.files.files().insert(handle, opened.clone());
        Ok(opened)
    }

    pub(super) fn created(&self, node: u64, file: File, flags: u32) -> u64 {
        let writes = flags & ACCESS_MODE != 0;
        self.files.put(Opened { file, writes, node, reading: Mutex::default() })
    }

    pub(super) fn read(&self, node: u64, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let (handle, offset, size) = (request.u64()?, request.u64()?, request.u32()? as usize);
        request.skip(12)?;
        let opened = self.opened(handle, node, request.u32()? & !WRITE_ONLY)?;
        let size = size.min(MOST_DATA);
        let mut answer = Answer::with_room(size);
        answer.pad(size);
        let mut read = 0;
        while read < size {
            match opened.file.read_at(&mut answer.room(0)[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) if read > 0 => break,
                Err(error) => return Err(errno(&error)),
            }
        }
        answer.pad(read);
        Ok(answer)
    }

    pub(super) fn write(&self, node: u64, request: &mut Request<'_>) -> Result<Answer, Errno> {
        const DROP_SET_ID: u32 = 1 << 2;
        let (handle, offset, size) = (request.u64()?, request.u64()?, request.u32()?);
        let more = request.u32()?;
        request.skip(8)?;
        let flags = request.u32()?;
        request.skip(4)?;
        let data = request.bytes(size as usize)?;
        let opened = self.opened(handle, node, flags)?;
        if more & DROP_SET_ID != 0 && self.superuser {
            drop_set_id(&opened.file, &stat(&opened.file)?)?;
        }
        let mut written = 0;
        while written < data.len() {
            match opened.file.write_at(&data[written..], offset + written as u64) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) if written > 0 => break,
                Err(error) => return Err(errno(&error)),
            }
        }
        // The guest's kernel knows that its own writing has changed the file.
        if let Ok(found) = stat(&opened.file) {
            self.nodes.told(node, &found);
        }
        Ok(Answer::new().u32(written as u32).u32(0))
    }

    pub(super) fn release(&self, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let closed = self.files.files().remove(&request.u64()?);
        // Outside of the lock: closing may take its time.
        drop(closed);
        Ok(Answer::new())
    }

    pub(super) fn sync(&self, node: u64, request: &mut Request<'_>) -> Result<Answer, Errno> {
        const DATA_ONLY: u32 = 1;
        let opened = self.opened(request.u64()?, node, 0)?;
        if request.u32()? & DATA_ONLY == 0 { fsync(&opened.file) } else { fdatasync(&opened.file) }?;
        Ok(Answer::new())
    }

    pub(super) fn allocate(&self, node: u64, request: &mut Request<'_>) -> Result<Answer, Errno> {
        let (handle, offset, length) = (request.u64()?, request.u64()?, request.u64()?);
        let mode = FallocateFlags::from_bits(request.u32()?).ok_or(Errno::OPNOTSUPP)?;
        fallocate(&self.opened(handle, node, READ_WRITE)?.file, mode, offset, length)?;
        Ok(Answer::new())
    }

    pub(super) fn seek(&self, node: u64, request: &mut Request<'_>) -> Result<Answer, Errno> {
        const DATA: u32 = 3;
        const HOLE: u32 = 4;
        let (handle, offset) = (request.u64()?, request.u64()?);
        let to = match request.u32()? {
            DATA => SeekFrom::Data(offset),
            HOLE => SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL),
        };
        let opened = self.opened(handle, node, 0)?;
        Ok(Answer::new().u64(rustix::fs::seek(&opened.file, to)?))
    }

    pub(super) fn copy_range(&self, node: u64, request: &mut Request<'_>) -> Result<Answer, Errno> {
        /// Others wait for a thread meanwhile.
        const MOST: u64 = 16 << 20;
        let (from, mut at) = (request.u64()?, request.u64()?);
        let (to_node, to, mut to_at) = (request.u64()?, request.u64()?, request.u64()?);
        let length = request.u64()?.min(MOST) as usize;
        let (from, to) = (self.opened(from, node, 0)?, self.opened(to, to_node, READ_WRITE)?);
        let copied = copy_file_range(&from.file, Some(&mut at), &to.file, Some(&mut to_at), length)?;
        Ok(Answer::new().u32(copied as u32).u32(0))
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
