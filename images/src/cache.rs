//! Downloads kept by content: `sha256/HEX` for files, `indexes/HEX.InRelease` for the newest
//! verified index of a mirror's suite.
//!
//! Every write goes to a temporary file beside its place and is renamed, so a killed build leaves
//! nothing half-written under a final name. Every read is hashed again.

use crate::digest;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What can go wrong in the cache folder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    #[error(
        "No place for downloads: neither XDG_CACHE_HOME nor HOME is set\nHint: Name one with \"--cache DIR\""
    )]
    NoPlace,
    #[error("Could not use the download cache at {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("Not a sha256: {text:?}")]
    NotADigest { text: String },
}

/// The folder of downloads.
#[derive(Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens (and creates) the cache at `dir`, or at `$XDG_CACHE_HOME/machine/downloads`, or under
    /// `~/.cache`.
    pub(crate) fn open(dir: Option<PathBuf>) -> Result<Self, CacheError> {
        let root = match dir {
            Some(dir) => dir,
            None => default_place()?,
        };
        let cache = Self { root };
        for sub in ["sha256", "indexes"] {
            let path = cache.root.join(sub);
            fs::create_dir_all(&path).map_err(|source| CacheError::Io { path, source })?;
        }
        Ok(cache)
    }

    /// The file with this content, if it is here and still has that content. A damaged file is
    /// removed, so that it is fetched again.
    pub(crate) fn find(&self, sha256: &str) -> Result<Option<PathBuf>, CacheError> {
        let path = self.content_path(sha256)?;
        match digest::of_file(&path) {
            Ok((found, _)) if found == sha256 => Ok(Some(path)),
            Ok(_) => {
                fs::remove_file(&path).map_err(|source| CacheError::Io { path, source })?;
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CacheError::Io { path, source }),
        }
    }

    /// Keeps `bytes`, which the caller has verified to have this digest.
    pub(crate) fn keep(&self, sha256: &str, bytes: &[u8]) -> Result<PathBuf, CacheError> {
        let path = self.content_path(sha256)?;
        write_atomically(&path, bytes).map_err(|source| CacheError::Io { path: path.clone(), source })?;
        Ok(path)
    }

    /// The last index kept for `suite` of `mirror`. Its signature must be verified again.
    pub(crate) fn find_index(&self, mirror: &str, suite: &str) -> Result<Option<String>, CacheError> {
        let path = self.index_path(mirror, suite);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CacheError::Io { path, source }),
        }
    }

    /// Keeps a verified index.
    pub(crate) fn keep_index(&self, mirror: &str, suite: &str, text: &str) -> Result<(), CacheError> {
        let path = self.index_path(mirror, suite);
        write_atomically(&path, text.as_bytes()).map_err(|source| CacheError::Io { path, source })
    }

    fn content_path(&self, sha256: &str) -> Result<PathBuf, CacheError> {
        if !digest::is_sha256(sha256) {
            return Err(CacheError::NotADigest { text: sha256.to_owned() });
        }
        Ok(self.root.join("sha256").join(sha256))
    }

    fn index_path(&self, mirror: &str, suite: &str) -> PathBuf {
        let name = digest::of_bytes(format!("{mirror} {suite}").as_bytes());
        self.root.join("indexes").join(format!("{name}.InRelease"))
    }
}

fn default_place() -> Result<PathBuf, CacheError> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("machine").join("downloads"))
        .ok_or(CacheError::NoPlace)
}

/// Writes a file under a temporary name beside `path`, syncs it and renames it into place.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".partial-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    // Temporary files are private; what is kept may be read by other users of a shared cache.
    fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_found_by_digest_and_damage_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(dir.path().join("deep/cache"))).unwrap();
        let sha256 = digest::of_bytes(b"payload");
        assert_eq!(cache.find(&sha256).unwrap(), None);
        let path = cache.keep(&sha256, b"payload").unwrap();
        assert_eq!(cache.find(&sha256).unwrap(), Some(path.clone()));
        fs::write(&path, b"damaged").unwrap();
        assert_eq!(cache.find(&sha256).unwrap(), None);
        assert!(!path.exists());
        assert!(matches!(cache.find("../x"), Err(CacheError::NotADigest { .. })));
    }

    #[test]
    fn indexes_are_kept_apart_by_mirror_and_suite() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(dir.path().to_path_buf())).unwrap();
        cache.keep_index("http://mirror.example/debian", "trixie", "one").unwrap();
        assert_eq!(
            cache.find_index("http://mirror.example/debian", "trixie").unwrap().as_deref(),
            Some("one")
        );
        assert_eq!(cache.find_index("http://mirror.example/debian", "bookworm").unwrap(), None);
    }
}
