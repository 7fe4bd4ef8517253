//! `create` that succeeds, fails and is cut short by Ctrl-C.

use crate::support::Host;
use machine_drivers::{DriverError, testing::Step};
use snapbox::{assert_data_eq, str};
use tokio::sync::watch;

fn refuse(host: &Host, step: Step) {
    host.driver.fail_next(step, DriverError::Provider { what: "No room".to_owned() });
}

#[test]
fn progress_is_on_stderr_and_stdout_is_empty() {
    let host = Host::new();
    let run = host.run(&["create", "--driver", "memory", "--cpus", "2", "dev"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, ""));
    assert_data_eq!(
        run.stderr,
        str![[r#"
Creating CA: [STORE]/certs/ca.pem
Creating client certificate: [STORE]/certs/cert.pem
Running pre-create checks...
Creating machine...
(dev) Making a pretended VM
(dev) Starting a pretended VM
Waiting for machine to be running, this may take a few minutes...
(dev) booting (0.[..] s)
(dev) mounting the data disk (0.[..] s)
Docker is up and running!
To see how to connect your Docker Client to the Docker Engine running on this virtual machine, run: machine env dev

"#]]
    );
    assert_eq!(host.ok(&["status", "dev"]), "Running\n");
    assert_eq!(host.entries(), ["dev"]);
}

#[test]
fn the_record_has_what_was_asked_for_where_tools_look_for_it() {
    let host = Host::new();
    host.ok(&[
        "create",
        "-d",
        "memory",
        "--memory",
        "2g",
        "--engine-label",
        "a=b",
        "--engine-env",
        "X=1",
        "dev",
    ]);
    let field = |template: &str| host.ok(&["inspect", "dev", "-f", template]);
    assert_eq!(field("{{.HostOptions.AuthOptions.StorePath}}"), "[STORE]/machines/dev\n");
    assert_eq!(field("{{.Driver.IPAddress}} {{.DriverName}}"), "127.0.0.1 memory\n");
    assert_eq!(field("{{json .HostOptions.EngineOptions.Labels}}"), "[\"a=b\"]\n");
    assert_eq!(field("{{.Machine.State}} {{.Machine.Request.MemoryMiB}}"), "Created 2048\n");
    let whole: serde_json::Value = serde_json::from_str(&host.ok(&["inspect", "dev"])).unwrap();
    assert_eq!(whole["ConfigVersion"], 3);
}

#[test]
fn a_failed_check_is_code_3_and_leaves_nothing() {
    let host = Host::new();
    let hint = "Install QEMU with \"apt install qemu-system-x86\"".to_owned();
    host.driver
        .fail_next(Step::Check, DriverError::Prerequisite { what: "QEMU is missing".to_owned(), hint });
    let stderr = host.fails(3, &["create", "-d", "memory", "dev"]);
    assert_data_eq!(
        stderr,
        str![[r#"
Creating CA: [STORE]/certs/ca.pem
Creating client certificate: [STORE]/certs/cert.pem
Running pre-create checks...
Error: Error with pre-create check
Caused by: QEMU is missing
Hint: Install QEMU with "apt install qemu-system-x86"

"#]]
    );
    assert!(host.entries().is_empty());
}

#[test]
fn a_failure_at_any_step_is_rolled_back() {
    for step in [Step::Create, Step::Start, Step::Access] {
        let host = Host::new();
        refuse(&host, step);
        let stderr = host.fails(1, &["create", "-d", "memory", "dev"]);
        assert!(stderr.contains("Error: Could not create machine \"dev\"\nCaused by: No room\n"), "{stderr}");
        assert!(host.entries().is_empty(), "{step:?}");
        assert!(!host.kept("dev"), "{step:?}");
        host.create("dev");
    }
}

#[test]
fn a_guest_that_fails_shows_its_console() {
    let host = Host::new();
    *host.guests.broken.lock().unwrap() = true;
    let stderr = host.fails(1, &["create", "-d", "memory", "dev"]);
    assert_data_eq!(
        stderr,
        str![[r#"
Creating CA: [STORE]/certs/ca.pem
Creating client certificate: [STORE]/certs/cert.pem
Running pre-create checks...
Creating machine...
(dev) Making a pretended VM
(dev) Starting a pretended VM
Waiting for machine to be running, this may take a few minutes...
(dev) booting ([..] s)
(dev) mounting the data disk ([..] s)
Error: Could not create machine "dev"
Caused by:
1: Machine "dev" did not get ready: it gave up while mounting the data disk, after [..] s
2: The data disk is damaged
3: The console's last lines:
    Booted
Hint: Add --keep-on-error to keep the machine and its logs

"#]]
    );
    assert!(host.entries().is_empty());
}

#[test]
fn a_guest_that_crashes_before_its_seed_is_started_once_more() {
    let host = Host::new();
    *host.guests.crashing.lock().unwrap() = vec![host.driver.clone()];
    let run = host.run(&["create", "-d", "memory", "dev"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.contains("Starting it once more..."), "{run:?}");
    assert_eq!(host.ok(&["status", "dev"]), "Running\n");

    *host.guests.crashing.lock().unwrap() = vec![host.driver.clone(); 2];
    let stderr = host.fails(1, &["create", "-d", "memory", "worse"]);
    assert!(stderr.contains("The VM has ended"), "{stderr}");
    assert_eq!(host.entries(), ["dev"]);
}

#[test]
fn keep_on_error_keeps_a_machine_that_can_be_started() {
    let host = Host::new();
    *host.guests.broken.lock().unwrap() = true;
    let stderr = host.fails(1, &["create", "-d", "memory", "--keep-on-error", "dev"]);
    assert!(stderr.contains("try \"machine start dev\", or remove it with \"machine rm dev\""), "{stderr}");
    *host.guests.broken.lock().unwrap() = false;
    host.ok(&["start", "dev"]);
    assert_eq!(host.ok(&["status", "dev"]), "Running\n");
}

#[test]
fn keep_on_error_keeps_nothing_that_the_driver_has_not_made() {
    let host = Host::new();
    refuse(&host, Step::Create);
    host.fails(1, &["create", "-d", "memory", "--keep-on-error", "dev"]);
    assert!(host.entries().is_empty());
}

#[test]
fn a_failed_rollback_is_told_and_can_be_repeated() {
    let host = Host::new();
    refuse(&host, Step::Start);
    host.driver.fail_next(Step::Remove, DriverError::Provider { what: "Not now".to_owned() });
    let stderr = host.fails(1, &["create", "-d", "memory", "dev"]);
    assert!(stderr.contains("No room") && stderr.contains("Cleaning up failed as well: Not now"), "{stderr}");
    assert!(stderr.contains("Hint: Remove what is left with \"machine rm dev\""), "{stderr}");
    host.ok(&["rm", "-y", "dev"]);
    assert!(host.entries().is_empty());
}

#[test]
fn ctrl_c_rolls_back_and_is_code_130() {
    let host = Host::new();
    *host.guests.stuck.lock().unwrap() = true;
    let (waiting, mut begun) = watch::channel(0);
    *host.guests.waiting.lock().unwrap() = Some(waiting);
    let run = std::thread::scope(|scope| {
        let create = scope.spawn(|| host.run(&["create", "-d", "memory", "dev"]));
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(begun.changed()).unwrap();
        host.interrupt.send_modify(|count| *count += 1);
        create.join().unwrap()
    });
    assert_eq!(run.code, 130, "{run:?}");
    assert!(run.stderr.ends_with("Error: Interrupted\n"), "{run:?}");
    assert!(host.entries().is_empty());
    assert_eq!(host.driver.calls().last(), Some(&Step::Remove));
}
