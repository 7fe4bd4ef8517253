//! Docker's contexts, `use`, and what shells complete.

use crate::support::Host;
use serde_json::Value;
use std::{fs, path::PathBuf};

fn host() -> Host {
    let mut host = Host::new();
    host.variables.insert("HOME".to_owned(), host.store().with_file_name("home").display().to_string());
    host
}

fn contexts(host: &Host) -> Vec<Value> {
    let folder = host.store().with_file_name("home").join(".docker/contexts/meta");
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let read = |path: PathBuf| serde_json::from_slice(&fs::read(path.join("meta.json")).unwrap()).unwrap();
    entries.map(|entry| read(entry.unwrap().path())).collect()
}

#[test]
fn a_context_lives_as_long_as_its_machine() {
    let mut host = host();
    host.create("dev");
    let [context] = &contexts(&host)[..] else { panic!("not one context") };
    assert_eq!(context["Name"], "machine-dev");
    let socket = host.machine_folder("dev").join("docker.sock");
    assert_eq!(context["Endpoints"]["docker"]["Host"], format!("unix://{}", socket.display()));

    assert!(host.fails(1, &["active"]).contains("No active host found"));
    let used = host.run(&["use", "dev"]);
    assert_eq!(
        (used.code, used.stderr.as_str()),
        (0, "docker talks to machine \"dev\" (context machine-dev)\n")
    );
    assert_eq!(host.ok(&["active"]), "dev\n");
    assert_eq!(host.ok(&["ls", "-f", "{{.Active}}"]), "*\n");
    host.variables.insert("DOCKER_HOST".to_owned(), "unix:///other.sock".to_owned());
    assert!(host.fails(1, &["active"]).contains("No active host found"));
    assert!(host.run(&["use", "dev"]).stderr.contains("Warning: DOCKER_HOST is set in this shell"));
    host.variables.remove("DOCKER_HOST");
    host.variables.insert("DOCKER_CONTEXT".to_owned(), "default".to_owned());
    assert!(host.fails(1, &["active"]).contains("No active host found"));
    host.variables.remove("DOCKER_CONTEXT");
    host.ok(&["use", "-u"]);
    assert!(host.fails(1, &["active"]).contains("No active host found"));

    host.ok(&["use", "dev"]);
    host.ok(&["rm", "-y", "dev"]);
    assert_eq!(contexts(&host), [] as [Value; 0]);
    let config = fs::read_to_string(host.store().with_file_name("home").join(".docker/config.json")).unwrap();
    assert_eq!(config, "{}\n");
}

#[test]
fn a_context_that_cannot_be_kept_stops_nothing() {
    let host = host();
    let home = host.store().with_file_name("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join(".docker"), "a file").unwrap();
    let run = host.run(&["create", "-d", "memory", "dev"]);
    assert!(run.code == 0 && run.stderr.contains("Warning: The docker context could not be kept"), "{run:?}");
    assert_eq!(host.run(&["rm", "-y", "dev"]).code, 0);
}

#[test]
fn shells_complete_commands_options_and_machines() {
    let mut host = Host::new();
    host.create("dev");
    host.create("web");
    for shell in ["bash", "zsh", "fish", "powershell"] {
        assert!(host.ok(&["completion", shell]).contains("COMPLETE"), "{shell}");
    }
    assert!(host.fails(2, &["completion", "dos"]).contains("bash, zsh, fish"));
    host.variables.insert("COMPLETE".to_owned(), "fish".to_owned());
    let candidates = |words: &[&str]| {
        let said = host.ok(&[&["--", "machine"], words].concat());
        said.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(candidates(&["st"]).starts_with(&["start".to_owned(), "status".to_owned(), "stop".to_owned()]));
    assert_eq!(candidates(&["stop", ""])[..2], ["dev", "web"]);
    assert_eq!(candidates(&["stop", "dev", "w"]), ["web"]);
    assert_eq!(candidates(&["env", "--tc"]), ["--tcp"]);
    assert!(candidates(&["create", "--memory-s"]).contains(&"--memory-ssh-port".to_owned()));
    assert!(!candidates(&["create", ""]).contains(&"dev".to_owned()));
}

#[test]
fn manual_pages() {
    let host = Host::new();
    assert!(host.ok(&["man"]).contains(".TH machine 1"));
    let folder = host.store().with_file_name("man");
    host.ok(&["man", "--output", &folder.display().to_string()]);
    for page in ["machine.1", "machine-create.1", "machine-env.1"] {
        assert!(folder.join(page).exists(), "{page}");
    }
    assert!(fs::read_to_string(folder.join("machine-create.1")).unwrap().contains("memory\\-ssh\\-port"));
}
