//! Containers that divide their cgroup further: engines (Docker in Docker) and init systems.

use anyhow::Result;
use tests::{Host, artifacts, run::eventually};

/// What systemd, and Docker's own image for Docker in Docker, do as the first process.
const DIVIDE: &str = "mkdir /sys/fs/cgroup/init && echo 1 > /sys/fs/cgroup/init/cgroup.procs && \
                      echo +memory > /sys/fs/cgroup/cgroup.subtree_control && echo divided && exec sleep 1000";

#[test]
fn an_engine_in_a_container_and_others_that_divide_their_cgroup() -> Result<()> {
    let host = Host::new()?;
    host.create_with_busybox("dev")?;

    host.docker("dev", &["run", "-d", "--privileged", "--name", "init", "busybox", "sh", "-c", DIVIDE])?
        .ok()?;
    eventually("It is divided", || Ok(host.docker("dev", &["logs", "init"])?.ok()? == "divided"))?;
    let cgroup = ["exec", "init", "cat", "/proc/self/cgroup"];
    assert_eq!(host.docker("dev", &cgroup)?.ok()?, "0::/init", "the kernel lets nobody in at the top");

    // Our own engine in a container of the machine, and a client that reaches it as a machine of its own.
    let serve = ["/engine", "serve", "--data-root", "/data", "--socket", "/run/nest/docker.sock"];
    let places = ["-v", "/init:/engine:ro", "-v", "data:/data", "-v", "/run/nest:/run/nest"];
    host.docker(
        "dev",
        &[&["run", "-d", "--privileged", "--name", "nest"], &places[..], &["busybox"], &serve].concat(),
    )?
    .ok()?;
    let answers = "The Engine API answers";
    eventually("The nested engine answers", || {
        Ok(host.docker("dev", &["logs", "nest"])?.stderr.contains(answers))
    })?;
    let port = host.machine(&["inspect", "-f", "{{.Driver.SSHPort}}", "dev"])?.ok()?;
    let file = |name: &str| host.folder("dev").join(name);
    let host_key = std::fs::read_to_string(file("ssh_host_ed25519_key.pub"))?;
    let key = file("id_ed25519").to_string_lossy().into_owned();
    let address = ["--generic-ip-address", "127.0.0.1", "--generic-ssh-port", &port];
    let trust = ["--generic-ssh-key", &key, "--generic-ssh-host-key", host_key.trim()];
    let engine = ["--generic-engine-socket", "/run/nest/docker.sock", "nested"];
    host.machine(&[&["create", "-d", "generic"], &address[..], &trust, &engine].concat())?.ok()?;
    host.docker("nested", &["load", "-q", "-i", &artifacts::busybox()?.to_string_lossy()])?.ok()?;
    let limit = ["run", "--rm", "-m", "64m", "busybox", "cat", "/sys/fs/cgroup/memory.max"];
    assert_eq!(host.docker("nested", &limit)?.ok()?, "67108864");
    assert_eq!(host.docker("dev", &["exec", "nest", "cat", "/proc/self/cgroup"])?.ok()?, "0::/init");
    Ok(())
}
