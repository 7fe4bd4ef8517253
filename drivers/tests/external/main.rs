//! Drivers that are executables: a good one keeps the contract, and every kind of bad one costs one sentence.
#![expect(clippy::unwrap_used, reason = "Clippy knows tests by #[test] only; here everything is test code")]

mod inventory;
mod served;
mod unruly;

use machine_drivers::{Identity, MachineSpec};
use std::path::{Path, PathBuf};

/// Examples are built beside the tests.
fn example(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    this.ancestors().nth(2).unwrap().join("examples").join(name)
}

fn spec(directory: &Path) -> MachineSpec {
    MachineSpec {
        name: "dev".to_owned(),
        machine_id: directory.display().to_string(),
        owner: "store".to_owned(),
        identity: Identity::default(),
        directory: directory.to_owned(),
        cache: directory.join("cache"),
        image: None,
        cpus: None,
        memory_mib: None,
        disk_gib: None,
        options: [].into(),
    }
}
