//! Bad input: one clear sentence, the right exit code, nothing half-made.

use crate::support::Host;
use machine_drivers::testing::MemoryDriver;
use std::{os::unix::fs::chown, sync::Arc};

#[test]
fn names() {
    let host = Host::new();
    for name in ["-x", "a/b", "a b", "", "ü", "..", &"n".repeat(64)] {
        let stderr = host.fails(1, &["create", "-d", "memory", "--", name]);
        assert!(stderr.starts_with("Error: "), "{stderr}");
        assert!(host.entries().is_empty(), "{name}");
    }
    let stderr = host.fails(1, &["create", "-d", "memory", "a_b"]);
    assert!(
        stderr.contains("Invalid hostname \"a_b\". Allowed hostname chars are: 0-9a-zA-Z . -"),
        "{stderr}"
    );
    host.create("dev");
    let stderr = host.fails(1, &["create", "-d", "memory", "dev"]);
    assert_eq!(
        stderr,
        "Error: Docker machine \"dev\" already exists\n\
         Hint: Start it with \"machine start dev\" or remove it with \"machine rm dev\"\n"
    );
}

#[test]
fn usage_is_code_2() {
    let host = Host::new();
    for arguments in [
        &["create"][..],
        &["create", "a", "b"],
        &["create", "--nope", "a"],
        &["create", "-d", "memory", "--memory", "lots", "a"],
        &["create", "-d", "memory", "--memory-ssh-port", "x", "a"],
        &["create", "-d", "memory", "--engine-label", "novalue", "a"],
        &["rm"],
        &["nope"],
        &[],
    ] {
        let stderr = host.fails(2, arguments);
        assert!(!stderr.is_empty(), "{arguments:?}");
    }
    assert!(host.fails(2, &["nope"]).starts_with("Error: unrecognized subcommand 'nope'"));
    assert!(host.entries().is_empty());
}

#[test]
fn help_and_version_are_data() {
    let host = Host::new();
    assert!(host.ok(&["--help"]).contains("MACHINE_STORAGE_PATH"));
    let help = host.ok(&["create", "--help"]);
    assert!(help.contains("Driver options:") && help.contains("--memory-ssh-port <NUMBER>"), "{help}");
    assert!(help.contains("[env: MEMORY_SSH_PORT=] [default: 1]"), "{help}");
    assert_eq!(host.ok(&["version"]), format!("machine version {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn unknown_driver() {
    let host = Host::new();
    let stderr = host.fails(1, &["create", "-d", "nope", "dev"]);
    assert_eq!(stderr, "Error: Driver \"nope\" not found\nHint: Known drivers: memory\n");
    assert!(!host.store().exists());
}

#[test]
fn the_environment_gives_driver_and_options() {
    let mut host = Host::new();
    host.variables.insert("MACHINE_DRIVER".to_owned(), "memory".to_owned());
    host.variables.insert("MEMORY_SSH_PORT".to_owned(), "2222".to_owned());
    host.ok(&["create", "dev"]);
    assert_eq!(host.ok(&["inspect", "dev", "-f", "{{.Driver.SSHPort}}"]), "2222\n");
    host.variables.insert("MEMORY_SSH_PORT".to_owned(), "many".to_owned());
    assert!(host.fails(2, &["create", "dev2"]).contains("MEMORY_SSH_PORT must be a number, not \"many\""));
}

#[test]
fn a_driver_that_boots_our_guest_needs_an_image() {
    let mut host = Host::new();
    host.driver = Arc::new(MemoryDriver::new().with_seed_channel());
    let stderr = host.fails(3, &["create", "-d", "memory", "dev"]);
    assert!(stderr.contains("There is no guest image; looked in"), "{stderr}");
    assert!(stderr.contains("Hint: Build it with \"make build\""), "{stderr}");
    let stderr = host.fails(3, &["create", "-d", "memory", "--image", "/nowhere", "dev"]);
    assert!(stderr.contains("There is no guest image in /nowhere: manifest.json is missing"), "{stderr}");
    assert!(host.entries().is_empty());
}

#[test]
fn a_store_of_somebody_else_is_not_touched() {
    let host = Host::new();
    std::fs::create_dir(host.store()).unwrap();
    // Only root can give a folder away; for everybody else there is nothing to try.
    if chown(host.store(), Some(12345), None).is_ok() {
        let stderr = host.fails(1, &["create", "-d", "memory", "dev"]);
        assert!(stderr.contains("belongs to another user (uid 12345)"), "{stderr}");
        assert!(host.entries().is_empty());
    }
}

#[test]
fn a_store_that_cannot_be_made_is_told() {
    let host = Host::new();
    std::fs::write(host.store(), "a file").unwrap();
    let stderr = host.fails(1, &["create", "-d", "memory", "dev"]);
    assert!(stderr.starts_with("Error: Could not create [STORE]\nCaused by: "), "{stderr}");
}
