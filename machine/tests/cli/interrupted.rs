//! What `kill -9` leaves at every persisted step, and how the next command clears it.

use crate::support::Host;
use serde_json::Value;
use std::fs;

/// A `create` that was killed while it waited for the guest.
fn killed_while_waiting(host: &Host) {
    host.create("half");
    host.edit_record("half", |record| record["Machine"]["State"] = "Creating".into());
}

/// A `create` that was killed before the driver had said what it made.
fn killed_in_driver_create(host: &Host) {
    killed_while_waiting(host);
    host.edit_record("half", |record| record["Machine"]["Instance"] = Value::Null);
    fs::remove_file(host.machine_folder("half").join("memory-driver.json")).unwrap();
}

/// An `rm` that was killed before the driver had removed the VM.
fn killed_in_rm(host: &Host) {
    host.create("half");
    host.edit_record("half", |record| record["Machine"]["State"] = "Removing".into());
}

const KILLS: [fn(&Host); 3] = [killed_while_waiting, killed_in_driver_create, killed_in_rm];

#[test]
fn it_is_listed_as_broken_with_the_way_out() {
    let host = Host::new();
    killed_while_waiting(&host);
    assert_eq!(
        host.ok(&["ls", "-f", "{{.Name}} {{.State}}: {{.Error}}"]),
        "half Error: create was interrupted; remove it with machine rm half\n"
    );
    for command in ["start", "stop", "env", "ssh"] {
        let stderr = host.fails(1, &[command, "half"]);
        assert!(stderr.contains("create was interrupted; remove it with machine rm half"), "{stderr}");
    }
}

#[test]
fn rm_clears_it() {
    for kill in KILLS {
        let host = Host::new();
        kill(&host);
        host.ok(&["rm", "-y", "half"]);
        assert!(host.entries().is_empty());
    }
}

#[test]
fn create_of_the_same_name_clears_it() {
    for kill in KILLS {
        let host = Host::new();
        kill(&host);
        host.create("half");
        assert_eq!(host.ok(&["status", "half"]), "Running\n");
        assert_eq!(host.entries(), ["half"]);
    }
}

#[test]
fn a_removal_that_was_cut_short_is_finished() {
    let host = Host::new();
    host.create("dev");
    let machines = host.store().join("machines");
    fs::rename(machines.join("dev"), machines.join(".removing-dev-1")).unwrap();
    assert_eq!(host.ok(&["ls", "-q"]), "");
    assert!(host.entries().is_empty());
}

#[test]
fn an_empty_folder_is_nobodys_name() {
    let host = Host::new();
    fs::create_dir_all(host.machine_folder("dev")).unwrap();
    assert_eq!(host.ok(&["ls", "-q"]), "");
    host.create("dev");
}

#[test]
fn a_create_under_way_is_not_taken_for_dead() {
    let host = Host::new();
    *host.guests.stuck.lock().unwrap() = true;
    let (waiting, mut begun) = tokio::sync::watch::channel(0);
    *host.guests.waiting.lock().unwrap() = Some(waiting);
    std::thread::scope(|scope| {
        let create = scope.spawn(|| host.run(&["create", "-d", "memory", "dev"]));
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(begun.changed()).unwrap();
        assert_eq!(host.ok(&["ls", "-f", "{{.State}}|{{.Error}}"]), "Starting|\n");
        assert!(host.fails(1, &["create", "-d", "memory", "dev"]).contains("already exists"));
        assert!(host.fails(1, &["url", "dev"]).contains("it is just being created"));
        host.interrupt.send_modify(|count| *count += 1);
        assert_eq!(create.join().unwrap().code, 130);
    });
}
