//! A disk that is full: what fills it can be stopped and removed, and then all is well again.

use anyhow::Result;
use nix::{
    mount::{MsFlags, mount},
    sys::statvfs::statvfs,
};
use std::{fs, path::Path};
use tests::{NativeEngine, artifacts, run::eventually};

/// An engine whose data root is a disk of its own.
fn with_small_disk(size: &str) -> Result<NativeEngine> {
    let engine = NativeEngine::start_with(|_, folder| {
        let data = folder.join("data");
        fs::create_dir(&data)?;
        mount(Some("tmpfs"), &data, Some("tmpfs"), MsFlags::empty(), Some(format!("size={size}").as_str()))?;
        Ok(Vec::<String>::new())
    })?;
    engine.docker(&["load", "-q", "-i", &artifacts::busybox()?.to_string_lossy()])?.ok()?;
    Ok(engine)
}

fn is_full(disk: &Path) -> Result<bool> {
    Ok(statvfs(disk)?.blocks_available() == 0)
}

#[test]
fn what_fills_the_disk_can_be_stopped_and_removed() -> Result<()> {
    let engine = with_small_disk("24m")?;
    engine.docker(&["run", "-d", "--name", "other", "busybox", "sleep", "1000"])?.ok()?;
    engine.docker(&["run", "-d", "--name", "chatty", "busybox", "yes", "much too much"])?.ok()?;
    eventually("The log has filled the disk", || is_full(&engine.data_root()))?;
    assert_eq!(engine.docker(&["exec", "other", "echo", "fine"])?.ok()?, "fine");
    let refused = engine.docker(&["create", "busybox"])?.fails(1)?;
    assert!(refused.contains("no space left on device"), "{refused}");
    engine.docker(&["pause", "other"])?.ok()?;
    engine.docker(&["rm", "-f", "other"])?.ok()?;
    assert!(!engine.docker(&["logs", "-n", "10", "chatty"])?.ok()?.is_empty());
    engine.docker(&["stop", "-t", "0", "chatty"])?.ok()?;
    assert_eq!(engine.docker(&["inspect", "-f", "{{.State.Status}}", "chatty"])?.ok()?, "exited");
    engine.docker(&["rm", "chatty"])?.ok()?;
    assert_eq!(engine.docker(&["run", "--rm", "busybox", "echo", "again"])?.ok()?, "again");
    Ok(())
}

#[test]
fn a_full_disk_can_be_pruned() -> Result<()> {
    let engine = with_small_disk("24m")?;
    engine.docker(&["network", "create", "unused"])?.ok()?;
    let fill = "cat /dev/zero > /data/full; true";
    engine.docker(&["run", "-v", "data:/data", "busybox", "sh", "-c", fill])?.ok()?;
    assert!(is_full(&engine.data_root())?);
    engine.docker(&["system", "prune", "--all", "--force"])?.ok()?;
    engine.docker(&["volume", "prune", "--all", "--force"])?.ok()?;
    for list in [&["ps", "-aq"][..], &["images", "-q"], &["volume", "ls", "-q"]] {
        assert_eq!(engine.docker(list)?.ok()?, "", "{list:?}");
    }
    assert!(!is_full(&engine.data_root())?);
    Ok(())
}
