//! What the engine says about itself and the machine it runs on.

use crate::{error::Result, id::random_bytes, state_file};
use std::path::{Path, PathBuf};

/// What is known about the machine; whoever opens the engine finds it out.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    pub hostname: String,
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub machine: String,
    /// `PRETTY_NAME` of os-release.
    pub operating_system: String,
    /// `VERSION_ID` of os-release.
    pub os_version: String,
    pub cpus: usize,
    /// Bytes.
    pub memory: u64,
    pub cgroup: CgroupFacts,
    pub seccomp: bool,
}

/// What the cgroup controllers of this machine can do.
#[derive(Clone, Copy, Debug, Default)]
pub struct CgroupFacts {
    /// 1 or 2.
    pub version: u8,
    pub memory: bool,
    pub swap: bool,
    pub cpu: bool,
    pub cpuset: bool,
    pub pids: bool,
}

/// The engine's identity and surroundings.
#[derive(Clone, Debug)]
pub struct System {
    /// A UUID made at the first start, kept in the data root.
    pub id: String,
    pub host: HostFacts,
    pub data_root: PathBuf,
    /// `key=value`, as given.
    pub labels: Vec<String>,
    /// Registries spoken to without TLS verification.
    pub insecure_registries: Vec<String>,
    /// Mirrors of Docker Hub.
    pub registry_mirrors: Vec<String>,
}

impl System {
    /// The machine's processor in Go's words.
    pub fn architecture(&self) -> &'static str {
        crate::platform::machine_architecture()
    }
}

/// Reads the engine's id, or makes it the first time.
pub(crate) async fn engine_id(data_root: &Path) -> Result<String> {
    let file = data_root.join("engine-id.json");
    if let Some(id) = state_file::load(&file).await? {
        return Ok(id);
    }
    let id = uuid(random_bytes::<16>()?);
    state_file::save(&file, &id).await?;
    Ok(id)
}

/// A random (version 4) UUID.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = crate::id::hex(&bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_id_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let id = engine_id(folder.path()).await.unwrap();
        assert_eq!((id.len(), &id[14..15]), (36, "4"));
        assert_eq!(engine_id(folder.path()).await.unwrap(), id);
    }
}
