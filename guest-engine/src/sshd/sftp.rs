//! The SFTP subsystem (version 3 with OpenSSH's extensions) on the guest's own file system. Requests
//! are answered in their order; each runs where blocking is allowed.

mod attributes;
mod handles;

use super::home;
use handles::{Handles, Open};
use russh_sftp::extensions::{FsyncExtension, HardlinkExtension};
use russh_sftp::protocol::{
    Attrs, Data, File as Entry, FileAttributes, Handle, Name, OpenFlags, Packet, Status, StatusCode, Version,
};
use russh_sftp::server::{Handler, StatusReply};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What one read gives at most; clients ask for 32 KiB, newer ones for 255.
const MAX_READ: u32 = 255 << 10;
/// Entries of a folder in one answer.
const ENTRIES: usize = 100;
const POSIX_RENAME: &str = "posix-rename@openssh.com";
const HARDLINK: &str = "hardlink@openssh.com";
const FSYNC: &str = "fsync@openssh.com";

/// One client's session.
#[derive(Debug, Default)]
pub(super) struct Server {
    handles: Handles,
}

/// Runs file system work where it may block, and turns its error into the protocol's.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StatusReply> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| reply(&error)),
        Err(_) => Err(StatusCode::Failure.into()),
    }
}

fn reply(error: &io::Error) -> StatusReply {
    let code = match error.kind() {
        io::ErrorKind::NotFound => StatusCode::NoSuchFile,
        io::ErrorKind::PermissionDenied => StatusCode::PermissionDenied,
        io::ErrorKind::UnexpectedEof => StatusCode::Eof,
        io::ErrorKind::Unsupported => StatusCode::OpUnsupported,
        _ => StatusCode::Failure,
    };
    code.with_message(error.to_string())
}

fn done(id: u32) -> Status {
    Status {
        id,
        status_code: StatusCode::Ok,
        error_message: "Ok".to_owned(),
        language_tag: "en-US".to_owned(),
    }
}

/// Relative paths start at the home folder, as after any login.
fn resolve(path: &str) -> PathBuf {
    home().join(path)
}

impl Handler for Server {
    type Error = StatusReply;

    fn unimplemented(&self) -> Self::Error {
        StatusCode::OpUnsupported.into()
    }

    async fn init(
        &mut self,
        _version: u32,
        _extensions: HashMap<String, String>,
    ) -> Result<Version, Self::Error> {
        let mut version = Version::new();
        for extension in [POSIX_RENAME, HARDLINK, FSYNC] {
            version.extensions.insert(extension.to_owned(), "1".to_owned());
        }
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        filename: String,
        pflags: OpenFlags,
        attrs: FileAttributes,
    ) -> Result<Handle, Self::Error> {
        let file = blocking(move || {
            let mut options = fs::OpenOptions::from(pflags);
            // O_NONBLOCK: opening a fifo must not wait for its other end.
            options.custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY);
            options.mode(attrs.permissions.map_or(0o644, |mode| mode & 0o7777));
            options.open(resolve(&filename))
        })
        .await?;
        let handle = self.handles.insert(Open::File(file.into()))?;
        Ok(Handle { id, handle })
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, Self::Error> {
        let open = self.handles.close(&handle)?;
        blocking(move || {
            drop(open);
            Ok(())
        })
        .await?;
        Ok(done(id))
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, len: u32) -> Result<Data, Self::Error> {
        let file = self.handles.file(&handle)?;
        let data = blocking(move || {
            let mut data = vec![0; len.min(MAX_READ) as usize];
            let count = file.read_at(&mut data, offset)?;
            data.truncate(count);
            Ok(data)
        })
        .await?;
        if data.is_empty() && len > 0 { Err(StatusCode::Eof.into()) } else { Ok(Data { id, data }) }
    }

    async fn write(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        data: Vec<u8>,
    ) -> Result<Status, Self::Error> {
        let file = self.handles.file(&handle)?;
        blocking(move || file.write_all_at(&data, offset)).await?;
        Ok(done(id))
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs, Self::Error> {
        let metadata = blocking(move || fs::symlink_metadata(resolve(&path))).await?;
        Ok(Attrs { id, attrs: attributes::describe(&metadata) })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, Self::Error> {
        let file = self.handles.file(&handle)?;
        let metadata = blocking(move || file.metadata()).await?;
        Ok(Attrs { id, attrs: attributes::describe(&metadata) })
    }

    async fn setstat(&mut self, id: u32, path: String, attrs: FileAttributes) -> Result<Status, Self::Error> {
        blocking(move || attributes::apply(&resolve(&path), &attrs)).await?;
        Ok(done(id))
    }

    async fn fsetstat(
        &mut self,
        id: u32,
        handle: String,
        attrs: FileAttributes,
    ) -> Result<Status, Self::Error> {
        let file = self.handles.file(&handle)?;
        blocking(move || attributes::apply_to_file(&file, &attrs)).await?;
        Ok(done(id))
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, Self::Error> {
        let folder = blocking(move || fs::read_dir(resolve(&path))).await?;
        let handle = self.handles.insert(Open::Folder(std::sync::Arc::new(folder.into())))?;
        Ok(Handle { id, handle })
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, Self::Error> {
        let folder = self.handles.folder(&handle)?;
        let files = blocking(move || {
            let entries = handles::next_entries(&folder, ENTRIES)?;
            // What vanishes between the listing and the look at it is left out.
            let entry = |entry: fs::DirEntry| {
                let attributes = attributes::describe(&entry.metadata().ok()?);
                Some(Entry::new(entry.file_name().to_string_lossy(), attributes))
            };
            Ok(entries.into_iter().filter_map(entry).collect::<Vec<_>>())
        })
        .await?;
        if files.is_empty() { Err(StatusCode::Eof.into()) } else { Ok(Name { id, files }) }
    }

    async fn remove(&mut self, id: u32, filename: String) -> Result<Status, Self::Error> {
        blocking(move || fs::remove_file(resolve(&filename))).await?;
        Ok(done(id))
    }

    async fn mkdir(&mut self, id: u32, path: String, attrs: FileAttributes) -> Result<Status, Self::Error> {
        use std::os::unix::fs::DirBuilderExt;
        let mode = attrs.permissions.map_or(0o755, |mode| mode & 0o7777);
        blocking(move || fs::DirBuilder::new().mode(mode).create(resolve(&path))).await?;
        Ok(done(id))
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Result<Status, Self::Error> {
        blocking(move || fs::remove_dir(resolve(&path))).await?;
        Ok(done(id))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, Self::Error> {
        let path = blocking(move || canonical(&resolve(&path))).await?;
        Ok(Name { id, files: vec![Entry::dummy(path.to_string_lossy())] })
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, Self::Error> {
        let metadata = blocking(move || fs::metadata(resolve(&path))).await?;
        Ok(Attrs { id, attrs: attributes::describe(&metadata) })
    }

    async fn rename(&mut self, id: u32, oldpath: String, newpath: String) -> Result<Status, Self::Error> {
        // Version 3 replaces nothing; the extension does.
        blocking(move || {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            Ok(renameat_with(CWD, resolve(&oldpath), CWD, resolve(&newpath), RenameFlags::NOREPLACE)?)
        })
        .await?;
        Ok(done(id))
    }

    async fn readlink(&mut self, id: u32, path: String) -> Result<Name, Self::Error> {
        let target = blocking(move || fs::read_link(resolve(&path))).await?;
        Ok(Name { id, files: vec![Entry::dummy(target.to_string_lossy())] })
    }

    /// OpenSSH sends the target first, whatever the protocol's draft says, and so does everybody.
    async fn symlink(
        &mut self,
        id: u32,
        linkpath: String,
        targetpath: String,
    ) -> Result<Status, Self::Error> {
        let (target, link) = (linkpath, targetpath);
        blocking(move || std::os::unix::fs::symlink(target, resolve(&link))).await?;
        Ok(done(id))
    }

    async fn extended(&mut self, id: u32, request: String, data: Vec<u8>) -> Result<Packet, Self::Error> {
        let mut data = bytes::Bytes::from(data);
        match request.as_str() {
            // Both carry two paths.
            POSIX_RENAME | HARDLINK => {
                let paths: HardlinkExtension =
                    russh_sftp::de::from_bytes(&mut data).map_err(|_| StatusCode::BadMessage)?;
                let (old, new) = (resolve(&paths.oldpath), resolve(&paths.newpath));
                blocking(
                    move || if request == HARDLINK { fs::hard_link(old, new) } else { fs::rename(old, new) },
                )
                .await?;
            }
            FSYNC => {
                let fsync: FsyncExtension =
                    russh_sftp::de::from_bytes(&mut data).map_err(|_| StatusCode::BadMessage)?;
                let file = self.handles.file(&fsync.handle)?;
                blocking(move || file.sync_all()).await?;
            }
            _ => return Err(StatusCode::OpUnsupported.into()),
        }
        Ok(Packet::Status(done(id)))
    }
}

/// The canonical path; the last name need not exist, or nobody could upload a new file.
fn canonical(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Ok(fs::canonicalize(parent)?.join(name)),
            _ => Err(error),
        },
        other => other,
    }
}
