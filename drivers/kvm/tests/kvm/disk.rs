//! The data disk as e2fsck sees it, empty and grown.

use crate::{fake_qemu, image};
use driver_kvm::KvmDriver;
use machine_drivers::{Driver, Silent};
use std::{
    fs::File,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Where a user's PATH does not lead on Debian.
const SBIN: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

fn e2fsprogs(tool: &str, arguments: &[&str], disk: &Path) {
    let output =
        Command::new(tool).env("PATH", SBIN).args(arguments).arg(disk).output().unwrap_or_else(|error| {
            panic!("this test needs {tool} ({error}): sudo apt-get install e2fsprogs")
        });
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{tool}: {}: {}{}", output.status, said[0], said[1]);
}

async fn create(root: &Path, gib: u64) -> PathBuf {
    image::make(&root.join("image"), b"no kernel");
    let driver = KvmDriver::with_qemu(fake_qemu::install(root));
    let mut spec = image::spec(root, &format!("disk{gib}"));
    spec.disk_gib = Some(gib);
    driver.create(&spec, &Silent).await.unwrap();
    spec.directory.join("disk.raw")
}

#[tokio::test]
async fn is_clean_sparse_and_quick_at_every_size() {
    let root = tempfile::tempdir().unwrap();
    for gib in [1, 2, 3, 20, 100, 1000] {
        let start = Instant::now();
        let disk = create(root.path(), gib).await;
        let took = start.elapsed();
        let metadata = disk.metadata().unwrap();
        assert_eq!(metadata.len(), gib << 30);
        assert!(metadata.blocks() * 512 < (1 << 20) + gib * 32768, "{} blocks", metadata.blocks());
        assert!(took < Duration::from_secs(5), "{gib} GiB took {took:?}");
        e2fsprogs("e2fsck", &["-f", "-n"], &disk);
    }
}

/// The kernel's own growing needs a mounted filesystem, and so a guest; this one checks that what we
/// wrote is something that can grow.
#[tokio::test]
async fn can_grow() {
    let root = tempfile::tempdir().unwrap();
    let disk = create(root.path(), 2).await;
    File::options().write(true).open(&disk).unwrap().set_len(30 << 30).unwrap();
    e2fsprogs("resize2fs", &["-f"], &disk);
    e2fsprogs("e2fsck", &["-f", "-n"], &disk);
}
