//! Folders that outlive builds: `RUN --mount=type=cache`.
//!
//! ```text
//!   build-caches/HASH[-N]/about.json    what it is
//!   build-caches/HASH[-N]/data/         what is mounted
//! ```

use crate::{
    build::{
        blocking,
        mount::{Owner, Sharing},
    },
    error::{EngineError, Result},
    image::config::digest,
    state_file,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, HashMap},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

const ABOUT: &str = "about.json";
/// Folders of one cache that are in use at the same time, each by a step that wants it for itself.
const PRIVATE: usize = 1024;

/// All of them.
#[derive(Debug)]
pub(in crate::build) struct Caches {
    root: PathBuf,
    users: Mutex<HashMap<String, Arc<RwLock<()>>>>,
}

/// One in use.
#[derive(Debug)]
pub(super) struct Cache {
    pub(super) folder: PathBuf,
    _use: Use,
}

#[derive(Debug)]
enum Use {
    Shared { _guard: OwnedRwLockReadGuard<()> },
    Alone { _guard: OwnedRwLockWriteGuard<()> },
}

/// What is known of one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct About {
    id: String,
    created: i64,
    used_at: i64,
    uses: u64,
}

/// One as `docker buildx du` shows it.
#[derive(Clone, Debug)]
pub struct CacheFolder {
    /// The folder's name.
    pub key: String,
    /// The id it was given.
    pub id: String,
    /// Seconds since the epoch.
    pub created: i64,
    pub used_at: i64,
    pub uses: u64,
    pub size: u64,
    pub in_use: bool,
}

impl Caches {
    pub(in crate::build) fn new(root: PathBuf) -> Self {
        Self { root, users: Mutex::default() }
    }

    /// Opens one, making it if need be; waits until it may be used.
    pub(super) async fn open(&self, id: &str, sharing: Sharing, owner: Owner) -> Result<Cache> {
        let key = digest(id.as_bytes()).chars().skip("sha256:".len()).take(32).collect::<String>();
        let (key, used) = match sharing {
            Sharing::Shared => {
                let guard = self.lock_of(&key).read_owned().await;
                (key, Use::Shared { _guard: guard })
            }
            Sharing::Locked => {
                let guard = self.lock_of(&key).write_owned().await;
                (key, Use::Alone { _guard: guard })
            }
            Sharing::Private => self.private(&key)?,
        };
        let (folder, id) = (self.root.join(&key), id.to_owned());
        let data = blocking(move || prepare(&folder, &id, owner)).await?;
        Ok(Cache { folder: data, _use: used })
    }

    /// The first folder that nobody uses.
    fn private(&self, key: &str) -> Result<(String, Use)> {
        for number in 0..PRIVATE {
            let key = if number == 0 { key.to_owned() } else { format!("{key}-{number}") };
            if let Ok(guard) = self.lock_of(&key).try_write_owned() {
                return Ok((key, Use::Alone { _guard: guard }));
            }
        }
        Err(EngineError::conflict("too many steps use this cache at the same time"))
    }

    fn lock_of(&self, key: &str) -> Arc<RwLock<()>> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(users.entry(key.to_owned()).or_default())
    }

    /// Every one of them.
    pub(super) async fn list(&self) -> Result<Vec<CacheFolder>> {
        let root = self.root.clone();
        let mut found = blocking(move || listed(&root)).await?;
        for cache in &mut found {
            cache.in_use = self.lock_of(&cache.key).try_write().is_err();
        }
        Ok(found)
    }

    /// Removes those that nobody uses; says how many bytes that freed.
    pub(super) async fn remove(&self, keys: &BTreeSet<String>) -> Result<u64> {
        let mut freed = 0;
        for key in keys {
            // Held until it is gone: a build that comes meanwhile makes a new one.
            let Ok(guard) = self.lock_of(key).try_write_owned() else { continue };
            let folder = self.root.join(key);
            freed += blocking(move || {
                let size = size_of(&folder).map_err(unusable)?;
                std::fs::remove_dir_all(&folder).map_err(unusable)?;
                Ok(size)
            })
            .await?;
            drop(guard);
        }
        Ok(freed)
    }
}

fn prepare(folder: &Path, id: &str, owner: Owner) -> Result<PathBuf> {
    let data = folder.join("data");
    let now = Timestamp::now().as_second();
    let known = state_file::load_blocking::<About>(&folder.join(ABOUT))?;
    if known.is_none() {
        std::fs::create_dir_all(&data).map_err(unusable)?;
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700)).map_err(unusable)?;
        std::fs::set_permissions(&data, PermissionsExt::from_mode(owner.mode)).map_err(unusable)?;
        chown(&data, Some(owner.user), Some(owner.group)).map_err(unusable)?;
    }
    let mut about = known.unwrap_or_else(|| About { id: id.to_owned(), created: now, ..About::default() });
    about.used_at = now;
    about.uses += 1;
    state_file::save_blocking(&folder.join(ABOUT), &about)?;
    Ok(data)
}

fn listed(root: &Path) -> Result<Vec<CacheFolder>> {
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(unusable)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unusable)?;
        let Some(about) = state_file::load_blocking::<About>(&entry.path().join(ABOUT))? else { continue };
        found.push(CacheFolder {
            key: entry.file_name().to_string_lossy().into_owned(),
            id: about.id,
            created: about.created,
            used_at: about.used_at,
            uses: about.uses,
            size: size_of(&entry.path()).map_err(unusable)?,
            in_use: false,
        });
    }
    Ok(found)
}

/// Bytes on disk below a folder. Files that go meanwhile do not count.
fn size_of(folder: &Path) -> io::Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else { continue };
        size += metadata.blocks() * 512;
        if metadata.is_dir() {
            size += size_of(&entry.path())?;
        }
    }
    Ok(size)
}

fn unusable(error: io::Error) -> EngineError {
    EngineError::system("Could not use a build's cache folder").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cache_is_shared_or_not() {
        let root = tempfile::tempdir().unwrap();
        let caches = Caches::new(root.path().join("c"));
        let me = std::fs::metadata("/proc/self").unwrap();
        let owner = Owner { user: me.uid(), group: me.gid(), mode: 0o750 };
        let first = caches.open("x", Sharing::Private, owner).await.unwrap();
        let second = caches.open("x", Sharing::Private, owner).await.unwrap();
        assert_ne!(first.folder, second.folder);
        std::fs::write(first.folder.join("f"), "kept").unwrap();
        drop(first);
        let again = caches.open("x", Sharing::Shared, owner).await.unwrap();
        assert_eq!(std::fs::read_to_string(again.folder.join("f")).unwrap(), "kept");
        let listed = caches.list().await.unwrap();
        assert_eq!((listed.len(), listed.iter().filter(|cache| cache.in_use).count()), (2, 2));
        drop(second);
        let keys = listed.into_iter().map(|cache| cache.key).collect();
        caches.remove(&keys).await.unwrap();
        assert_eq!(caches.list().await.unwrap().len(), 1, "one is still in use");
    }
}
