//! Called as `docker-machine`: what its callers type, and what they read where.

use crate::support::{Host, Run};
use snapbox::{assert_data_eq, str};

fn called_as_docker_machine() -> Host {
    let mut host = Host::new();
    host.program = "/usr/local/bin/docker-machine".to_owned();
    host
}

fn quiet_on_stderr(run: &Run) {
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
}

/// What GitLab Runner's docker+machine executor runs, in its order and spelling.
#[test]
fn gitlab_runner() {
    let host = called_as_docker_machine();
    let runner = |arguments: &[&str]| host.run(&[&["--bugsnag-api-token=no-report"], arguments].concat());
    let name = "runner-abc-ci-1700000000-deadbeef";
    let created = runner(&[
        "create",
        "--driver",
        "memory",
        "--engine-registry-mirror=http://10.0.0.1:6000",
        "--engine-install-url=https://get.docker.com",
        "--memory-ssh-port=22",
        name,
    ]);
    quiet_on_stderr(&created);
    assert_data_eq!(
        created.stdout,
        str![[r#"
Warning: --engine-install-url is not used: a machine brings its own engine
Creating CA: [STORE]/certs/ca.pem
Creating client certificate: [STORE]/certs/cert.pem
Running pre-create checks...
Creating machine...
([..]) Making a pretended VM
([..]) Starting a pretended VM
Waiting for machine to be running, this may take a few minutes...
([..]) booting ([..] s)
([..]) mounting the data disk ([..] s)
Docker is up and running!
To see how to connect your Docker Client to the Docker Engine running on this virtual machine, run: machine env [..]

"#]]
    );
    assert!(host.machine_folder(name).join("config.json").exists(), "it looks for this file");
    assert_eq!(runner(&["url", name]).stdout, "tcp://127.0.0.1:2376\n");
    let path = runner(&["inspect", name, "-f", "{{.HostOptions.AuthOptions.StorePath}}"]);
    assert_eq!(path.stdout, format!("[STORE]/machines/{name}\n"));
    assert_eq!(runner(&["inspect", name]).code, 0);
    assert_eq!(runner(&["inspect", "absent"]).code, 1);
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(host.machine_folder(name).join("config.json")).unwrap())
            .unwrap();
    assert_eq!(config["DriverName"], "memory");
    let stopped = runner(&["stop", name]);
    quiet_on_stderr(&stopped);
    assert!(stopped.stdout.ends_with(&format!("Machine \"{name}\" was stopped.\n")));
    let removed = runner(&["rm", "-y", name]);
    quiet_on_stderr(&removed);
    assert_eq!(
        removed.stdout,
        format!(
            "About to remove {name}\nWARNING: This action will delete both local reference and remote \
             instance.\nSuccessfully removed {name}\n"
        )
    );
    assert!(!host.machine_folder(name).exists());
    assert_eq!(runner(&["rm", "-f", name]).code, 0);
}

/// What old Makefiles and CI scripts run.
#[test]
fn makefiles() {
    let host = called_as_docker_machine();
    let ok = |arguments: &[&str]| host.ok(arguments);
    ok(&[
        "-D",
        "--native-ssh",
        "create",
        "-d",
        "memory",
        "--engine-opt",
        "log-level=warn",
        "--engine-opt=live-restore",
        "--engine-storage-driver",
        "overlay2",
        "--engine-label",
        "tier=ci",
        "--engine-env",
        "A=b",
        "default",
    ]);
    // `if ! docker-machine status default | grep -q Running; then docker-machine start default; fi`
    assert_eq!(ok(&["status", "default"]), "Running\n");
    assert!(ok(&["start", "default"]).ends_with("Machine \"default\" is already running.\n"));
    // `eval $(docker-machine env)` and `DOCKER_IP=$(docker-machine ip)`
    assert!(ok(&["env"]).starts_with("export DOCKER_HOST=\"unix://[STORE]/machines/default/docker.sock\"\n"));
    assert!(
        ok(&["env", "default", "--shell=bash", "--no-proxy"]).contains("export NO_PROXY=\"127.0.0.1\"\n")
    );
    assert_eq!(ok(&["ip"]), "127.0.0.1\n");
    assert_eq!(ok(&["ls", "-q"]), "default\n");
    assert_eq!(
        ok(&["ls", "-q", "--filter", "name=^default$", "--filter", "state=Running", "-t", "5"]),
        "default\n"
    );
    assert_eq!(
        ok(&["ls", "--format", "{{.Name}}: {{.DriverName}} - {{.State}}"]),
        "default: memory - Running\n"
    );
    let ip = "{{with .Driver}}{{.IPAddress}}{{end}}";
    assert_eq!(ok(&["inspect", "--format", ip, "default"]), "127.0.0.1\n");
    assert_eq!(
        ok(&["inspect", "-f", "{{range .HostOptions.EngineOptions.Labels}}{{.}}{{end}}", "default"]),
        "tier=ci\n"
    );
    assert_eq!(
        ok(&["inspect", "-f", "{{json .HostOptions.EngineOptions.Env}}"]),
        "[\"A=b\",\"MACHINE_ENGINE_LOG=warn\"]\n"
    );
    ok(&["provision", "default"]);
    ok(&["restart"]);
    assert_eq!(host.run(&["create", "-d", "memory", "--swarm", "--swarm-master", "m"]).code, 1);
    for wrong in [&["env", "--swarm", "default"][..], &["config", "--swarm", "default"]] {
        assert!(host.fails(1, wrong).contains("There is no Swarm as docker-machine set it up"));
    }
    ok(&["kill"]);
    assert_eq!(ok(&["status"]), "Stopped\n");
    ok(&["rm", "-f", "default"]);
    assert_eq!(ok(&["ls", "-q"]), "");
}

/// Some callers take any line on stderr for a failure, and only that.
#[test]
fn errors_are_on_stderr() {
    let host = called_as_docker_machine();
    let run = host.run(&["start", "absent"]);
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.starts_with("Error: Docker machine \"absent\" does not exist\n"), "{run:?}");
    let run = host.run(&["create", "-d", "memory", "--engine-opt", "mtu=1400", "dev"]);
    assert!(run.code == 1 && run.stderr.contains("The engine has no option \"mtu\""), "{run:?}");
}

/// The driver of most old machines, in the spellings of old Makefiles.
#[test]
fn virtualbox() {
    let mut host = called_as_docker_machine();
    host.variables.insert("MACHINE_DRIVER".to_owned(), "memory".to_owned());
    host.variables.insert("VIRTUALBOX_DISK_SIZE".to_owned(), "30000".to_owned());
    let create = [
        "create",
        "--driver",
        "virtualbox",
        "--virtualbox-memory=4096",
        "--virtualbox-cpu-count",
        "2",
        "--virtualbox-no-share",
        "dev",
    ];
    let said = host.ok(&create);
    assert!(said.starts_with("Warning: There is no VirtualBox here: the memory driver makes"), "{said}");
    let request = "{{.DriverName}} {{with .Machine.Request}}{{.Cpus}} {{.MemoryMiB}} {{.DiskGiB}}{{end}}";
    assert_eq!(host.ok(&["inspect", "-f", request, "dev"]), "memory 2 4096 30\n");
    host.ok(&["create", "-d", "virtualbox", "--virtualbox-cpu-count", "-1", "all"]);
    assert_eq!(
        host.ok(&["version"]),
        format!("docker-machine version {}, build machine\n", env!("CARGO_PKG_VERSION"))
    );
}
