//! Clients of one machine do not hold each other up.

use anyhow::Result;
use std::{fs, io::Read, os::unix::fs::PermissionsExt, process::Stdio, time::Duration};
use tests::{Host, host::docker, run};

#[test]
fn a_stalled_reader_leaves_others_responsive() -> Result<()> {
    let host = Host::new()?;
    host.create_with_busybox("t")?;
    host.docker("t", &["ps"])?.ok()?;
    let mut flood = host.docker_command("t", &["run", "--rm", "busybox", "yes", &"x".repeat(200)])?;
    let mut flood = flood.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut first = [0; 4096];
    flood.stdout.as_mut().unwrap().read_exact(&mut first)?;
    // From here on nobody reads: pipe, client, tunnel, SSH and shim fill up.
    std::thread::sleep(Duration::from_secs(3));
    // A client that waits for the stalled one runs into the harness's deadline.
    for _ in 0..3 {
        host.docker("t", &["ps", "-q"])?.ok()?;
    }
    flood.kill()?;
    flood.wait()?;
    assert_eq!(host.docker("t", &["run", "--rm", "busybox", "echo", "fine"])?.ok()?, "fine");
    Ok(())
}

/// `DOCKER_HOST=ssh://` needs no keeper: the client's own ssh asks the guest for `docker system dial-stdio`.
#[test]
fn the_docker_clients_own_ssh_works() -> Result<()> {
    let host = Host::new()?;
    host.create_with_busybox("direct")?;
    let inspected: serde_json::Value = serde_json::from_str(&host.machine(&["inspect", "direct"])?.ok()?)?;
    let (folder, port) = (host.folder("direct"), &inspected["Driver"]["SSHPort"]);
    let host_key = fs::read_to_string(folder.join("ssh_host_ed25519_key.pub"))?;
    let bin = tempfile::tempdir()?;
    let (known_hosts, ssh) = (bin.path().join("known_hosts"), bin.path().join("ssh"));
    fs::write(&known_hosts, format!("[127.0.0.1]:{port} {host_key}"))?;
    let options = format!(
        "-i {} -o UserKnownHostsFile={} -o StrictHostKeyChecking=yes -o BatchMode=yes",
        folder.join("id_ed25519").display(),
        known_hosts.display()
    );
    fs::write(&ssh, format!("#!/bin/sh\nexec /usr/bin/ssh {options} \"$@\"\n"))?;
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755))?;
    let path = format!("{}:{}", bin.path().display(), std::env::var("PATH")?);
    let url = format!("ssh://root@127.0.0.1:{port}");
    let mut run = docker(&url, &["run", "--rm", "busybox", "echo", "over ssh"])?;
    assert_eq!(run::run(run.env("PATH", path))?.ok()?, "over ssh");
    Ok(())
}
