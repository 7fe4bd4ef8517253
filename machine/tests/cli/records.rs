//! Records that are not (quite) ours.

use crate::support::Host;
use std::fs;

fn put(host: &Host, name: &str, text: &str) {
    fs::create_dir_all(host.machine_folder(name)).unwrap();
    fs::write(host.machine_folder(name).join("config.json"), text).unwrap();
}

const THEIRS: &str = r#"{"ConfigVersion":3,"Driver":{"IPAddress":"192.168.99.100","MachineName":"old"},
    "DriverName":"virtualbox","HostOptions":{},"Name":"old"}"#;

#[test]
fn docker_machines_own_are_listed_and_shown() {
    let host = Host::new();
    put(&host, "old", THEIRS);
    host.create("new");
    let listed = host.ok(&["ls", "-f", "{{.Name}}|{{.DriverName}}|{{.State}}|{{.Error}}"]);
    let theirs =
        "old|virtualbox|Error|Machine \"old\" was made by docker-machine with driver \"virtualbox\"\n";
    assert!(listed.starts_with("new|memory|Running|") && listed.ends_with(theirs), "{listed}");
    assert_eq!(host.ok(&["inspect", "old", "-f", "{{.Driver.IPAddress}}"]), "192.168.99.100\n");
    assert!(host.fails(1, &["start", "old"]).contains("was made by docker-machine"));
    assert!(host.fails(1, &["create", "-d", "memory", "old"]).contains("already exists"));
    assert!(host.fails(1, &["rm", "-y", "old"]).contains("machine rm -f old"));
    host.ok(&["rm", "-f", "old"]);
    assert_eq!(host.entries(), ["new"]);
}

#[test]
fn a_missing_driver_breaks_neither_ls_nor_rm_with_force() {
    let host = Host::new();
    host.create("dev");
    host.edit_record("dev", |record| record["DriverName"] = "gone".into());
    assert_eq!(
        host.ok(&["ls", "-f", "{{.DriverName}}|{{.State}}|{{.Error}}"]),
        "gone|Error|Driver \"gone\" not found\n"
    );
    let stderr = host.fails(1, &["start", "dev"]);
    assert!(
        stderr.contains("Driver \"gone\" not found") && stderr.contains("Known drivers: memory"),
        "{stderr}"
    );
    host.ok(&["rm", "-f", "dev"]);
}

#[test]
fn a_newer_record_is_refused_and_left_alone() {
    let host = Host::new();
    host.create("dev");
    host.edit_record("dev", |record| record["Machine"]["Version"] = 99.into());
    for command in [&["start", "dev"][..], &["rm", "-f", "dev"], &["inspect", "dev"]] {
        let stderr = host.fails(1, command);
        assert!(stderr.contains("a newer machine wrote it"), "{stderr}");
    }
    assert!(host.ok(&["ls"]).contains("a newer machine wrote it"));
    assert_eq!(host.entries(), ["dev"]);
}

#[test]
fn a_damaged_record_is_told_and_goes_with_force() {
    let host = Host::new();
    put(&host, "bad", "{ not json");
    host.create("good");
    assert!(
        host.ok(&["ls", "-f", "{{.Name}} {{.Error}}"]).starts_with("bad Could not use [STORE]/machines/bad")
    );
    assert!(host.fails(1, &["status", "bad"]).contains("The record is damaged"));
    assert!(host.fails(1, &["rm", "-y", "bad"]).contains("The record is damaged"));
    host.ok(&["rm", "-f", "bad"]);
    assert_eq!(host.entries(), ["good"]);
}

#[test]
fn a_generic_machine_of_docker_machines_is_reached_where_it_was() {
    let host = Host::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    put(
        &host,
        "old",
        &format!(
            r#"{{"ConfigVersion":3,"Driver":{{"IPAddress":"127.0.0.1","MachineName":"old","EnginePort":{}}},
        "DriverName":"generic","HostOptions":{{"AuthOptions":{{"CaCertPath":"/c/ca.pem","ClientCertPath":
        "/c/cert.pem","ClientKeyPath":"/c/key.pem","StorePath":"/s/machines/old"}}}},"Name":"old"}}"#,
            address.port()
        ),
    );
    assert_eq!(host.ok(&["url", "old"]), format!("tcp://{address}\n"));
    assert_eq!(host.ok(&["ip", "old"]), "127.0.0.1\n");
    assert_eq!(host.ok(&["status", "old"]), "Running\n");
    // It is dialled with its certificates first, and these do not exist.
    assert!(host.fails(1, &["env", "old"]).contains("Error checking TLS connection"));
    drop(listener);
    assert_eq!(host.run(&["status", "old"]).stdout, "Stopped\n");
    assert!(
        host.ok(&["ls", "-f", "{{.State}} {{.Error}}"]).starts_with("Stopped Could not connect to tcp://")
    );
}
