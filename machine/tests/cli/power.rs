//! `start`, `stop`, `restart`, `kill`, `status`, `logs`.

use crate::support::Host;
use machine_drivers::{DriverError, Instance, testing::Step};
use snapbox::{assert_data_eq, str};
use std::time::Duration;

#[test]
fn stop_and_start_in_docker_machines_words() {
    let host = Host::new();
    host.create("dev");
    assert_data_eq!(
        host.run(&["stop", "dev"]).stderr,
        str![[r#"
Stopping "dev"...
Machine "dev" was stopped.

"#]]
    );
    assert!(!host.kept("dev"));
    assert_eq!(host.ok(&["status", "dev"]), "Stopped\n");
    assert!(host.run(&["stop", "dev"]).stderr.ends_with("Machine \"dev\" is already stopped.\n"));
    let started = host.run(&["start", "dev"]);
    assert_eq!((started.code, started.stdout.as_str()), (0, ""));
    assert!(started.stderr.ends_with("Machine \"dev\" was started.\n"), "{started:?}");
    assert!(host.kept("dev"));
    assert!(host.run(&["start", "dev"]).stderr.ends_with("Machine \"dev\" is already running.\n"));
    assert!(host.run(&["restart", "dev"]).stderr.ends_with("Machine \"dev\" was restarted.\n"));
    assert!(host.run(&["kill", "dev"]).stderr.ends_with("Machine \"dev\" was killed.\n"));
    assert!(host.run(&["restart", "dev"]).stderr.ends_with("Machine \"dev\" was restarted.\n"));
    assert_eq!(host.ok(&["status", "dev"]), "Running\n");
}

#[test]
fn several_at_once_and_one_failure_stops_no_other() {
    let host = Host::new();
    host.create("a");
    host.create("b");
    let stderr = host.fails(1, &["stop", "a", "absent", "b", "a"]);
    assert!(stderr.contains("Docker machine \"absent\" does not exist"), "{stderr}");
    assert_eq!(host.ok(&["ls", "-q", "--filter", "state=Stopped"]), "a\nb\n");
}

#[test]
fn a_guest_that_does_not_stop_can_be_killed() {
    let host = Host::new();
    host.create("dev");
    let what = "Stopping".to_owned();
    host.driver.fail_next(Step::Stop, DriverError::Timeout { what, limit: Duration::from_secs(30) });
    let stderr = host.fails(1, &["stop", "dev"]);
    assert_data_eq!(
        stderr,
        str![[r#"
Stopping "dev"...
Error: Could not stop machine "dev"
Caused by: Stopping took longer than 30 s
Hint: Cut its power with "machine kill dev"

"#]]
    );
    host.ok(&["kill", "dev"]);
}

#[test]
fn a_crash_is_seen_and_the_machine_starts_again() {
    let host = Host::new();
    host.create("dev");
    let id = host.machine_folder("dev").display().to_string();
    host.driver.crash(&Instance { id, data: serde_json::Value::Null }).unwrap();
    let run = host.run(&["status", "dev"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "Error\n"));
    assert!(run.stderr.contains("start it with machine start dev"), "{run:?}");
    host.ok(&["start", "dev"]);
    assert_eq!(host.ok(&["status", "dev"]), "Running\n");
}

#[test]
fn the_console_is_shown() {
    let host = Host::new();
    host.create("dev");
    assert_eq!(host.ok(&["logs", "dev"]), "Booted\n");
    assert_eq!(host.ok(&["logs", "--keeper", "dev"]), "");
    std::fs::write(host.machine_folder("dev").join("keeper.log"), "one\ntwo\nthree\n").unwrap();
    assert_eq!(host.ok(&["logs", "--keeper", "-n", "2", "dev"]), "two\nthree\n");
}
