//! The engine's static binary, as it is uploaded.

use crate::ssh::{self, CHUNK};
use bytes::Bytes;
use flate2::{Compression, read::GzEncoder};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};
use tokio::{sync::mpsc, task::spawn_blocking};

/// File name of the engine.
const FILE: &str = "machine-engine";
/// Beside the executable, as it is installed or built.
const PLACES: [&str; 3] = [".", "../lib/machine", "../x86_64-unknown-linux-gnu/release"];
/// Packed chunks that wait for the line, at most.
const AHEAD: usize = 32;
/// `e_machine` of an ELF file, by `uname -m`.
const ARCHITECTURES: [(&str, u16); 2] = [("x86_64", 62), ("aarch64", 183)];

/// Where the engine's binary is looked for.
#[derive(Clone, Debug, Default)]
pub struct EngineBinary {
    places: Vec<PathBuf>,
}

/// There is no engine to upload.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// Nowhere.
    #[error("There is no engine to upload; looked for {}", list(.places))]
    Nowhere { places: Vec<PathBuf> },
    /// It cannot be read.
    #[error("Could not read {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is for another processor.
    #[error("The host is {wanted}, and {} is not made for it", .path.display())]
    Architecture { path: PathBuf, wanted: String },
}

/// The binary in memory.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) plain: Bytes,
    /// Hex, of the plain one.
    pub(super) sha256: String,
}

impl EngineBinary {
    /// The one named, else the one beside `executable`.
    pub fn find(named: Option<&str>, executable: &Path, working_folder: &Path) -> Self {
        if let Some(named) = named {
            return Self { places: vec![working_folder.join(named)] };
        }
        let beside = executable.parent().unwrap_or(Path::new("/"));
        Self { places: PLACES.iter().map(|place| beside.join(place).join(FILE)).collect() }
    }

    /// Reads it.
    pub(super) fn load(&self, arch: &str) -> Result<Loaded, BinaryError> {
        let path = self.places.iter().find(|path| path.is_file());
        let path = path.ok_or_else(|| BinaryError::Nowhere { places: self.places.clone() })?;
        let read = |source| BinaryError::Read { path: path.clone(), source };
        let plain = fs::read(path).map_err(read)?;
        let machine = plain.get(18..20).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
        let wanted = ARCHITECTURES.iter().find(|(name, _)| *name == arch).map(|(_, machine)| *machine);
        if machine.is_none() || machine != wanted {
            return Err(BinaryError::Architecture { path: path.clone(), wanted: arch.to_owned() });
        }
        Ok(Loaded { sha256: sha256(&plain), plain: plain.into() })
    }
}

impl Loaded {
    /// By gzip, which every host can undo: chunks, packed while others are on their way.
    pub(super) fn packed(&self) -> ssh::Input {
        let (sender, input) = mpsc::channel(AHEAD);
        let mut packer = GzEncoder::new(io::Cursor::new(self.plain.clone()), Compression::new(6));
        spawn_blocking(move || -> io::Result<()> {
            loop {
                let mut chunk = Vec::with_capacity(CHUNK);
                packer.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
                // Nobody reads any more: what became of the command says why.
                if chunk.is_empty() || sender.blocking_send(chunk.into()).is_err() {
                    return Ok(());
                }
            }
        });
        input
    }
}

/// Hex sha256.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn list(places: &[PathBuf]) -> String {
    places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn packed_in_chunks_that_make_one_whole() {
        let plain: Vec<u8> =
            (0..300_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let loaded = Loaded { sha256: sha256(&plain), plain: plain.clone().into() };
        let (mut input, mut packed) = (loaded.packed(), Vec::new());
        while let Some(chunk) = input.recv().await {
            assert!(chunk.len() <= CHUNK);
            packed.extend_from_slice(&chunk);
        }
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == plain);
    }

    #[test]
    fn found_beside_the_executable_or_where_it_is_named_and_made_for_the_host() {
        let root = tempfile::tempdir().unwrap();
        let executable = root.path().join("bin/machine");
        fs::create_dir_all(root.path().join("bin")).unwrap();
        fs::create_dir_all(root.path().join("lib/machine")).unwrap();
        let find = |named| EngineBinary::find(named, &executable, root.path());
        assert!(matches!(find(None).load("x86_64"), Err(BinaryError::Nowhere { .. })));
        let mut elf = vec![0_u8; 64];
        elf[18] = 62;
        fs::write(root.path().join("lib/machine/machine-engine"), &elf).unwrap();
        let loaded = find(None).load("x86_64").unwrap();
        assert_eq!((loaded.plain.len(), loaded.sha256.len()), (64, 64));
        assert!(matches!(find(None).load("aarch64"), Err(BinaryError::Architecture { .. })));
        assert!(matches!(find(None).load("riscv64"), Err(BinaryError::Architecture { .. })));
        assert!(matches!(find(Some("nope")).load("x86_64"), Err(BinaryError::Nowhere { .. })));
        find(Some("lib/machine/machine-engine")).load("x86_64").unwrap();
    }
}
