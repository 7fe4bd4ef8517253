//! Drivers that are programs, as users meet them.

use crate::support::Host;
use std::net::TcpListener;

/// A pool of one host, and the driver that hands it out.
fn pool() -> (Host, String, TcpListener) {
    let mut host = Host::new();
    host.install("examples/machine-driver-inventory", "machine-driver-inventory");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let hosts =
        format!(r#"[{{ "name": "lab-1", "host": "127.0.0.1", "port": {port}, "host_keys": ["SHA256:x"] }}]"#);
    let file = host.file("hosts.json", &hosts);
    (host, file, listener)
}

#[test]
fn a_machine_of_one_lives_like_any_other() {
    let (host, file, _listener) = pool();
    let created = host.run(&["create", "-d", "inventory", "--inventory-file", &file, "dev"]);
    assert_eq!(created.code, 0, "{created:?}");
    assert!(created.stderr.contains("(dev) 1 of 1 hosts are free\n"), "{}", created.stderr);
    assert!(created.stderr.contains("(dev) Taking the host lab-1 at 127.0.0.1\n"), "{}", created.stderr);
    assert_eq!(host.ok(&["ls", "-f", "{{.Name}} {{.DriverName}} {{.State}}"]), "dev inventory Running\n");
    assert_eq!(host.ok(&["ip", "dev"]), "127.0.0.1\n");
    let full = host.fails(3, &["create", "-d", "inventory", "--inventory-file", &file, "more"]);
    assert!(
        full.ends_with(
            "Error: Error with pre-create check\n\
             Caused by: All hosts that would do are taken: lab-1\n\
             Hint: Remove a machine\n"
        ),
        "{full}"
    );
    host.ok(&["stop", "dev"]);
    assert_eq!(host.ok(&["status", "dev"]), "Stopped\n");
    host.ok(&["start", "dev"]);
    host.ok(&["rm", "-y", "dev"]);
    assert!(host.entries().is_empty());
    host.ok(&["create", "-d", "inventory", "--inventory-file", &file, "again"]);
}

#[test]
fn its_options_are_in_the_help() {
    let mut host = Host::new();
    host.install("tests/external/unruly.py", "machine-driver-odd");
    let help = host.ok(&["create", "-d", "odd", "--help"]);
    let (_, options) = help.split_once("Driver options:\n").unwrap();
    let words = options.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        words,
        "--odd-size <TEXT> How large [env: UNRULY_SIZE=] [default: small] --odd-token <SECRET> Who asks \
         --odd-count <NUMBER> How many [default: 2] --odd-fast Be quick --odd-tag <TEXT> A word (repeatable) \
         Drivers: memory, odd; --driver NAME --help shows the options of another one"
    );
    let wrong = host.fails(2, &["create", "-d", "odd", "--odd-count", "many", "dev"]);
    assert!(wrong.starts_with("Error: invalid value 'many' for '--odd-count <NUMBER>'"), "{wrong}");
}

#[test]
fn what_was_looked_for_is_told() {
    let mut host = Host::new();
    host.install("tests/external/unruly.py", "machine-driver-odd");
    let folder = host.programs[0].display().to_string();
    let wanted = format!(
        "Error: Driver \"nope\" not found\nHint: Known drivers: memory\n\
         Hint: Looked for machine-driver-nope and docker-machine-driver-nope in {folder}\n"
    );
    assert_eq!(host.fails(1, &["create", "-d", "nope", "dev"]), wanted);
    assert_eq!(host.fails(1, &["create", "-d", "nope", "--nope-region", "x", "dev"]), wanted);
    let path = host.fails(1, &["create", "-d", "../machine-driver-odd", "dev"]);
    assert!(path.starts_with("Error: Driver \"../machine-driver-odd\" not found\n"), "{path}");
    assert!(host.entries().is_empty());
}

#[test]
fn one_that_does_not_speak_is_told_before_anything_is_made() {
    let mut host = Host::new();
    for rule in ["version", "early"] {
        host.install("tests/external/unruly.py", &format!("machine-driver-{rule}"));
    }
    assert_eq!(
        host.fails(1, &["create", "-d", "version", "dev"]),
        "Error: The driver's program machine-driver-version speaks version 7 of the protocol, and this machine \
         speaks 1\n"
    );
    assert_eq!(
        host.fails(1, &["create", "-d", "early", "--help"]),
        "Error: The driver's program machine-driver-early ended (exit status: 1); it said last: No module named \
         cloud\n"
    );
    assert!(host.entries().is_empty());
}

#[test]
fn one_that_dies_half_way_leaves_nothing() {
    let mut host = Host::new();
    host.install("tests/external/unruly.py", "machine-driver-late");
    let stderr = host.fails(1, &["create", "-d", "late", "--late-token", "s3cret", "dev"]);
    let told = ["(dev) It will be late\n", "(dev) Making half of it\n"];
    assert!(told.iter().all(|line| stderr.contains(line)), "{stderr}");
    assert!(
        stderr.ends_with(
            "Error: Could not create machine \"dev\"\n\
             Caused by: The driver's program machine-driver-late did not answer \"create\": it ended (exit \
             status: 9); it said last: Killed\n"
        ),
        "{stderr}"
    );
    assert!(!stderr.contains("s3cret"));
    assert!(host.entries().is_empty());
    let calls = std::fs::read_to_string(host.programs[0].join("late.calls")).unwrap();
    assert_eq!(calls, "recover\nend of input\n", "another process was asked what the first one had made");
}

#[test]
fn a_machine_whose_program_is_gone_is_listed_and_goes_with_force() {
    let (mut host, file, _listener) = pool();
    host.ok(&["create", "-d", "inventory", "--inventory-file", &file, "dev"]);
    host.programs.clear();
    let listed = host.ok(&["ls", "-f", "{{.Name}} {{.DriverName}} {{.State}} {{.Error}}"]);
    assert_eq!(listed, "dev inventory Error Driver \"inventory\" not found\n");
    assert!(host.fails(1, &["rm", "-y", "dev"]).contains("Driver \"inventory\" not found"));
    host.ok(&["rm", "-f", "dev"]);
    assert!(host.entries().is_empty());
}
