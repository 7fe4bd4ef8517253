//! Bad input and missing things: one clear sentence, the right exit code, nothing half-made.

use anyhow::Result;
use std::{fs, os::unix::fs::symlink};
use tests::{Host, artifacts, run};

#[test]
fn names_that_cannot_be_and_names_that_are_taken() -> Result<()> {
    let host = Host::new()?;
    for name in ["-x", "a/b", "a b", "", "ü", &"n".repeat(200)] {
        let stderr = host.machine(&["create", "--", name])?;
        assert!(stderr.code == 1 || stderr.code == 2, "{stderr:?}");
        assert!(stderr.stderr.contains("Error"), "{stderr:?}");
    }
    assert_eq!(host.machine(&["ls", "-q"])?.ok()?, "");
    host.create("taken")?;
    let error = host.machine(&["create", "taken"])?.fails(1)?;
    assert!(error.contains(r#"machine "taken" already exists"#), "{error}");
    assert_eq!(host.machine(&["status", "taken"])?.ok()?, "Running");
    let error = host.machine(&["start", "absent"])?.fails(1)?;
    assert!(error.contains("absent"), "{error}");
    Ok(())
}

#[test]
fn a_host_without_qemu_is_told_how_to_get_it() -> Result<()> {
    let host = Host::new()?;
    // Our guest needs no program but QEMU, so an empty PATH is a computer without QEMU.
    let empty = tempfile::tempdir()?;
    symlink(artifacts::machine()?, empty.path().join("machine"))?;
    let mut create = host.machine_command(&["create", "x"])?;
    let error = run::run(create.env("PATH", empty.path()))?.fails(3)?;
    assert!(error.contains("qemu") && error.contains("Hint"), "{error}");
    assert!(!host.folder("x").exists());
    Ok(())
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing() -> Result<()> {
    let host = Host::new()?;
    let full = host.store().join("full");
    fs::create_dir(&full)?;
    nix::mount::mount(Some("tmpfs"), &full, Some("tmpfs"), nix::mount::MsFlags::empty(), Some("size=1m"))?;
    let mut create = host.machine_command(&["create", "x"])?;
    let result = run::run(create.env("MACHINE_STORAGE_PATH", &full));
    let left: Vec<_> = fs::read_dir(full.join("machines"))
        .map(|d| d.flatten().map(|e| e.path()).collect())
        .unwrap_or_default();
    nix::mount::umount(&full)?;
    let error = result?.stderr;
    assert!(error.contains("no space left"), "{error}");
    assert!(
        left.iter().all(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'))),
        "{left:?}"
    );
    Ok(())
}
