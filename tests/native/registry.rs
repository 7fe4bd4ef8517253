//! Registries as they are: Debian's own, plain and behind TLS and a password, and skopeo as the judge of
//! what we push and save.

use anyhow::{Context, Result};
use std::{fs, path::Path, process::Command};
use tests::{Authority, NativeEngine, RealRegistry, artifacts, authority::trust, run::run};

/// skopeo in the engine's network.
fn skopeo(engine: &NativeEngine, args: &[&str]) -> Result<String> {
    run(engine.network().command(Path::new("skopeo")).args(args))?.ok()
}

fn digest_of(engine: &NativeEngine, name: &str) -> Result<String> {
    let digests = engine.docker(&["inspect", "-f", "{{join .RepoDigests \" \"}}", name])?.ok()?;
    Ok(digests.split('@').nth(1).context("a digest")?.split(' ').next().unwrap_or_default().to_owned())
}

#[test]
fn what_is_pushed_comes_back_as_it_was() -> Result<()> {
    let mut registry = None;
    let engine = NativeEngine::start_with(|network, _| {
        registry = Some(RealRegistry::plain(network)?);
        Ok(Vec::new())
    })?;
    engine.docker(&["load", "-q", "-i", &artifacts::busybox()?.to_string_lossy()])?.ok()?;
    let id = engine.docker(&["inspect", "-f", "{{.Id}}", "busybox"])?.ok()?;
    let name = "localhost:5000/team/box:1";
    engine.docker(&["tag", "busybox", name])?.ok()?;
    let pushed = engine.docker(&["push", name])?.ok()?;
    assert!(pushed.contains("The push refers to repository [localhost:5000/team/box]"), "{pushed}");
    assert!(pushed.contains(": Pushed") && pushed.contains("1: digest: sha256:"), "{pushed}");
    let digest = digest_of(&engine, name)?;
    let seen = skopeo(&engine, &["inspect", "--tls-verify=false", &format!("docker://{name}")])?;
    assert!(seen.contains(&digest), "{seen}");

    // Nothing is sent twice, and not at all to a neighbour.
    assert!(engine.docker(&["push", name])?.ok()?.contains("Layer already exists"));
    engine.docker(&["tag", name, "localhost:5000/other/box:2"])?.ok()?;
    let mounted = engine.docker(&["push", "localhost:5000/other/box:2"])?.ok()?;
    assert!(mounted.contains("Mounted from team/box"), "{mounted}");

    // Gone, and back by tag, by digest and all at once.
    engine.docker(&["rmi", "busybox", "localhost:5000/other/box:2"])?.ok()?;
    let removed = engine.docker(&["rmi", name])?.ok()?;
    assert!(removed.contains(&format!("Untagged: localhost:5000/team/box@{digest}")), "{removed}");
    assert_eq!(engine.docker(&["images", "-aq"])?.ok()?, "");
    assert_eq!(fs::read_dir(engine.data_root().join("layers/sha256"))?.count(), 0, "layers are freed");
    let pulled = engine.docker(&["pull", name])?.ok()?;
    for line in [
        "1: Pulling from team/box",
        "Pulling fs layer",
        "Download complete",
        "Pull complete",
        &format!("Digest: {digest}"),
    ] {
        assert!(pulled.contains(line), "{line}: {pulled}");
    }
    assert!(pulled.contains("Status: Downloaded newer image for localhost:5000/team/box:1"), "{pulled}");
    let again = engine.docker(&["pull", name])?.ok()?;
    assert!(
        !again.contains("Already exists") && again.contains("Status: Image is up to date for"),
        "{again}"
    );
    assert_eq!(engine.docker(&["inspect", "-f", "{{.Id}}", name])?.ok()?, id);
    let by_digest = format!("localhost:5000/other/box@{digest}");
    engine.docker(&["pull", "-q", &by_digest])?.ok()?;
    assert!(engine.docker(&["images", "--digests"])?.ok()?.contains(&digest));
    assert_eq!(engine.docker(&["rmi", &by_digest])?.ok()?, format!("Untagged: {by_digest}"));
    engine.docker(&["pull", "-a", "localhost:5000/other/box"])?.ok()?;
    assert_eq!(engine.docker(&["run", "--rm", "localhost:5000/other/box:2", "echo", "ran"])?.ok()?, "ran");

    let missing = engine.docker(&["pull", "localhost:5000/team/box:nope"])?.fails(1)?;
    assert!(missing.contains("manifest for localhost:5000/team/box:nope not found"), "{missing}");
    let unknown = engine.docker(&["push", "localhost:5000/never"])?.fails(1)?;
    assert!(
        unknown.contains("An image does not exist locally with the tag: localhost:5000/never"),
        "{unknown}"
    );
    // The client's `0s` is a whole second: what happened in this one counts.
    let until = std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
    let until = format!("{until}.999999999");
    let args = ["events", "--since", "1", "--until", &until, "--format", "{{.Action}} {{.ID}}"];
    let events = engine.docker(&args)?.ok()?;
    for event in ["push localhost:5000/team/box:1", "pull localhost:5000/team/box:1", "untag ", "delete "] {
        assert!(events.contains(event), "{event}: {events}");
    }
    Ok(())
}

#[test]
fn archives_are_whole_for_others_and_for_us() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.docker(&["tag", "busybox", "team/box:2"])?.ok()?;
    engine
        .docker(&["run", "--name", "changer", "busybox", "sh", "-c", "echo hi >/hi; ln /hi /ho; rm /bin/ls"])?
        .ok()?;
    engine.docker(&["commit", "changer", "changed"])?.ok()?;
    engine.docker(&["rm", "changer"])?.ok()?;
    let folder = tempfile::tempdir()?;
    let archive = folder.path().join("saved.tar");
    let archive = archive.to_string_lossy();
    engine.docker(&["save", "-o", &archive, "busybox", "team/box:2", "changed"])?.ok()?;
    // The CLI shows the names of one image in the order of a Go map.
    let images = || -> Result<Vec<String>> {
        let args = ["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"];
        let mut lines: Vec<String> = engine.docker(&args)?.ok()?.lines().map(str::to_owned).collect();
        lines.sort();
        Ok(lines)
    };
    let before = images()?;
    for (source, name) in [("docker-archive", ":changed:latest"), ("docker-archive", ":team/box:2")] {
        let seen =
            run(Command::new("skopeo").args(["inspect", "--config", &format!("{source}:{archive}{name}")]))?;
        assert!(seen.ok()?.contains("\"rootfs\""));
    }
    // As an OCI layout it is read from a folder, every blob checked.
    let layout = folder.path().join("layout");
    fs::create_dir(&layout)?;
    run(Command::new("tar").arg("xf").arg(&*archive).arg("-C").arg(&layout))?.ok()?;
    let copy = format!("dir:{}", folder.path().join("copy").display());
    let from = format!("docker-archive:{archive}:changed:latest");
    run(Command::new("skopeo").args(["copy", "-q", &from, &copy]))?.ok()?;
    let index: serde_json::Value = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(3), "{index}");

    engine.docker(&["rmi", "-f", "busybox", "team/box:2", "changed"])?.ok()?;
    assert_eq!(engine.docker(&["images", "-aq"])?.ok()?, "");
    let loaded = engine.docker(&["load", "-i", &archive])?.ok()?;
    assert_eq!(loaded.lines().count(), 3, "{loaded}");
    assert_eq!(images()?, before);
    let out = engine
        .docker(&["run", "--rm", "changed", "sh", "-c", "cat /ho; [ -e /bin/ls ] || echo gone"])?
        .ok()?;
    assert_eq!(out, "hi\ngone");
    let missing = engine.docker(&["save", "nothing"])?.fails(1)?;
    assert!(missing.contains("No such image: nothing"), "{missing}");
    Ok(())
}

#[test]
fn passwords_and_private_authorities() -> Result<()> {
    let (mut registry, password, authority) = (None, "correct horse", Authority::new()?);
    let engine = NativeEngine::start_with(|network, folder| {
        registry = Some(RealRegistry::with_tls_and_password(network, &authority, password)?);
        Ok(vec!["--registry-certs".to_owned(), folder.join("certs.d").display().to_string()])
    })?;
    let registry = registry.context("a registry")?;
    engine.docker(&["load", "-q", "-i", &artifacts::busybox()?.to_string_lossy()])?.ok()?;
    let name = format!("{}/box:1", registry.host);
    engine.docker(&["tag", "busybox", &name])?.ok()?;
    let unproven = engine.docker(&["push", &name])?.fails(1)?;
    assert!(unproven.contains("x509: certificate signed by unknown authority"), "{unproven}");

    trust(&engine.folder().join("certs.d"), &registry.host, &authority, None)?;
    let nobody = engine.docker(&["push", &name])?.fails(1)?;
    assert!(nobody.contains("no basic auth credentials"), "{nobody}");

    let client = engine.folder().join("client").display().to_string();
    let as_me = |args: &[&str]| engine.docker_with_environment(args, &[("DOCKER_CONFIG", &client)]);
    let wrong = as_me(&["login", "-u", "me", "-p", "wrong", &registry.host])?.fails(1)?;
    let status =
        format!("login attempt to https://{}/v2/ failed with status: 401 Unauthorized", registry.host);
    assert!(wrong.contains(&status), "{wrong}");
    let login = as_me(&["login", "-u", "me", "-p", password, &registry.host])?.ok()?;
    assert!(login.contains("Login Succeeded"), "{login}");
    as_me(&["push", &name])?.ok()?;
    engine.docker(&["rmi", "busybox", &name])?.ok()?;
    as_me(&["pull", &name])?.ok()?;
    as_me(&["logout", &registry.host])?.ok()?;
    let out = as_me(&["pull", &name])?.fails(1)?;
    assert!(out.contains("no basic auth credentials"), "{out}");
    // Relayed with each request, kept nowhere: neither as it is nor in base64.
    for text in [password, "bWU6Y29ycmVjdCBob3JzZQ"] {
        let found = run(Command::new("grep").args(["-rlF", text]).arg(engine.data_root()).arg(engine.log()))?;
        assert_eq!(found.fails(1)?, "");
    }
    Ok(())
}
