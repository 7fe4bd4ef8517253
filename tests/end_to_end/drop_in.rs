//! What docker-machine's callers rely on, with a booted guest: TLS, certificates, contexts, files.

use anyhow::Result;
use std::{fs, os::unix::fs::symlink, path::Path};
use tests::{Host, artifacts, command, run};

/// `docker ARGS…` with an empty environment but for `variables`.
fn docker(host: &Host, variables: &[(&str, &str)], arguments: &[&str]) -> Result<run::Run> {
    let mut docker = command(&artifacts::docker()?, arguments);
    docker.env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT").env("DOCKER_CONFIG", host.docker_config());
    run::run(docker.envs(variables.iter().copied()))
}

#[test]
fn tls_contexts_and_files() -> Result<()> {
    let host = Host::new()?;
    host.create_with_busybox("dev")?;

    // `docker $(docker-machine config dev) …`, the quotes being docker's to strip.
    let link = host.store().join("docker-machine");
    symlink(artifacts::machine()?, &link)?;
    let mut config = command(&link, ["config", "dev"]);
    let config = run::run(config.env("MACHINE_STORAGE_PATH", host.store()))?.ok()?;
    let options: Vec<&str> = config.lines().collect();
    assert!(options.last().is_some_and(|last| last.starts_with("-H=tcp://127.0.0.1:")), "{config}");
    let with_options = |arguments: &[&str]| docker(&host, &[], &[&options[..], arguments].concat());
    assert_eq!(with_options(&["run", "--rm", "busybox", "echo", "over TLS"])?.ok()?, "over TLS");

    // GitLab Runner's way: the URL, and the certificates where the record says.
    let mut url = command(&link, ["url", "dev"]);
    let url = run::run(url.env("MACHINE_STORAGE_PATH", host.store()))?.ok()?;
    let path = host.machine(&["inspect", "dev", "-f", "{{.HostOptions.AuthOptions.StorePath}}"])?.ok()?;
    let tls =
        [("DOCKER_HOST", url.as_str()), ("DOCKER_CERT_PATH", path.as_str()), ("DOCKER_TLS_VERIFY", "1")];
    let mut cat = command(&artifacts::docker()?, ["run", "-i", "--rm", "busybox", "cat"]);
    let cat = run::run_with_input(cat.envs(tls), b"half closed over TLS")?;
    assert_eq!(cat.ok()?, "half closed over TLS");
    // Without the client's certificate nobody is let in.
    let ca = Path::new(&path).join("ca.pem");
    let bare =
        ["--tlsverify=false", "--tls", &format!("--tlscacert={}", ca.display()), "-H", &url, "version"];
    assert_ne!(docker(&host, &[("DOCKER_CERT_PATH", "/nonexistent")], &bare)?.code, 0);
    // New certificates count at once.
    host.machine(&["regenerate-certs", "-f", "--client-certs", "dev"])?.ok()?;
    assert_eq!(docker(&host, &tls, &["ps", "-q"])?.ok()?, "");

    // The docker CLI's context.
    host.machine(&["use", "dev"])?.ok()?;
    assert_eq!(docker(&host, &[], &["context", "show"])?.ok()?, "machine-dev");
    assert_eq!(docker(&host, &[], &["run", "--rm", "busybox", "echo", "by context"])?.ok()?, "by context");

    // Files, there and back.
    let folder = host.store().join("files");
    fs::create_dir_all(folder.join("deep"))?;
    let data: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 253) as u8).collect();
    fs::write(folder.join("deep/data"), &data)?;
    let (from, back) = (folder.display().to_string(), host.store().join("back"));
    host.machine(&["scp", "-r", &from, "dev:/root/sent"])?.ok()?;
    let sum = host.machine(&["ssh", "dev", "wc -c < /root/sent/deep/data"])?.ok()?;
    assert_eq!(sum.trim(), "3000000");
    let again = host.machine(&["scp", "-d", &from, "dev:/root/delta"])?;
    assert!(again.ok().is_ok());
    let again = host.machine(&["cp", "-d", &folder.join("deep").display().to_string(), "dev:/root/delta"])?;
    assert!(again.stderr.contains("0 copied, 1 the same already"), "{}", again.stderr);
    host.machine(&["cp", "dev:sent/deep/data", &back.display().to_string()])?.ok()?;
    assert_eq!(fs::read(&back)?, data);

    // The engine's log, and sizes that count from the next start.
    assert_ne!(host.machine(&["logs", "--engine", "dev"])?.ok()?, "");
    host.machine(&["set", "dev", "--cpus", "1", "--memory", "700m", "--disk", "21"])?.ok()?;
    host.machine(&["restart", "dev"])?.ok()?;
    let info = docker(&host, &[], &["info", "--format", "{{.NCPU}} {{.MemTotal}}"])?.ok()?;
    let (cpus, memory) = info.split_once(' ').unwrap_or_default();
    assert_eq!(cpus, "1", "{info}");
    assert!((600 << 20..701 << 20).contains(&memory.parse::<u64>()?), "{info}");

    // And it moves: its images are there under another name.
    host.machine(&["stop", "dev"])?.ok()?;
    let file = host.store().join("dev.machine").display().to_string();
    host.machine(&["export", "dev", "--file", &file])?.ok()?;
    host.machine(&["import", &file, "moved"])?.ok()?;
    host.machine(&["rm", "-y", "dev"])?.ok()?;
    assert_eq!(docker(&host, &[], &["context", "ls", "-q"])?.ok()?, "default", "the context went with it");
    host.machine(&["start", "moved"])?.ok()?;
    assert_eq!(host.docker("moved", &["run", "--rm", "busybox", "echo", "moved"])?.ok()?, "moved");
    Ok(())
}
