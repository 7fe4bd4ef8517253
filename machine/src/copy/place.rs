//! A file's place: on this computer or in a machine.

use crate::{
    machine::{MachineName, NameError},
    ssh::{Attributes, Files},
};
use std::{
    fmt, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use tokio::{
    fs,
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
};

/// Read at once; SFTP cuts it into packets and sends several before it waits.
const CHUNK: usize = 256 * 1024;

/// Where a file is, or is to be.
#[derive(Clone, Debug)]
pub enum Place {
    /// On this computer.
    Local(PathBuf),
    /// In a machine.
    Machine {
        /// Which one.
        name: MachineName,
        /// Its files.
        files: Arc<Files>,
        /// Where in it; relative paths begin at the home folder.
        path: String,
    },
}

/// What a word of the command line names, before machines are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// A file of this computer.
    Local(PathBuf),
    /// A file of a machine.
    Machine(MachineName, String),
}

/// The word names nothing.
pub type PlaceError = NameError;

impl Named {
    /// `NAME:PATH` is in a machine; `localhost:PATH`, and what has a slash before the colon or no colon at
    /// all, is here.
    pub fn parse(word: &str) -> Result<Self, PlaceError> {
        Ok(match word.split_once(':') {
            Some((name, _)) if name.is_empty() || name.contains('/') => Self::Local(word.into()),
            Some(("localhost", path)) => Self::Local(path.into()),
            Some((name, path)) => Self::Machine(name.parse()?, home_relative(path)),
            None => Self::Local(word.into()),
        })
    }
}

/// What shells make of `~` is ours to make here; nothing at all is the home folder.
fn home_relative(path: &str) -> String {
    let path =
        path.strip_prefix("~/").or(path.strip_prefix('~').filter(|rest| rest.is_empty())).unwrap_or(path);
    if path.is_empty() { ".".to_owned() } else { path.to_owned() }
}

impl Place {
    /// A place on this computer.
    pub fn local(path: &Path) -> Self {
        Self::Local(path.to_owned())
    }

    /// The last part of the path; none for `..` and the like.
    pub(super) fn name(&self) -> Option<&str> {
        let path = match self {
            Self::Local(path) => path.as_path(),
            Self::Machine { path, .. } => Path::new(path),
        };
        path.file_name().and_then(|name| name.to_str())
    }

    pub(super) fn child(&self, name: &str) -> Self {
        match self {
            Self::Local(path) => Self::Local(path.join(name)),
            Self::Machine { name: machine, files, path } => Self::Machine {
                name: machine.clone(),
                files: Arc::clone(files),
                path: format!("{}/{name}", path.trim_end_matches('/')),
            },
        }
    }

    pub(super) async fn attributes(&self) -> io::Result<Option<Attributes>> {
        let path = match self {
            Self::Local(path) => path,
            Self::Machine { files, path, .. } => return files.attributes(path).await,
        };
        match fs::metadata(path).await {
            Ok(found) => Ok(Some(Attributes {
                is_folder: found.is_dir(),
                is_file: found.is_file(),
                size: found.len(),
                mode: found.mode() & 0o7777,
                modified: u32::try_from(found.mtime()).unwrap_or(0),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn names(&self) -> io::Result<Vec<String>> {
        let path = match self {
            Self::Local(path) => path,
            Self::Machine { files, path, .. } => return files.names(path).await,
        };
        let mut entries = fs::read_dir(path).await?;
        let mut names = Vec::new();
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name().into_string();
            names.push(name.map_err(|_| io::Error::other("A name in it is not UTF-8"))?);
        }
        names.sort();
        Ok(names)
    }

    pub(super) async fn make_folder(&self) -> io::Result<()> {
        match self {
            Self::Local(path) => fs::create_dir(path).await,
            Self::Machine { files, path, .. } => files.make_folder(path).await,
        }
    }

    pub(super) async fn reader(&self) -> io::Result<Box<dyn AsyncRead + Unpin + Send>> {
        Ok(match self {
            Self::Local(path) => Box::new(fs::File::open(path).await?),
            Self::Machine { files, path, .. } => Box::new(files.reader(path).await?),
        })
    }

    pub(super) async fn writer(&self) -> io::Result<Box<dyn AsyncWrite + Unpin + Send>> {
        Ok(match self {
            Self::Local(path) => Box::new(fs::File::create(path).await?),
            Self::Machine { files, path, .. } => Box::new(files.writer(path).await?),
        })
    }

    pub(super) async fn set(&self, mode: u32, modified: Option<u32>) -> io::Result<()> {
        let path = match self {
            Self::Local(path) => path,
            Self::Machine { files, path, .. } => return files.set(path, mode, modified).await,
        };
        fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).await?;
        if let Some(modified) = modified {
            let time = UNIX_EPOCH + Duration::from_secs(modified.into());
            std::fs::File::open(path)?.set_modified(time)?;
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Machine { name, path, .. } => write!(f, "{name}:{path}"),
        }
    }
}

/// Copies to the end, and sees to it that all of it has arrived.
pub(super) async fn pump(
    reader: &mut (dyn AsyncRead + Unpin + Send),
    writer: &mut (dyn AsyncWrite + Unpin + Send),
) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    loop {
        let count = reader.read(&mut buffer).await?;
        if count == 0 {
            writer.flush().await?;
            writer.shutdown().await?;
            return Ok(total);
        }
        writer.write_all(&buffer[..count]).await?;
        total += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_places_as_for_scp() {
        let local = |path: &str| Named::Local(path.into());
        let machine = |path: &str| Named::Machine("dev".parse().unwrap(), path.to_owned());
        for (word, place) in [
            ("file", local("file")),
            ("./a:b", local("./a:b")),
            ("localhost:/etc/hosts", local("/etc/hosts")),
            ("dev:/tmp/x", machine("/tmp/x")),
            ("dev:x", machine("x")),
            ("dev:~/x", machine("x")),
            ("dev:", machine(".")),
            ("dev:~", machine(".")),
        ] {
            assert_eq!(Named::parse(word).unwrap(), place, "{word}");
        }
        assert!(Named::parse("no_machine:/x").is_err());
    }
}
