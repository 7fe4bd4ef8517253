//! Copying files between this computer and machines, and between machines, as `scp` does: a target that is a
//! folder gets the source into it, otherwise the source is called like the target.

mod place;

pub use place::{Named, Place, PlaceError};

use crate::ssh::Attributes;
use futures_util::future::{BoxFuture, FutureExt};
use std::io;

/// How to copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyOptions {
    /// Folders with all that is in them.
    pub recursive: bool,
    /// Leave out files that are the same by size and time; the copies get the originals' times.
    pub delta: bool,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files copied.
    pub files: u64,
    /// Files left out.
    pub same: u64,
    /// Bytes copied.
    pub bytes: u64,
}

/// Copying failed.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is nothing at the source.
    #[error("There is no {0}")]
    NotFound(String),
    /// A folder, and `recursive` was not asked for.
    #[error("{0} is a folder")]
    Folder(String),
    /// A file is to become a folder's content.
    #[error("{0} is not a folder")]
    NotFolder(String),
    /// A device, pipe or socket.
    #[error("{0} is neither a file nor a folder")]
    Special(String),
    /// A place failed.
    #[error("Could not {action} {path}")]
    Place {
        action: &'static str,
        path: String,
        #[source]
        source: io::Error,
    },
}

/// Copies `source` to `target`; `on_file` hears of every file that is copied.
pub async fn copy(
    source: &Place,
    target: &Place,
    options: CopyOptions,
    on_file: &(dyn Fn(&str) + Sync),
) -> Result<Copied, CopyError> {
    let found = attributes(source).await?.ok_or_else(|| CopyError::NotFound(source.to_string()))?;
    if found.is_folder && !options.recursive {
        return Err(CopyError::Folder(source.to_string()));
    }
    let at_target = attributes(target).await?;
    let target = match (at_target, source.name()) {
        (Some(there), Some(name)) if there.is_folder => target.child(name),
        _ => target.clone(),
    };
    let mut copied = Copied::default();
    tree(source, found, &target, options, on_file, &mut copied).await?;
    Ok(copied)
}

fn tree<'a>(
    source: &'a Place,
    found: Attributes,
    target: &'a Place,
    options: CopyOptions,
    on_file: &'a (dyn Fn(&str) + Sync),
    copied: &'a mut Copied,
) -> BoxFuture<'a, Result<(), CopyError>> {
    async move {
        if !found.is_folder {
            return file(source, found, target, options, on_file, copied).await;
        }
        match attributes(target).await? {
            None => target.make_folder().await.map_err(|e| failed("make", target, e))?,
            Some(there) if there.is_folder => {}
            Some(_) => return Err(CopyError::NotFolder(target.to_string())),
        }
        for name in source.names().await.map_err(|e| failed("read", source, e))? {
            let (child, into) = (source.child(&name), target.child(&name));
            // It may have gone meanwhile, or be a link to nowhere.
            let Some(found) = attributes(&child).await? else { continue };
            tree(&child, found, &into, options, on_file, copied).await?;
        }
        target.set(found.mode, None).await.map_err(|e| failed("protect", target, e))
    }
    .boxed()
}

async fn file(
    source: &Place,
    found: Attributes,
    target: &Place,
    options: CopyOptions,
    on_file: &(dyn Fn(&str) + Sync),
    copied: &mut Copied,
) -> Result<(), CopyError> {
    if !found.is_file {
        return Err(CopyError::Special(source.to_string()));
    }
    if options.delta {
        let there = attributes(target).await?;
        if there.is_some_and(|there| (there.size, there.modified) == (found.size, found.modified)) {
            copied.same += 1;
            return Ok(());
        }
    }
    on_file(&source.to_string());
    let mut reader = source.reader().await.map_err(|e| failed("read", source, e))?;
    let mut writer = target.writer().await.map_err(|e| failed("write", target, e))?;
    let bytes = place::pump(&mut *reader, &mut *writer).await.map_err(|e| failed("write", target, e))?;
    drop(writer);
    let modified = options.delta.then_some(found.modified);
    target.set(found.mode, modified).await.map_err(|e| failed("protect", target, e))?;
    copied.files += 1;
    copied.bytes += bytes;
    Ok(())
}

async fn attributes(place: &Place) -> Result<Option<Attributes>, CopyError> {
    place.attributes().await.map_err(|e| failed("examine", place, e))
}

fn failed(action: &'static str, place: &Place, source: io::Error) -> CopyError {
    CopyError::Place { action, path: place.to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    async fn local(from: &Path, to: &Path, options: CopyOptions) -> Result<Copied, CopyError> {
        copy(&Place::local(from), &Place::local(to), options, &|_| {}).await
    }

    #[tokio::test]
    async fn a_file_into_a_folder_or_by_another_name() {
        let root = tempfile::tempdir().unwrap();
        let (file, folder) = (root.path().join("a"), root.path().join("d"));
        fs::write(&file, "hello").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o750)).unwrap();
        fs::create_dir(&folder).unwrap();
        let plain = CopyOptions::default();
        local(&file, &folder, plain).await.unwrap();
        local(&file, &root.path().join("b"), plain).await.unwrap();
        assert_eq!(fs::read(folder.join("a")).unwrap(), b"hello");
        assert_eq!(fs::metadata(root.path().join("b")).unwrap().permissions().mode() & 0o777, 0o750);
        assert!(matches!(local(&folder, &file, plain).await, Err(CopyError::Folder(_))));
        assert!(matches!(local(&root.path().join("x"), &file, plain).await, Err(CopyError::NotFound(_))));
        let recursive = CopyOptions { recursive: true, delta: false };
        assert!(matches!(local(&folder, &file, recursive).await, Err(CopyError::NotFolder(_))));
    }

    #[tokio::test]
    async fn a_tree_and_then_only_what_changed() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        fs::create_dir_all(from.join("deep/er")).unwrap();
        fs::write(from.join("one"), "1").unwrap();
        fs::write(from.join("deep/er/two"), vec![7; 3_000_000]).unwrap();
        let options = CopyOptions { recursive: true, delta: true };
        let first = local(&from, &to, options).await.unwrap();
        assert_eq!(first, Copied { files: 2, same: 0, bytes: 3_000_001 });
        assert_eq!(fs::read(to.join("deep/er/two")).unwrap().len(), 3_000_000);
        fs::write(from.join("one"), "22").unwrap();
        // The copy is called like the target, which is a folder now: name what is in it.
        assert_eq!(local(&from, &to.with_file_name("to2"), options).await.unwrap().files, 2);
        let inner = (Place::local(&from.join("deep")), Place::local(&to));
        assert_eq!(
            copy(&inner.0, &inner.1, options, &|_| {}).await.unwrap(),
            Copied { files: 0, same: 1, bytes: 0 }
        );
    }
}
