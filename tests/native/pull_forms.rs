//! Images of every form that registries hold.

use crate::pull_faults::{HOST, start};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use tests::{
    FakeRegistry,
    fake_registry::digest,
    image_parts::{OCI_INDEX, OCI_MANIFEST, Packing, layer, publish},
};

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An image whose layers are given as they are: content, blob, media type.
fn put(registry: &FakeRegistry, name: &str, layers: &[(&[u8], &[u8], &str)]) -> Value {
    let diff_ids: Vec<String> = layers.iter().map(|(tar, ..)| digest(tar)).collect();
    let config = json!({ "architecture": "amd64", "os": "linux", "config": { "Cmd": ["sh"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let config_type = "application/vnd.oci.image.config.v1+json";
    let config = registry.blob(name, config_type, config.to_string().as_bytes());
    let layers: Vec<Value> = layers.iter().map(|(_, blob, kind)| registry.blob(name, kind, blob)).collect();
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers });
    registry.manifest(name, "1", &manifest)
}

fn gzip(tar: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = Vec::new();
    std::io::copy(&mut flate2::read::GzEncoder::new(tar, flate2::Compression::fast()), &mut gzip)?;
    Ok(gzip)
}

#[test]
fn odd_layers() -> Result<()> {
    let (engine, registry) = start("2", &[])?;
    let (one, two) = (layer("one", b"1")?, layer("two", b"2")?);
    // As `zstd:chunked`: content in several frames, and frames that decoders skip.
    let skipped = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap_or_default();
        [&[0x50, 0x2a, 0x4d, 0x18], &length.to_le_bytes()[..], bytes].concat()
    };
    let frames = [
        skipped(b"first"),
        zstd::encode_all(&one[..512], 1)?,
        zstd::encode_all(&one[512..], 1)?,
        skipped(b"a table of contents"),
    ];
    let chunked = frames.concat();
    let empty = vec![0; 1024];
    let (two_gzip, empty_gzip) = (gzip(&two)?, gzip(&empty)?);
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let layers = [
        (&one[..], &chunked[..], "application/vnd.oci.image.layer.v1.tar+zstd"),
        (&empty, &empty_gzip, GZIP),
        (&two, &two_gzip, foreign),
        // Twice the same, in one image.
        (&two, &two_gzip, foreign),
        (&empty, &empty_gzip, GZIP),
    ];
    put(&registry, "lib/odd", &layers);
    let name = format!("{HOST}/lib/odd:1");
    let pulled = engine.docker(&["pull", &name])?.ok()?;
    assert_eq!(pulled.matches("Pull complete").count(), 3, "{pulled}");
    assert_eq!(registry.count(&digest(&two_gzip)), 1);
    assert_eq!(fs::read_dir(engine.data_root().join("layers/sha256"))?.count(), 3);
    assert_eq!(engine.docker(&["inspect", "-f", "{{len .RootFS.Layers}}", &name])?.ok()?, "5");
    engine.docker(&["create", "--name", "odd", &name])?.ok()?;
    let copied = engine.folder().join("two").display().to_string();
    engine.docker(&["cp", "odd:/two", &copied])?.ok()?;
    assert_eq!(fs::read(&copied)?, b"2");
    Ok(())
}

#[test]
fn what_is_no_image_is_refused_and_lists_are_chosen_from() -> Result<()> {
    let (engine, registry) = start("2", &[])?;
    let chart = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": registry.blob("lib/chart", "application/vnd.cncf.helm.config.v1+json", b"{}"),
        "layers": [registry.blob("lib/chart", "application/vnd.cncf.helm.chart.content.v1.tar+gzip", b"x")],
    });
    registry.manifest("lib/chart", "1", &chart);
    let error = engine.docker(&["pull", &format!("{HOST}/lib/chart:1")])?.fails(1)?;
    assert!(error.contains("application/vnd.cncf.helm.config.v1+json"), "{error}");
    let old = json!({ "schemaVersion": 1, "mediaType": "application/vnd.docker.distribution.manifest.v1+prettyjws" });
    registry.manifest("lib/old", "1", &old);
    let error = engine.docker(&["pull", &format!("{HOST}/lib/old:1")])?.fails(1)?;
    assert!(error.contains("schema 1"), "{error}");

    let layers = [(layer("one", b"1")?, Packing::Gzip)];
    let (mut arm, _) = publish(&registry, "lib/list", "arm", "arm64", &layers)?;
    let (mut proof, _) =
        publish(&registry, "lib/list", "proof", "amd64", &[(layer("p", b"p")?, Packing::Gzip)])?;
    let (open, _) = publish(&registry, "lib/list", "open", "amd64", &[(layer("o", b"o")?, Packing::Gzip)])?;
    arm["platform"] = json!({ "os": "linux", "architecture": "arm64", "variant": "v8" });
    proof["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    proof["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    let list =
        |entries: Vec<&Value>| json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
    registry.manifest("lib/list", "closed", &list(vec![&proof, &arm]));
    registry.manifest("lib/list", "all", &list(vec![&proof, &arm, &open]));
    let name = |tag: &str| format!("{HOST}/lib/list:{tag}");
    let none = engine.docker(&["pull", &name("closed")])?.fails(1)?;
    assert!(none.contains("no matching manifest for linux/amd64 in the manifest list entries"), "{none}");
    // One that does not say what it is for is for all.
    engine.docker(&["pull", "-q", &name("all")])?.ok()?;
    assert_eq!(engine.docker(&["inspect", "-f", "{{.Architecture}}", &name("all")])?.ok()?, "amd64");
    // Another machine's image is shown for what it is, and warned about.
    engine.docker(&["pull", "-q", "--platform", "linux/arm64", &name("all")])?.ok()?;
    let made = engine.docker(&["create", &name("all")])?;
    let warning = "WARNING: The requested image's platform (linux/arm64) does not match the detected host \
                   platform (linux/amd64";
    assert!(made.code == 0 && made.stderr.contains(warning), "{made:?}");
    // A single image of another platform than asked for.
    let arm = engine.docker(&["pull", "--platform", "linux/amd64", &name("arm")])?.fails(1)?;
    assert!(
        arm.contains("does not match the specified platform: wanted linux/amd64, actual: linux/arm64"),
        "{arm}"
    );
    // Configuration and manifest that contradict each other.
    let (_, manifest) = registry.content("/v2/lib/list/manifests/open").context("a manifest")?;
    let mut manifest: Value = serde_json::from_slice(&manifest)?;
    manifest["layers"] = json!([]);
    registry.manifest("lib/list", "short", &manifest);
    let short = engine.docker(&["pull", &name("short")])?.fails(1)?;
    assert!(short.contains("layers from manifest don't match image configuration"), "{short}");
    Ok(())
}
