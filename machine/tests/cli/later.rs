//! What is changed after `create`, what is cleaned up, and what moves: `set`, `gc`, `export`, `import`, `mount`,
//! templates and autostart.

use crate::support::Host;
use machine_drivers::testing::MemoryDriver;
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc};

fn host_with_home() -> (Host, PathBuf) {
    let mut host = Host::new();
    let home = host.store().with_file_name("home");
    fs::create_dir(&home).unwrap();
    host.variables.insert("HOME".to_owned(), home.display().to_string());
    (host, home)
}

#[test]
fn sizes_change() {
    let host = Host::new();
    host.ok(&["create", "-d", "memory", "--cpus", "1", "dev"]);
    let set = host.run(&["set", "dev", "--cpus", "4", "--memory", "3g", "--disk", "30"]);
    assert_eq!(
        (set.code, set.stderr.as_str()),
        (0, "This counts from the next start: machine restart dev\n")
    );
    let request =
        "{{.Machine.Request.CPUs}}{{with .Machine.Request}}{{.Cpus}} {{.MemoryMiB}} {{.DiskGiB}}{{end}}";
    assert_eq!(host.ok(&["inspect", "dev", "-f", request]), "<no value>4 3072 30\n");
    assert_eq!(host.ok(&["inspect", "dev", "-f", "{{.Machine.Instance.data.cpus}}"]), "4\n");
    let stderr = host.fails(1, &["set", "dev", "--disk", "10"]);
    assert!(
        stderr.contains("Could not change machine \"dev\"\nCaused by: The disk has 30 GiB and can only grow"),
        "{stderr}"
    );
    assert!(host.fails(2, &["set", "dev"]).contains("Say what to set"));
}

#[test]
fn templates_are_options_that_were_typed_before() {
    let mut host = Host::new();
    let config = host.store().with_file_name("config.toml");
    fs::write(&config, "[template.ci]\ndriver = \"memory\"\ncpus = 4\nmemory = \"4g\"\nengine-label = [\"tier=ci\"]\nmemory-ssh-port = 77\n").unwrap();
    host.variables.insert("MACHINE_CONFIG".to_owned(), config.display().to_string());
    host.ok(&["create", "--template", "ci", "--memory", "1g", "--engine-label", "mine=1", "dev"]);
    let said = "{{with .Machine.Request}}{{.Cpus}} {{.MemoryMiB}}{{end}} {{.Driver.SSHPort}} {{.HostOptions.EngineOptions.Labels}}";
    assert_eq!(host.ok(&["inspect", "dev", "-f", said]), "4 1024 77 [tier=ci mine=1]\n");
    let stderr = host.fails(1, &["create", "--template", "none", "other"]);
    assert!(stderr.contains("There is no template \"none\" in"), "{stderr}");
    fs::write(&config, "[template.ci]\nno-such-option = 1\n").unwrap();
    assert!(host.fails(2, &["create", "--template", "ci", "other"]).contains("--no-such-option"));
    assert_eq!(host.entries(), ["dev"]);
}

#[test]
fn proxies_are_inherited_unless_that_is_not_wanted() {
    let mut host = Host::new();
    host.variables.insert("https_proxy".to_owned(), "http://localhost:3128".to_owned());
    host.variables.insert("NO_PROXY".to_owned(), ".corp".to_owned());
    let env =
        |host: &Host, name: &str| host.ok(&["inspect", name, "-f", "{{.HostOptions.EngineOptions.Env}}"]);
    host.create("dev");
    assert_eq!(
        env(&host, "dev"),
        "[HTTPS_PROXY=http://10.0.2.2:3128 https_proxy=http://10.0.2.2:3128 NO_PROXY=.corp no_proxy=.corp]\n"
    );
    host.ok(&[
        "create",
        "-d",
        "memory",
        "--engine-env",
        "HTTPS_PROXY=http://other:1",
        "--engine-env",
        "no_proxy=x",
        "b",
    ]);
    assert_eq!(env(&host, "b"), "[HTTPS_PROXY=http://other:1 no_proxy=x]\n");
    host.ok(&["create", "-d", "memory", "--no-inherit", "c"]);
    assert_eq!(env(&host, "c"), "[]\n");
}

#[test]
fn a_machine_starts_with_the_computer_when_that_is_wanted() {
    let (host, home) = host_with_home();
    let unit = home.join(".config/systemd/user/machine-dev.service");
    let wanted = home.join(".config/systemd/user/default.target.wants/machine-dev.service");
    host.ok(&["create", "-d", "memory", "--autostart", "dev"]);
    let text = fs::read_to_string(&unit).unwrap();
    assert!(
        text.contains(&format!("Environment=\"MACHINE_STORAGE_PATH={}\"\n", host.store().display())),
        "{text}"
    );
    assert!(
        text.contains("bin/machine\" start dev\n") && text.contains("bin/machine\" stop dev\n"),
        "{text}"
    );
    assert!(wanted.exists());
    host.ok(&["set", "dev", "--autostart=false"]);
    assert!(!unit.exists() && !wanted.is_symlink());
    host.ok(&["set", "dev", "--autostart"]);
    assert!(wanted.exists());
    host.ok(&["rm", "-y", "dev"]);
    assert!(!unit.exists() && !wanted.is_symlink());
    fs::write(&unit, "[Service]\nExecStart=/bin/mine\n").unwrap();
    host.create("dev");
    assert!(host.fails(1, &["set", "dev", "--autostart"]).contains("is of something else"));
    host.ok(&["rm", "-y", "dev"]);
    assert!(unit.exists(), "somebody else's stays");
}

#[test]
fn leftovers_go() {
    let (host, home) = host_with_home();
    for name in ["half", "gone", "whole"] {
        host.ok(&["create", "-d", "memory", "--autostart", name]);
    }
    host.edit_record("half", |record| record["Machine"]["State"] = "Creating".into());
    fs::remove_dir_all(host.machine_folder("gone")).unwrap();
    let told = host.run(&["gc", "--dry-run"]);
    assert!(told.stderr.contains("Machine \"half\" was left by an interrupted command"), "{told:?}");
    assert!(told.stderr.contains("The unit of machine \"gone\" is of no use any more"), "{told:?}");
    assert_eq!(host.entries(), ["half", "whole"]);
    host.ok(&["gc"]);
    assert_eq!(host.entries(), ["whole"]);
    let count = |folder: &str| fs::read_dir(home.join(folder)).unwrap().count();
    assert_eq!(count(".docker/contexts/meta"), 1);
    // One unit and the folder of links.
    assert_eq!((count(".config/systemd/user"), count(".config/systemd/user/default.target.wants")), (2, 1));
    assert_eq!(host.run(&["gc"]).stderr, "");
}

#[test]
fn a_machine_moves() {
    let host = Host::new();
    host.ok(&["create", "-d", "memory", "--engine-label", "a=b", "--tls-san", "x.example", "dev"]);
    let read = |path: PathBuf| fs::read(path).unwrap();
    fs::write(host.machine_folder("dev").join("memory-contents"), "what it holds").unwrap();
    assert!(host.fails(1, &["export", "dev"]).contains("It is running, and its disk changes"));
    host.ok(&["stop", "dev"]);
    let said = host.run(&["export", "dev"]);
    assert_eq!((said.code, said.stderr.contains("Wrote dev.machine")), (0, true), "{said:?}");
    let file = host.store().with_file_name("dev.machine");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    // Another computer: another store, another driver instance.
    let other = Host::new();
    let path = file.display().to_string();
    other.ok(&["import", &path]);
    assert_eq!(other.ok(&["status", "dev"]), "Stopped\n");
    for name in ["id_ed25519", "ssh_host_ed25519_key", "memory-contents"] {
        assert_eq!(
            read(other.machine_folder("dev").join(name)),
            read(host.machine_folder("dev").join(name)),
            "{name}"
        );
    }
    assert_eq!(other.ok(&["inspect", "dev", "-f", "{{.HostOptions.EngineOptions.Labels}}"]), "[a=b]\n");
    other.ok(&["start", "dev"]);
    assert!(other.fails(1, &["import", &path]).contains("already exists"));
    other.ok(&["import", &path, "copy"]);
    assert_eq!(other.entries(), ["copy", "dev"]);

    fs::write(&file, "something else").unwrap();
    assert!(other.fails(1, &["import", &path, "x"]).contains("is no exported machine"));
    assert_eq!(other.entries(), ["copy", "dev"]);
}

#[test]
fn a_folder_is_mounted_by_sshfs_with_the_pinned_key() {
    let mut host = Host::new();
    host.create("dev");
    let bin = host.store().with_file_name("tools");
    fs::create_dir(&bin).unwrap();
    let said = bin.join("said");
    host.variables.insert("PATH".to_owned(), "/nonexistent".to_owned());
    let stderr = host.fails(1, &["mount", "dev:/srv", "here"]);
    assert!(stderr.contains("You must have a copy of the sshfs binary locally"), "{stderr}");
    for tool in ["sshfs", "fusermount"] {
        fs::write(bin.join(tool), format!("#!/bin/sh\necho {tool} \"$@\" >> {}\n", said.display())).unwrap();
        fs::set_permissions(bin.join(tool), fs::Permissions::from_mode(0o755)).unwrap();
    }
    host.variables.insert("PATH".to_owned(), format!("{}:/usr/bin:/bin", bin.display()));
    host.ok(&["mount", "dev:/srv", "here"]);
    host.ok(&["mount", "-u", "dev:/srv", "here"]);
    let said = fs::read_to_string(said).unwrap();
    assert!(said.starts_with("sshfs root@127.0.0.1:/srv "), "{said}");
    assert!(said.contains("StrictHostKeyChecking=yes") && said.contains("\nfusermount -u "), "{said}");
    let known = fs::read_to_string(host.machine_folder("dev").join("known_hosts")).unwrap();
    assert!(known.starts_with("[127.0.0.1]:1 ssh-ed25519 "), "{known}");
}

#[test]
fn folders_are_the_users_home_or_what_is_named() {
    let (mut host, home) = host_with_home();
    let (mut image, other) = (home.with_file_name("image"), home.with_file_name("other"));
    for folder in [&image, &other] {
        fs::create_dir(folder).unwrap();
    }
    let other = other.display().to_string();
    // Not where nothing of ours could mount them.
    for arguments in
        [&["create", "-d", "memory", "--mount", &other, "dev"][..], &["set", "plain", "--mount", &other]]
    {
        if arguments[0] == "set" {
            host.create("plain");
        }
        let stderr = host.fails(1, arguments);
        assert!(stderr.contains("cannot be shown to a machine whose engine is not ours"), "{stderr}");
        assert!(!host.machine_folder("dev").exists());
    }
    let folders = |host: &Host, name: &str| {
        host.ok(&[
            "inspect",
            name,
            "-f",
            "{{range .Machine.Request.Folders}}{{.path}} {{.read_only}},{{end}}",
        ])
    };
    assert_eq!(folders(&host, "plain"), "\n");

    host.driver = Arc::new(MemoryDriver::new().with_seed_channel());
    image.push("manifest.json");
    fs::write(&image, "{}").unwrap();
    image.pop();
    host.variables.insert("MACHINE_GUEST_IMAGE".to_owned(), image.display().to_string());
    host.create("dev");
    assert_eq!(folders(&host, "dev"), format!("{} false,\n", home.display()));
    let set = host.run(&["set", "dev", "--mount", &format!("{other}:ro")]);
    assert_eq!(
        (set.code, set.stderr.as_str()),
        (0, "This counts from the next start: machine restart dev\n")
    );
    assert_eq!(folders(&host, "dev"), format!("{other} true,\n"));
    host.ok(&["set", "dev", "--no-mount"]);
    assert_eq!(folders(&host, "dev"), "\n");
    host.ok(&["create", "-d", "memory", "--no-mount", "none"]);
    assert_eq!(folders(&host, "none"), "\n");
    assert!(
        host.fails(2, &["create", "-d", "memory", "--mount", "/etc", "x"]).contains("/etc cannot be shared")
    );
    assert!(
        host.fails(2, &["create", "-d", "memory", "--mount", &other, "--no-mount", "x"])
            .contains("contradict")
    );
}
