//! Unpacks kernel and initramfs into the cache that all machines share, by their content.
//!
//! A file in the cache is complete and verified: it gets its name, the sha256 of its content, only
//! then. Concurrent unpackers of the same file wait for each other's lock on the partial one.

use crate::{folder::file_error, image};
use guest_contract::{ImageManifest, image::Artifact};
use machine_drivers::DriverError;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// What QEMU boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    pub(crate) vmlinux: PathBuf,
    pub(crate) initramfs: PathBuf,
    pub(crate) command_line: String,
}

/// Finds the image's kernel in the cache, or puts it there.
pub(crate) async fn unpack(folder: &Path, cache: &Path) -> Result<Kernel, DriverError> {
    let manifest: ImageManifest = image::open(folder)?;
    let command_line = manifest.command_line;
    let one = |artifact: Artifact| {
        let (folder, cache) = (folder.to_owned(), cache.to_owned());
        tokio::task::spawn_blocking(move || cached(&folder, &cache, &artifact))
    };
    let (vmlinux, initramfs) = tokio::join!(one(manifest.kernel), one(manifest.initramfs));
    let joined = |error: tokio::task::JoinError| DriverError::Provider { what: error.to_string() };
    Ok(Kernel { vmlinux: vmlinux.map_err(joined)??, initramfs: initramfs.map_err(joined)??, command_line })
}

fn cached(folder: &Path, cache: &Path, artifact: &Artifact) -> Result<PathBuf, DriverError> {
    let path = cache.join(&artifact.unpacked_sha256);
    if is_there(&path, artifact) {
        return Ok(path);
    }
    fs::create_dir_all(cache).map_err(file_error("create", cache))?;
    let partial = cache.join(format!("{}.partial", artifact.unpacked_sha256));
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&partial)
        .map_err(file_error("write", &partial))?;
    file.lock().map_err(file_error("lock", &partial))?;
    if is_there(&path, artifact) {
        // Somebody else was faster. What carries the partial name now, if anything, is nobody's.
        let _ = fs::remove_file(&partial);
        return Ok(path);
    }
    let unpacked = fill(&file, &folder.join(&artifact.file), &partial, artifact)
        .and_then(|()| fs::rename(&partial, &path).map_err(file_error("write", &path)));
    match unpacked {
        Ok(()) => Ok(path),
        Err(error) => {
            let _ = fs::remove_file(&partial);
            Err(error)
        }
    }
}

/// Its hash was verified before it got its name. It is not synced, as it can be made again: a crash of
/// the host cuts it short, and then its size is wrong.
fn is_there(path: &Path, artifact: &Artifact) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.len() == artifact.unpacked_size)
}

fn fill(mut to: &File, from: &Path, name: &Path, artifact: &Artifact) -> Result<(), DriverError> {
    let source = File::open(from).map_err(file_error("read", from))?;
    let unreadable = |error: io::Error| image::damaged(format!("{} is damaged: {error}", from.display()));
    // One byte more than promised shows that there is too much.
    let decoder = zstd::Decoder::new(source).map_err(unreadable)?;
    let mut decoder = decoder.take(artifact.unpacked_size + 1);
    to.set_len(0).map_err(file_error("write", name))?;
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = decoder.read(&mut buffer).map_err(unreadable)?;
        let chunk = &buffer[..count];
        if chunk.is_empty() {
            break;
        }
        size += count as u64;
        hash.update(chunk);
        to.write_all(chunk).map_err(file_error("write", name))?;
    }
    let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if size == artifact.unpacked_size && digest.eq_ignore_ascii_case(&artifact.unpacked_sha256) {
        Ok(())
    } else {
        Err(image::damaged(format!("{} is not what its manifest says", from.display())))
    }
}
