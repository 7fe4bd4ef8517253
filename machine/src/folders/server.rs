//! One folder's file server: a request's bytes in, its answer's bytes out. Any number of threads may ask at the
//! same time.

mod attributes;
mod files;
mod listing;
mod names;
#[cfg(test)]
mod tests;
mod xattrs;

use super::{
    message::{Answer, Request, refusal},
    nodes::{Nodes, stat},
};
use files::OpenFiles;
use guest_contract::fuse::{REQUEST_HEADER, RequestHeader, opcode, request_header};
use rustix::{fs::Statx, io::Errno, process::geteuid};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

/// How long the guest may take for true what it was told of a name or of a file, in seconds.
const VALID: u64 = 1;

/// Serves one folder to one mount.
#[derive(Debug)]
pub struct FolderServer {
    read_only: bool,
    /// Whether changes of ownership are real.
    superuser: bool,
    nodes: Nodes,
    files: OpenFiles,
}

impl FolderServer {
    /// A server of `folder` that goes on with the numbers in the file `journal`, and writes down its own. At most
    /// `most_held` files are held open that nobody has opened.
    pub fn open(
        folder: &Path,
        read_only: bool,
        journal: Option<&Path>,
        most_held: usize,
    ) -> io::Result<Self> {
        Ok(Self {
            read_only,
            superuser: geteuid().is_root(),
            nodes: Nodes::open(folder, journal, most_held)?,
            files: OpenFiles::default(),
        })
    }

    /// Answers one message of the guest's kernel. Empty where it expects nothing; more than one answer where it
    /// should know something first.
    pub fn answer(&self, message: &[u8]) -> Vec<u8> {
        let Some(header) = request_header(message) else { return Vec::new() };
        let Some(body) = message.get(REQUEST_HEADER..header.length) else { return Vec::new() };
        let mut notice = Vec::new();
        let answer = self.handle(&header, Request::new(body), &mut notice);
        if matches!(header.opcode, opcode::FORGET | opcode::BATCH_FORGET | opcode::DESTROY) {
            return Vec::new();
        }
        self.nodes.write_down();
        let answer = match answer {
            Ok(answer) => answer.finish(header.unique),
            Err(error) => refusal(error, header.unique),
        };
        if notice.is_empty() { answer } else { [notice, answer].concat() }
    }

    fn handle(
        &self,
        header: &RequestHeader,
        mut request: Request<'_>,
        notice: &mut Vec<u8>,
    ) -> Result<Answer, Errno> {
        if self.read_only && changes(header.opcode) {
            return Err(Errno::ROFS);
        }
        let (node, request) = (header.node, &mut request);
        match header.opcode {
            opcode::LOOKUP => self.look_up(node, request),
            opcode::FORGET => {
                self.nodes.forget(node, request.u64()?);
                Ok(Answer::new())
            }
            opcode::BATCH_FORGET => {
                let count = request.u32()?;
                request.skip(4)?;
                for _ in 0..count {
                    let number = request.u64()?;
                    self.nodes.forget(number, request.u64()?);
                }
                Ok(Answer::new())
            }
            opcode::GETATTR => self.attributes(node, request),
            opcode::SETATTR => self.set_attributes(node, request),
            opcode::ACCESS => self.access(node, request),
            opcode::STATFS => self.file_system(node),
            opcode::READLINK => self.read_link(node),
            opcode::SYMLINK => self.make_symlink(node, request),
            opcode::MKNOD => self.make_node(node, request),
            opcode::MKDIR => self.make_folder(node, request),
            opcode::UNLINK => self.remove(node, request, false),
            opcode::RMDIR => self.remove(node, request, true),
            opcode::RENAME => self.rename(node, request, false),
            opcode::RENAME2 => self.rename(node, request, true),
            opcode::LINK => self.link(node, request),
            opcode::OPEN => self.open_file(node, request, notice),
            opcode::CREATE => self.create(node, request),
            opcode::READ => self.read(node, request),
            opcode::WRITE => self.write(node, request),
            opcode::RELEASE | opcode::RELEASEDIR => self.release(request),
            opcode::FSYNC | opcode::FSYNCDIR => self.sync(node, request),
            opcode::FALLOCATE => self.allocate(node, request),
            opcode::LSEEK => self.seek(node, request),
            opcode::COPY_FILE_RANGE => self.copy_range(node, request),
            opcode::OPENDIR => self.open_folder(node),
            opcode::READDIR => self.list(node, request, false),
            opcode::READDIRPLUS => self.list(node, request, true),
            opcode::GETXATTR => self.xattr(node, request),
            opcode::SETXATTR => self.set_xattr(node, request),
            opcode::LISTXATTR => self.xattrs(node, request),
            opcode::REMOVEXATTR => self.remove_xattr(node, request),
            // Among others FLUSH: everything is written when it comes, and the kernel does not ask again.
            _ => Err(Errno::NOSYS),
        }
    }

    /// The place of a node and what is there.
    fn found(&self, node: u64) -> Result<(std::sync::Arc<OwnedFd>, Statx), Errno> {
        let place = self.nodes.place(node)?;
        let found = stat(&*place)?;
        Ok((place, found))
    }
}

/// Whether it would change something. Opening a file is looked at when it is opened.
fn changes(opcode: u32) -> bool {
    matches!(
        opcode,
        opcode::SETATTR
            | opcode::SYMLINK
            | opcode::MKNOD
            | opcode::MKDIR
            | opcode::UNLINK
            | opcode::RMDIR
            | opcode::RENAME
            | opcode::RENAME2
            | opcode::LINK
            | opcode::CREATE
            | opcode::WRITE
            | opcode::FALLOCATE
            | opcode::COPY_FILE_RANGE
            | opcode::SETXATTR
            | opcode::REMOVEXATTR
    )
}

/// A path to what a place is, for calls that take no descriptors of places.
fn path(place: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", place.as_fd().as_raw_fd()))
}
