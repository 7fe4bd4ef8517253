//! Pulls from a registry that does what it should not, and what must come of it.

use anyhow::{Context, Result};
use serde_json::json;
use std::{
    fs,
    process::{Child, Stdio},
};
use tests::{
    FakeRegistry, NativeEngine,
    fake_registry::Fault,
    host::docker,
    image_parts::{OCI_INDEX, Packing, layer, noise, publish},
    run::eventually,
};

pub(crate) const HOST: &str = "127.0.0.1:5000";

/// An engine that soon has enough, and its registry.
pub(crate) fn start(patience: &str, more: &[&str]) -> Result<(NativeEngine, FakeRegistry)> {
    let mut registry = None;
    let engine = NativeEngine::start_with(|network, _| {
        registry = Some(FakeRegistry::start(network, HOST)?);
        Ok([&["--registry-timeout", patience], more]
            .concat()
            .iter()
            .map(|&option| option.to_owned())
            .collect::<Vec<_>>())
    })?;
    Ok((engine, registry.context("a registry")?))
}

/// Files and folders of layers and images; the index is always there.
pub(crate) fn nothing_is_left(engine: &NativeEngine) -> Result<()> {
    assert_eq!(engine.docker(&["images", "-aq"])?.ok()?, "");
    eventually("Layers and blobs are swept", || {
        let count = |folder: &str| fs::read_dir(engine.data_root().join(folder)).map_or(0, Iterator::count);
        Ok(["layers/sha256", "layers/tmp", "images/blobs/sha256"].iter().all(|folder| count(folder) == 0)
            && count("images") <= 2)
    })
}

#[test]
fn forms_and_platforms() -> Result<()> {
    let (engine, registry) = start("2", &[])?;
    let layers = [
        (layer("one", b"1")?, Packing::Gzip),
        (layer("two", b"2")?, Packing::Zstd),
        (layer("three", b"3")?, Packing::Plain),
    ];
    let (mut ours, _) = publish(&registry, "lib/forms", "ours", "amd64", &layers)?;
    let (mut other, _) = publish(&registry, "lib/forms", "other", "s390x", &layers[..1])?;
    let mut proof = other.clone();
    ours["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    other["platform"] = json!({ "os": "linux", "architecture": "s390x" });
    proof["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [proof, other, ours] });
    let index = registry.manifest("lib/forms", "all", &index);

    let name = format!("{HOST}/lib/forms:all");
    engine.docker(&["pull", "-q", &name])?.ok()?;
    let shown = "{{.Architecture}} {{len .RootFS.Layers}} {{index .RepoDigests 0}}";
    let digest = index["digest"].as_str().unwrap_or_default();
    let expected = format!("amd64 3 {HOST}/lib/forms@{digest}");
    assert_eq!(engine.docker(&["inspect", "-f", shown, &name])?.ok()?, expected);
    engine.docker(&["pull", "-q", "--platform", "linux/s390x", &name])?.ok()?;
    assert_eq!(engine.docker(&["inspect", "-f", "{{.Architecture}}", &name])?.ok()?, "s390x");
    let none = engine.docker(&["pull", "--platform", "linux/riscv64", &name])?.fails(1)?;
    assert!(none.contains("no matching manifest for linux/riscv64 in the manifest list entries"), "{none}");
    Ok(())
}

#[test]
fn broken_connections_are_resumed_and_bad_moments_waited_out() -> Result<()> {
    let (engine, registry) = start("2", &[])?;
    let big = layer("noise", &noise(1_000_000, 7))?;
    let (_, blobs) = publish(&registry, "lib/big", "1", "amd64", &[(big, Packing::Gzip)])?;
    let blob = blobs.first().context("a blob")?;
    registry.fail("/manifests/", &[Fault::Status(500, None), Fault::Status(429, Some(1))]);
    registry
        .fail(blob, &[Fault::Cut(300_000), Fault::Status(503, None), Fault::Stall(200_000), Fault::Cut(100)]);
    let pulled = engine.docker(&["pull", &format!("{HOST}/lib/big:1")])?.ok()?;
    assert!(pulled.contains("Pull complete"), "{pulled}");
    let ranges: Vec<String> =
        registry.requests().into_iter().filter(|line| line.contains("bytes=")).collect();
    assert!(ranges.len() == 4 && ranges[0].contains("bytes=300000-"), "{ranges:?}");
    let file = engine.docker(&["create", &format!("{HOST}/lib/big:1")])?;
    file.ok()?;
    Ok(())
}

#[test]
fn lies_are_found_named_and_leave_nothing() -> Result<()> {
    let (engine, registry) = start("2", &[])?;
    let layers =
        [(layer("small", b"fine")?, Packing::Gzip), (layer("noise", &noise(300_000, 9))?, Packing::Gzip)];
    let (manifest, blobs) = publish(&registry, "lib/lies", "1", "amd64", &layers)?;
    let (blob, name) = (blobs.last().context("a blob")?, format!("{HOST}/lib/lies:1"));
    let manifest = manifest["digest"].as_str().unwrap_or_default();
    for (part, fault, says) in [
        (blob.as_str(), Fault::Flip, vec!["filesystem layer verification failed for digest", blob]),
        (blob, Fault::Shorter, vec!["bytes where", blob]),
        (blob, Fault::Status(404, None), vec!["is not in the registry", blob]),
    ] {
        registry.fail(part, std::slice::from_ref(&fault));
        let error = engine.docker(&["pull", &name])?.fails(1)?;
        assert!(says.iter().all(|words| error.contains(words)), "{fault:?}: {error}");
        nothing_is_left(&engine)?;
    }
    registry.fail("/manifests/", &[Fault::Flip]);
    let error = engine.docker(&["pull", &format!("{HOST}/lib/lies@{manifest}")])?.fails(1)?;
    assert!(error.contains("manifest verification failed for digest") && error.contains(manifest), "{error}");
    registry.fail("/manifests/", &[Fault::Status(429, None)]);
    let error = engine.docker(&["pull", &name])?.fails(1)?;
    assert!(error.contains("429"), "{error}");
    engine.docker(&["pull", "-q", &name])?.ok()?;
    Ok(())
}

fn pull(engine: &NativeEngine, tag: &str) -> Result<Child> {
    let mut command = docker(&engine.url(), &["pull", &format!("{HOST}/lib/shared:{tag}")])?;
    Ok(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

#[test]
fn a_layer_is_fetched_once_and_not_for_who_is_gone() -> Result<()> {
    let (mut engine, registry) = start("60", &[])?;
    let shared = (layer("noise", &noise(300_000, 3))?, Packing::Gzip);
    let (_, blobs) = publish(&registry, "lib/shared", "1", "amd64", std::slice::from_ref(&shared))?;
    publish(&registry, "lib/shared", "2", "amd64", &[shared, (layer("more", b"more")?, Packing::Gzip)])?;
    let blob = blobs.first().context("a blob")?;
    let asked = |times: usize| eventually("The blob is asked for", || Ok(registry.count(blob) == times));

    // The client goes away in the middle.
    registry.fail(blob, &[Fault::Stall(100_000)]);
    let mut gone = pull(&engine, "1")?;
    asked(1)?;
    gone.kill()?;
    gone.wait()?;
    nothing_is_left(&engine)?;

    // The engine goes away in the middle.
    registry.fail(blob, &[Fault::Stall(100_000)]);
    let mut cut = pull(&engine, "1")?;
    asked(2)?;
    engine.crash()?;
    cut.wait()?;
    engine.spawn()?;
    nothing_is_left(&engine)?;

    // Two want the same.
    registry.fail(blob, &[Fault::Cut(100_000)]);
    let (mut one, mut two) = (pull(&engine, "1")?, pull(&engine, "2")?);
    assert!(one.wait()?.success() && two.wait()?.success());
    assert_eq!(registry.count(blob), 4, "one download, resumed once: {:?}", registry.requests());
    Ok(())
}

#[test]
fn tokens_and_mirrors() -> Result<()> {
    // Also the Hub's mirror: what it lacks is asked for at the Hub, which is not there.
    let (engine, registry) = start("2", &["--registry-mirror", "http://127.0.0.1:5000"])?;
    let layers = [(layer("one", b"1")?, Packing::Gzip)];
    publish(&registry, "library/thing", "latest", "amd64", &layers)?;
    let pulled = engine.docker(&["pull", "thing"])?.ok()?;
    assert!(pulled.contains("Status: Downloaded newer image for thing:latest"), "{pulled}");
    assert!(engine.docker(&["pull", "absent"])?.fails(1)?.contains("registry-1.docker.io"));

    let name = format!("{HOST}/lib/secret:1");
    publish(&registry, "lib/secret", "1", "amd64", &layers)?;
    registry.require("me", "pass");
    let denied = engine.docker(&["pull", &name])?.fails(1)?;
    assert!(denied.contains("pull access denied") && denied.contains("incorrect username"), "{denied}");
    let client = engine.folder().join("client").display().to_string();
    let as_me = |args: &[&str]| engine.docker_with_environment(args, &[("DOCKER_CONFIG", &client)]);
    assert!(as_me(&["login", "-u", "me", "-p", "nope", HOST])?.fails(1)?.contains("incorrect username"));
    as_me(&["login", "-u", "me", "-p", "pass", HOST])?.ok()?;
    as_me(&["pull", "-q", &name])?.ok()?;
    // One token for the whole pull of one repository.
    let tokens = registry.count("/token");
    as_me(&["pull", "-q", &name])?.ok()?;
    assert_eq!(registry.count("/token"), tokens + 1);

    registry.put(
        "/v1/search",
        "application/json",
        br#"{"results":[{"name":"found/it","description":"d","star_count":3}]}"#,
    );
    let found = engine.docker(&["search", "--format", "{{.Name}} {{.StarCount}}", &format!("{HOST}/it")])?;
    // The index of the same registry, which asks for no token there.
    assert_eq!(found.ok()?, "found/it 3");
    Ok(())
}
