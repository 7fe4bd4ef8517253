//! The keeper's tunnel against OpenSSH's `ssh -L`, to the same guest and the same socket in it.

use crate::sample::Sample;
use anyhow::{Context, Result};
use std::{
    io::Read,
    os::unix::net::UnixStream,
    process::{Child, Stdio},
    time::Instant,
};
use tests::{
    Host, host,
    run::{self, eventually},
};

const BYTES: usize = 48 << 20;

/// MB/s of container output through `url`, from the first byte to the last.
fn throughput(url: &str) -> Result<f64> {
    let size = BYTES.to_string();
    let args = ["run", "--rm", "--log-driver", "none", "busybox", "head", "-c", &size, "/dev/zero"];
    let mut child = host::docker(url, &args)?.stdout(Stdio::piped()).spawn()?;
    let mut stdout = child.stdout.take().context("no stdout")?;
    let mut buffer = vec![0; 1 << 16];
    let mut seen = stdout.read(&mut buffer)?;
    let started = Instant::now();
    loop {
        match stdout.read(&mut buffer)? {
            0 => break,
            n => seen += n,
        }
    }
    let rate = seen as f64 / 1e6 / started.elapsed().as_secs_f64();
    run::wait(&mut child, "docker run", run::DEADLINE)?;
    anyhow::ensure!(seen == BYTES, "{seen} of {BYTES} bytes arrived");
    Ok(rate)
}

fn openssh(host: &Host, socket: &std::path::Path) -> Result<Child> {
    let inspected: serde_json::Value = serde_json::from_str(&host.machine(&["inspect", "bench"])?.ok()?)?;
    let port = inspected["Driver"]["SSHPort"].as_u64().context("inspect shows no SSHPort")?;
    let folder = host.folder("bench");
    let child = run::command(std::path::Path::new("ssh"), ["-N", "-p", &port.to_string(), "-i"])
        .arg(folder.join("id_ed25519"))
        .args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
        .args(["-o", "LogLevel=ERROR", "-o", "Ciphers=aes128-gcm@openssh.com", "-L"])
        .arg(format!("{}:/var/run/docker.sock", socket.display()))
        .arg("root@127.0.0.1")
        .spawn()?;
    eventually("ssh -L listens", || Ok(UnixStream::connect(socket).is_ok()))?;
    Ok(child)
}

pub(crate) fn bench() -> Result<()> {
    let host = Host::new()?;
    host.create_with_busybox("bench")?;
    let url = host.url("bench")?;
    let socket = host.store().join("openssh.sock");
    let mut ssh = openssh(&host, &socket)?;
    let peer_url = format!("unix://{}", socket.display());
    let ours = Sample::take("tunnel.throughput", "MB/s", 5, || throughput(&url))?;
    let theirs = Sample::take("openssh.throughput", "MB/s", 5, || throughput(&peer_url))?;
    ours.against(&theirs);
    let ping = |url: &str| -> Result<f64> {
        let started = Instant::now();
        run::run(&mut host::docker(url, &["version", "-f", "{{.Server.Version}}"])?)?.ok()?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    };
    let ours = Sample::take("tunnel.docker_version", "ms", 10, || ping(&url))?;
    let theirs = Sample::take("openssh.docker_version", "ms", 10, || ping(&peer_url))?;
    ours.against(&theirs);
    ssh.kill()?;
    ssh.wait()?;
    Ok(())
}
