//! Debian's static busybox and the names it answers to.

use crate::deb::PackageFiles;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

const DEADLINE: Duration = Duration::from_secs(20);

/// The program and its applets.
#[derive(Debug)]
pub(crate) struct Busybox {
    pub program: Vec<u8>,
    /// Sorted, without `busybox` itself.
    pub applets: Vec<String>,
}

impl Busybox {
    /// Reads the program out of the (verified) package and asks it for its applets.
    pub(crate) async fn read(package: &Path) -> Result<Self> {
        let files = PackageFiles::read(package, |path| path == "bin/busybox")?;
        let program = files.get("bin/busybox")?.to_vec();
        let applets = list_applets(&program).await.context("Could not list busybox's applets")?;
        Ok(Self { program, applets })
    }
}

async fn list_applets(program: &[u8]) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("busybox");
    fs::write(&path, program)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    let run = Command::new(&path).arg("--list").env_clear().kill_on_drop(true).output();
    let output = tokio::time::timeout(DEADLINE, run).await.context("It did not answer in time")??;
    if !output.status.success() {
        bail!("It ended with {}", output.status);
    }
    let applets = parse_applets(&String::from_utf8_lossy(&output.stdout));
    if applets.is_empty() {
        bail!("It named none");
    }
    Ok(applets)
}

fn parse_applets(text: &str) -> Vec<String> {
    let mut applets: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|name| !matches!(*name, "" | "." | ".." | "busybox") && !name.contains('/'))
        .map(str::to_owned)
        .collect();
    applets.sort();
    applets.dedup();
    applets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applets_are_plain_names_in_order() {
        assert_eq!(parse_applets("sh\n[\nbusybox\n../evil\ncat\nsh\n\n"), ["[", "cat", "sh"]);
    }
}
