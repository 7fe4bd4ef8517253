//! Registries that lie, drag on or send elsewhere: what is said names the culprit, and nothing stays.

use crate::pull_faults::{HOST, nothing_is_left, start};
use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use serde_json::json;
use std::fs;
use tests::{
    FakeRegistry, NativeEngine,
    fake_registry::{Fault, digest},
    image_parts::{OCI_MANIFEST, Packing, layer, noise, publish},
};

const ELSEWHERE: &str = "192.0.2.1:5080";

#[test]
fn other_hosts_get_no_password_and_have_no_say() -> Result<()> {
    let (engine, registry) = start("2", &[])?;
    let other = FakeRegistry::start(engine.network(), ELSEWHERE)?;
    let layers = [(layer("one", b"1")?, Packing::Gzip)];
    let (_, blobs) = publish(&registry, "lib/moved", "1", "amd64", &layers)?;
    let (blob, name) = (&blobs[0], format!("{HOST}/lib/moved:1"));
    let bytes = registry.content(&format!("/v2/lib/moved/blobs/{blob}")).context("a blob")?.1;
    other.put("/bucket/blob", "application/octet-stream", &bytes);
    registry.require("me", "pass");
    let client = engine.folder().join("client").display().to_string();
    let as_me = |args: &[&str]| engine.docker_with_environment(args, &[("DOCKER_CONFIG", &client)]);
    as_me(&["login", "-u", "me", "-p", "pass", HOST])?.ok()?;
    registry.fail(
        &format!("GET /v2/lib/moved/blobs/{blob}"),
        &[Fault::Moved(format!("http://{ELSEWHERE}/bucket/blob"))],
    );
    as_me(&["pull", "-q", &name])?.ok()?;
    assert_eq!(other.requests(), ["GET /bucket/blob"], "without a proof of who asks");
    engine.docker(&["rmi", &name])?.ok()?;

    // Who is sent on to cannot make us show a password by asking for one.
    other.require("x", "x");
    for _ in 0..2 {
        registry.fail(blob, &[Fault::Moved(format!("http://{ELSEWHERE}/bucket/blob"))]);
    }
    let tokens = registry.count("/token");
    as_me(&["pull", &name])?.fails(1)?;
    assert!(other.requests().iter().all(|request| !request.contains("+auth") && !request.contains("/token")));
    assert!(registry.count("/token") <= tokens + 2);
    nothing_is_left(&engine)?;
    // Round and round.
    registry.fail(blob, &vec![Fault::Moved(format!("http://{HOST}/v2/lib/moved/blobs/{blob}")); 80]);
    let error = as_me(&["pull", &name])?.fails(1)?;
    assert!(error.contains("redirect"), "{error}");
    nothing_is_left(&engine)
}

#[test]
fn slow_ones_are_waited_for_and_ranges_may_be_unknown() -> Result<()> {
    let (engine, registry) = start("2", &[])?;
    let big = layer("noise", &noise(600_000, 5))?;
    let (_, blobs) = publish(&registry, "lib/slow", "1", "amd64", &[(big, Packing::Gzip)])?;
    registry.fail("/manifests/", &[Fault::Slow]);
    registry.fail(&blobs[0], &[Fault::Cut(250_000), Fault::WholeAgain]);
    engine.docker(&["pull", "-q", &format!("{HOST}/lib/slow:1")])?.ok()?;
    engine.docker(&["rmi", &format!("{HOST}/lib/slow:1")])?.ok()?;
    registry.fail(&blobs[0], &[Fault::Slow]);
    engine.docker(&["pull", "-q", &format!("{HOST}/lib/slow:1")])?.ok()?;
    Ok(())
}

#[test]
fn what_is_not_what_it_should_be_is_refused() -> Result<()> {
    let (engine, registry) = start("1", &[])?;
    let layers = [(layer("noise", &noise(200_000, 3))?, Packing::Gzip)];
    let (_, blobs) = publish(&registry, "lib/lies", "1", "amd64", &layers)?;
    let (blob, name) = (blobs[0].as_str(), format!("{HOST}/lib/lies:1"));
    let (_, manifest) = registry.content("/v2/lib/lies/manifests/1").context("a manifest")?;
    let config: serde_json::Value = serde_json::from_slice(&manifest)?;
    let config = config["config"]["digest"].as_str().context("a digest")?;
    let wrong = format!("sha256:{}", "0".repeat(64));
    let absurd = vec![b' '; 5 << 20];
    registry.put("/v2/lib/absurd/manifests/1", OCI_MANIFEST, &absurd);
    for (part, faults, name, says) in [
        (blob, vec![Fault::Endless], name.as_str(), vec![blob]),
        (config, vec![Fault::Endless], &name, vec![config]),
        (config, vec![Fault::Flip], &name, vec!["verification failed", config]),
        ("/manifests/", vec![Fault::Endless], &name, vec!["larger than", "manifests/1"]),
        (
            "/manifests/",
            vec![Fault::Type("text/html")],
            &name,
            vec!["unsupported manifest media type", "text/html"],
        ),
        (
            "/manifests/",
            vec![Fault::Digest(wrong.clone())],
            &name,
            vec!["manifest verification failed", &wrong],
        ),
        ("/manifests/", vec![Fault::Mute(403)], &name, vec!["403"]),
        ("/manifests/", vec![Fault::Says(400, "<html>no</html>")], &name, vec!["400"]),
        ("nothing", vec![], &format!("{HOST}/lib/absurd:1"), vec!["larger than", "absurd"]),
        ("/tags/list", vec![Fault::Endless], "-a", vec!["larger than", "tags/list"]),
    ] {
        registry.fail(part, &faults);
        let args = match name {
            "-a" => vec!["pull", "-a", "127.0.0.1:5000/lib/lies"],
            name => vec!["pull", name],
        };
        registry.put("/v2/lib/lies/tags/list", "application/json", br#"{"tags":["1"]}"#);
        let error = engine.docker(&args)?.fails(1)?;
        assert!(says.iter().all(|words| error.contains(words)), "{faults:?}: {error}");
        nothing_is_left(&engine)?;
    }
    // A blob that never comes, however often it is asked for.
    registry.fail(blob, &vec![Fault::Status(500, None); 5]);
    let error = engine.docker(&["pull", &name])?.fails(1)?;
    assert!(error.contains("500") && error.contains(blob), "{error}");
    nothing_is_left(&engine)?;
    engine.docker(&["pull", "-q", "-a", &format!("{HOST}/lib/lies")])?.ok()?;
    Ok(())
}

/// A disk that is soon full, a small blob that is very much: what happens then is an error.
#[test]
fn bombs_leave_the_disk_as_it_was() -> Result<()> {
    let mut registry = None;
    let engine = NativeEngine::start_with(|network, folder| {
        let data = folder.join("data");
        fs::create_dir(&data)?;
        let nothing = None::<&str>;
        mount(nothing, &data, Some("tmpfs"), MsFlags::empty(), Some("size=24m,mode=755"))?;
        registry = Some(FakeRegistry::start(network, HOST)?);
        Ok(Vec::new())
    })?;
    let registry = registry.context("a registry")?;
    let mut header = tar::Header::new_gnu();
    header.set_path("bomb")?;
    header.set_mode(0o644);
    header.set_size(1 << 30);
    header.set_cksum();
    // The rest never comes: the disk is full before.
    let zeros = vec![0; 32 << 20];
    let blob = zstd::encode_all([header.as_bytes(), &zeros[..]].concat().as_slice(), 1)?;
    let mut descriptor = registry.blob("lib/bomb", "application/vnd.oci.image.layer.v1.tar+zstd", &blob);
    let config = json!({ "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [digest(b"anything")] } });
    let config_type = "application/vnd.oci.image.config.v1+json";
    let config = registry.blob("lib/bomb", config_type, config.to_string().as_bytes());
    let image = |layer: &serde_json::Value| json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer] });
    registry.manifest("lib/bomb", "1", &image(&descriptor));
    let error = engine.docker(&["pull", &format!("{HOST}/lib/bomb:1")])?.fails(1)?;
    assert!(error.contains("no space left on device"), "{error}");
    assert!(error.contains(descriptor["digest"].as_str().unwrap_or_default()), "{error}");
    nothing_is_left(&engine)?;

    // Descriptions without an end would fill the memory.
    let mut header = tar::Header::new_ustar();
    header.set_path("long")?;
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_size(1 << 30);
    header.set_cksum();
    let blob = zstd::encode_all([header.as_bytes(), &zeros[..]].concat().as_slice(), 1)?;
    descriptor = registry.blob("lib/bomb", "application/vnd.oci.image.layer.v1.tar+zstd", &blob);
    registry.manifest("lib/bomb", "2", &image(&descriptor));
    let error = engine.docker(&["pull", &format!("{HOST}/lib/bomb:2")])?.fails(1)?;
    assert!(error.contains("extended header is too large"), "{error}");
    nothing_is_left(&engine)
}
