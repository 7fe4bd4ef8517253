//! The contract, kept on top of a pretended QEMU.

use crate::{fake_qemu, image};
use driver_kvm::KvmDriver;
use machine_drivers::conformance::{Subject, conformance};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

async fn run(root: &Path) {
    image::make(&root.join("image"), b"no kernel");
    let qemu = fake_qemu::install(root);
    let count = AtomicUsize::new(0);
    conformance(|| Subject {
        driver: Arc::new(KvmDriver::with_qemu(&qemu)),
        spec: image::spec(root, &format!("m{}", count.fetch_add(1, Ordering::Relaxed))),
        keep: Box::new(()),
    })
    .await;
}

#[tokio::test]
async fn keeps_the_contract() {
    let root = tempfile::tempdir().unwrap();
    run(root.path()).await;
}

/// `sockaddr_un` holds 108 bytes.
#[tokio::test]
async fn keeps_the_contract_in_a_folder_with_a_long_path() {
    let root = tempfile::tempdir().unwrap();
    let long = root.path().join("a".repeat(100)).join("b".repeat(100));
    std::fs::create_dir_all(&long).unwrap();
    run(&long).await;
}
