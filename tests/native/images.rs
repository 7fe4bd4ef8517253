//! Images as `docker` shows them.

use anyhow::Result;
use tests::{NativeEngine, artifacts};

#[test]
fn load_list_tag_inspect_history_remove() -> Result<()> {
    let engine = NativeEngine::start()?;
    let archive = artifacts::busybox()?;
    let loaded = engine.docker(&["load", "-i", &archive.to_string_lossy()])?.ok()?;
    assert_eq!(loaded, "Loaded image: busybox:latest");
    let id = engine.docker(&["images", "--no-trunc", "-q", "busybox"])?.ok()?;
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    engine.docker(&["tag", "busybox", "localhost:5000/team/box:1"])?.ok()?;
    let tags = engine.docker(&["inspect", "-f", "{{json .RepoTags}}", &id[7..19]])?.ok()?;
    assert_eq!(tags, r#"["busybox:latest","localhost:5000/team/box:1"]"#);
    assert!(!engine.docker(&["history", "-q", "busybox"])?.ok()?.is_empty());
    engine.docker(&["create", "--name", "user", "busybox"])?.ok()?;
    let used = engine.docker(&["rmi", &id])?.fails(1)?;
    assert!(used.contains("must be forced") || used.contains("is using"), "{used}");
    engine.docker(&["rm", "user"])?.ok()?;
    assert_eq!(engine.docker(&["rmi", "busybox"])?.ok()?, "Untagged: busybox:latest");
    let removed = engine.docker(&["rmi", "localhost:5000/team/box:1"])?.ok()?;
    assert!(removed.contains(&format!("Deleted: {id}")), "{removed}");
    assert_eq!(engine.docker(&["images", "-q"])?.ok()?, "");
    Ok(())
}

#[test]
fn a_damaged_archive_is_refused_and_leaves_nothing() -> Result<()> {
    let engine = NativeEngine::start()?;
    let whole = std::fs::read(artifacts::busybox()?)?;
    let cut = engine.docker_with_input(&["load"], &whole[..whole.len() / 2])?;
    assert_ne!(cut.code, 0, "{cut:?}");
    let mut flipped = whole;
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let flipped = engine.docker_with_input(&["load"], &flipped)?;
    assert_ne!(flipped.code, 0, "{flipped:?}");
    assert_eq!(engine.docker(&["images", "-aq"])?.ok()?, "");
    Ok(())
}

#[test]
fn an_image_that_is_not_here_is_named() -> Result<()> {
    let engine = NativeEngine::start()?;
    let error = engine.docker(&["run", "--rm", "absent/image:1", "true"])?.fails(125)?;
    assert!(error.contains("absent/image:1"), "{error}");
    Ok(())
}
