//! Drivers that are programs, as users meet them.

use crate::support::Host;
use serde_json::{Value, json};
use std::{fs, net::TcpListener, path::Path, process::Command};

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
    let calls = fs::read_to_string(host.programs[0].join("late.calls")).unwrap();
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

#[test]
fn a_program_is_checked_rule_by_rule() {
    let (host, _, listener) = pool();
    let port = listener.local_addr().unwrap().port();
    let of = |name: &str| {
        format!(r#"{{ "name": "{name}", "host": "127.0.0.1", "port": {port}, "host_keys": ["SHA256:x"] }}"#)
    };
    let file = host.file("two.json", &format!("[{}, {}]", of("a"), of("b")));
    let program = host.programs[0].join("machine-driver-inventory").display().to_string();
    let run = host.run(&["driver", "check", &program, "--", "--inventory-file", &file]);
    assert_eq!((run.code, run.stderr.as_str()), (0, "All 16 rules were kept\n"), "{run:?}");
    assert!(run.stdout.starts_with("kept    describes itself\nkept    check changes nothing\n"), "{run:?}");
    assert_eq!(run.stdout.lines().count(), 16);

    let one =
        host.run(&["driver", "check", &program, "--", "--inventory-file", &file, "--inventory-host", "a"]);
    assert_eq!(one.code, 1, "{one:?}");
    assert!(one.stdout.contains("broken  machines are independent: "), "{one:?}");
    assert!(
        one.stderr.starts_with("Error: 1 of 16 rules were broken\nHint: What machines have left is in "),
        "{one:?}"
    );
    let wrong = host.fails(2, &["driver", "check", &program, "--", "--nope"]);
    assert_eq!(wrong, "Error: unexpected argument '--nope' found\n");
    let stranger = host.fails(1, &["driver", "check", "/bin/sh"]);
    assert!(stranger.starts_with("Error: /bin/sh is no driver's program\nHint: "), "{stranger}");
}

/// docker-machine's plugin of `driver-plugin`'s tests, and a folder that is its cloud.
fn toy() -> (Host, String) {
    let mut host = Host::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../drivers/plugin/tests/go");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = tempfile::tempdir_in(out).unwrap().keep();
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(folder.join("docker-machine-driver-toy"))
        .arg("./toy")
        .current_dir(source)
        .env("GOCACHE", out.join("go-cache"))
        .output()
        .expect("Go is installed (golang-go)");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let cloud = folder.join("cloud");
    fs::create_dir(&cloud).unwrap();
    host.programs = vec![folder];
    (host, cloud.display().to_string())
}

fn record(host: &Host) -> Value {
    serde_json::from_slice(&fs::read(host.machine_folder("dev").join("config.json")).unwrap()).unwrap()
}

/// From `create` with a plugin of docker-machine's to what docker-machine itself would find, and back.
#[test]
fn docker_machines_plugins_drive_new_machines_and_old_ones() {
    let (host, cloud) = toy();
    let help = host.ok(&["create", "-d", "toy", "--help"]);
    assert!(help.contains("--toy-region <TEXT>") && help.contains("--toy-ssh-host-key <TEXT>"), "{help}");
    let created = host.run(&["create", "-d", "toy", "--toy-cloud", &cloud, "--toy-region", "ams", "dev"]);
    assert_eq!(created.code, 0, "{created:?}");
    let told = "(dev) This driver's plugin cannot tell the machine's SSH host key: the one that is shown at the first \
                contact is pinned (or pass --toy-ssh-host-key)\n";
    assert!(created.stderr.contains(told), "{created:?}");
    let state = record(&host)["Driver"].clone();
    assert_eq!((&state["Region"], &state["IPAddress"]), (&json!("ams"), &json!("10.9.8.7")));
    assert_eq!(state["StorePath"], json!(host.store()));
    host.ok(&["restart", "dev"]);
    assert_eq!(record(&host)["Driver"]["IPAddress"], "10.9.8.8");
    assert_eq!(host.ok(&["ip", "dev"]), "10.9.8.8\n");

    // The same machine as docker-machine would have left it.
    fs::remove_file(host.machine_folder("dev").join("plugin.json")).unwrap();
    host.edit_record("dev", |record| {
        record.as_object_mut().unwrap().remove("Machine");
        record["Driver"]["IPAddress"] = "10.9.8.1".into();
    });
    assert_eq!(host.ok(&["status", "dev"]), "Running\n");
    assert_eq!(host.ok(&["url", "dev"]), "tcp://10.9.8.1:2376\n");
    host.ok(&["stop", "dev"]);
    assert_eq!(host.ok(&["status", "dev"]), "Stopped\n");
    assert!(host.run(&["stop", "dev"]).stderr.contains("Machine \"dev\" is already stopped.\n"));
    // Its engine is nowhere, which is not waited for in a test.
    host.edit_record("dev", |record| record["HostOptions"] = json!({}));
    let started = host.run(&["start", "dev"]);
    assert_eq!(started.code, 0, "{started:?}");
    assert!(started.stderr.contains("Its address is 10.9.8.8 now"), "{started:?}");
    assert_eq!(record(&host)["Driver"]["IPAddress"], "10.9.8.8");
    assert!(record(&host).get("Machine").is_none(), "it is docker-machine's still");
    host.ok(&["rm", "-y", "dev"]);
    assert!(host.entries().is_empty());
    assert_eq!(fs::read_dir(&cloud).unwrap().count(), 0);
}
