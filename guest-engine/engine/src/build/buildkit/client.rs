//! What a build asks of its client: files, secrets, keys. Whoever holds the connection implements it.

use crate::error::Result;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::{fmt::Debug, io};
use tokio::io::{AsyncRead, AsyncWrite};

/// The other end of a build.
#[async_trait]
pub trait BuildClient: Debug + Send + Sync {
    /// Stays the same for builds of the same folder: their files are much the same.
    fn shared_key(&self) -> &str;

    /// Sends the entries of one of its folders, in the order of their paths, and the contents that the sink
    /// asks for.
    async fn files(&self, request: FolderRequest, sink: &mut dyn FileSink) -> Result<()>;

    /// What the client was given on its stdin: an archive, or a Dockerfile.
    async fn upload(&self, path: &str) -> Result<BoxStream<'static, io::Result<Bytes>>>;

    /// A secret's value; `None` when the client has no such secret.
    async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>>;

    /// User and password, or a token for no user, that it has for a registry.
    async fn credentials(&self, host: &str) -> Result<Option<(String, String)>>;

    /// Whether the client has that SSH agent.
    async fn has_agent(&self, id: &str) -> Result<bool>;

    /// Connects a stream with an SSH agent until either ends.
    async fn agent(&self, id: &str, stream: Box<dyn Duplex>) -> Result<()>;
}

/// A stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Which files are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderRequest {
    /// As the client calls the folder.
    pub name: String,
    /// Only these, and what they lead to; everything when empty.
    pub follow: Vec<String>,
    /// Patterns of an ignore file.
    pub exclude: Vec<String>,
}

/// Takes files in.
pub trait FileSink: Send {
    /// The next entry. True when its content is wanted.
    fn entry(&mut self, entry: FileEntry) -> Result<bool>;
    /// More of the content of an entry, which are numbered from 0.
    fn content(&mut self, number: u32, bytes: &[u8]) -> Result<()>;
    /// That was all of it.
    fn complete(&mut self, number: u32) -> Result<()>;
}

/// A file, folder or whatever else there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileEntry {
    /// From the folder's root.
    pub path: String,
    pub kind: EntryKind,
    /// Permissions, with the bits for setuid, setgid and sticky.
    pub mode: u32,
    /// Nanoseconds since the epoch.
    pub modified: i64,
    pub attributes: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EntryKind {
    #[default]
    Folder,
    File {
        length: u64,
    },
    Link {
        target: String,
    },
    /// Another name of an entry before it.
    SameAs {
        path: String,
    },
    Fifo,
    /// A socket, a device: not copied.
    Other,
}
