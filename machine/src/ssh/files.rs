//! A machine's files, over SFTP.

use super::{Connection, Connector, SshError};
use machine_drivers::Access;
use russh_sftp::{
    client::{SftpSession, error::Error as SftpError},
    protocol::{FileAttributes, OpenFlags, StatusCode},
};
use std::{io, path::Path, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

/// The server's answer to the request for SFTP.
const OPEN_LIMIT: Duration = Duration::from_secs(30);
/// Its answer to any request; a slow disk may take a while.
const ANSWER_SECONDS: u64 = 120;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Whether it is an ordinary file.
    pub is_file: bool,
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Seconds since the Unix epoch.
    pub modified: u32,
}

/// The files of one machine. Links are followed.
pub struct Files {
    session: SftpSession,
    _connection: Connection,
}

impl Files {
    /// Connects.
    pub async fn open(access: &Access, directory: &Path) -> Result<Self, SshError> {
        let connection = Connector::new(access, directory)?.connect().await?;
        let channel = connection.open_session().await?;
        channel.request_subsystem(true, "sftp").await?;
        let session = timeout(OPEN_LIMIT, SftpSession::new(channel.into_stream()))
            .await
            .map_err(|_| SshError::Timeout { what: "Opening SFTP", limit: OPEN_LIMIT })?
            .map_err(|_| SshError::Denied { what: "SFTP" })?;
        session.set_timeout(ANSWER_SECONDS);
        Ok(Self { session, _connection: connection })
    }

    /// What is at `path`; `None` when nothing is.
    pub async fn attributes(&self, path: &str) -> io::Result<Option<Attributes>> {
        match self.session.metadata(path).await {
            Ok(found) => Ok(Some(Attributes {
                is_folder: found.is_dir(),
                is_file: found.is_regular(),
                size: found.size.unwrap_or(0),
                mode: found.permissions.unwrap_or(0o644) & 0o7777,
                modified: found.mtime.unwrap_or(0),
            })),
            Err(SftpError::Status(status)) if status.status_code == StatusCode::NoSuchFile => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    /// The names in a folder.
    pub async fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let entries = self.session.read_dir(path).await.map_err(failure)?;
        let mut names: Vec<String> = entries.map(|entry| entry.file_name()).collect();
        names.sort();
        Ok(names)
    }

    /// Makes a folder.
    pub async fn make_folder(&self, path: &str) -> io::Result<()> {
        self.session.create_dir(path).await.map_err(failure)
    }

    /// Opens a file to read it.
    pub async fn reader(&self, path: &str) -> io::Result<impl AsyncRead + Unpin + use<>> {
        self.session.open(path).await.map_err(failure)
    }

    /// Opens a file to replace its content.
    pub async fn writer(&self, path: &str) -> io::Result<impl AsyncWrite + Unpin + use<>> {
        let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::WRITE;
        self.session.open_with_flags(path, flags).await.map_err(failure)
    }

    /// Sets permissions, and the time of the last change if that is wanted.
    pub async fn set(&self, path: &str, mode: u32, modified: Option<u32>) -> io::Result<()> {
        let mut attributes = FileAttributes::empty();
        attributes.permissions = Some(mode);
        attributes.mtime = modified;
        attributes.atime = modified;
        self.session.set_metadata(path, attributes).await.map_err(failure)
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").finish_non_exhaustive()
    }
}

fn failure(error: SftpError) -> io::Error {
    match error {
        SftpError::Status(status) => {
            let kind = match status.status_code {
                StatusCode::NoSuchFile => io::ErrorKind::NotFound,
                StatusCode::PermissionDenied => io::ErrorKind::PermissionDenied,
                _ => io::ErrorKind::Other,
            };
            io::Error::new(kind, status.error_message)
        }
        other => io::Error::other(other.to_string()),
    }
}
