//! How the engine's own records reach the disk: one JSON file each, replaced atomically, with the
//! version of the format that wrote it.
//!
//! `save` returns once the record would survive a power cut: the guest's "power" is a QEMU process that
//! anybody may kill. A reader sees the old record or the new one, never a half.

use crate::error::{EngineError, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Version of the format that this engine writes and the newest that it reads.
const VERSION: u32 = 1;
/// What a file that is still being written ends in; leftovers are ignored by `load` and overwritten.
const TEMPORARY: &str = ".tmp";

#[derive(Serialize)]
struct Written<'a, T: ?Sized> {
    version: u32,
    state: &'a T,
}

#[derive(Deserialize)]
struct Stored {
    version: u32,
    state: serde_json::Value,
}

/// Reads a record; `None` when the file does not exist. Fails when it is damaged or was written by a
/// newer engine: the caller must not go on as if there were none.
pub async fn load<T: DeserializeOwned + Send + 'static>(path: &Path) -> Result<Option<T>> {
    let path = path.to_owned();
    blocking(move || load_blocking(&path)).await
}

/// Replaces the record, making its folder when that does not exist.
pub async fn save<T: Serialize + Sync + ?Sized>(path: &Path, state: &T) -> Result<()> {
    let bytes = encode(state).map_err(|e| describe("encode", path).because(e))?;
    let path = path.to_owned();
    blocking(move || write_durably(&path, &bytes).map_err(|e| describe("write", &path).because(e))).await
}

/// Removes the record. `Ok` when it is gone already.
pub async fn remove(path: &Path) -> Result<()> {
    let path = path.to_owned();
    blocking(move || {
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            Err(_) => Ok(()),
            Ok(()) => sync_folder(&path),
        }
        .map_err(|e| describe("remove", &path).because(e))
    })
    .await
}

/// [`load`] for code that is already on a blocking thread.
pub fn load_blocking<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(describe("read", path).because(e)),
    };
    let stored: Stored =
        serde_json::from_slice(&bytes).map_err(|e| describe("understand", path).because(e))?;
    if stored.version > VERSION {
        return Err(EngineError::system(format!(
            "State file {} was written by a newer engine (format {}, this one reads up to {VERSION})",
            path.display(),
            stored.version
        )));
    }
    serde_json::from_value(stored.state).map(Some).map_err(|e| describe("understand", path).because(e))
}

/// [`save`] for code that is already on a blocking thread.
pub fn save_blocking<T: Serialize + ?Sized>(path: &Path, state: &T) -> Result<()> {
    let bytes = encode(state).map_err(|e| describe("encode", path).because(e))?;
    write_durably(path, &bytes).map_err(|e| describe("write", path).because(e))
}

fn encode<T: Serialize + ?Sized>(state: &T) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Written { version: VERSION, state })
}

/// Replaces a file of any content, atomically and durably, making its folder when needed. Blocks.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Two writers of one record must not share a temporary file; the last rename wins.
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}{TEMPORARY}", SERIAL.fetch_add(1, Ordering::Relaxed)));
    let temporary = PathBuf::from(name);
    let written = (|| {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        drop(fs::remove_file(&temporary));
    }
    written?;
    sync_folder(path)
}

/// Whether a file of that name is one whose writing has not ended, or was interrupted.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.ends_with(TEMPORARY)
}

/// Makes a rename or removal in the file's folder durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn describe(verb: &str, path: &Path) -> EngineError {
    EngineError::system(format!("Could not {verb} state file {}", path.display()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| EngineError::system("State file task ended early").because(e))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_record_comes_back_and_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/record.json");
        assert_eq!(load::<Vec<u32>>(&path).await.unwrap(), None);
        save(&path, &[1, 2, 3]).await.unwrap();
        save(&path, &[4]).await.unwrap();
        assert_eq!(load::<Vec<u32>>(&path).await.unwrap(), Some(vec![4]));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        remove(&path).await.unwrap();
        remove(&path).await.unwrap();
        assert_eq!(load::<Vec<u32>>(&path).await.unwrap(), None);
    }

    #[tokio::test]
    async fn damaged_and_newer_records_are_errors_that_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        fs::write(&path, b"{\"version\":1,\"sta").unwrap();
        assert!(load::<u32>(&path).await.unwrap_err().to_string().contains("record.json"));
        fs::write(&path, b"{\"version\":99,\"state\":1}").unwrap();
        assert!(load::<u32>(&path).await.unwrap_err().to_string().contains("newer engine"));
    }
}
