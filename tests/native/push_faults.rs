//! Pushes to a registry that is there and does not always want to.

use crate::pull_faults::{HOST, start};
use anyhow::Result;
use tests::{
    FakeRegistry, NativeEngine,
    fake_registry::Fault,
    image_parts::{OCI_MANIFEST, Packing, layer, noise, publish},
};

/// An image of three layers under `lib/from:1`, of which the registry forgets everything.
fn pulled(engine: &NativeEngine, registry: &FakeRegistry) -> Result<()> {
    let layers = [
        (layer("one", &noise(200_000, 1))?, Packing::Gzip),
        (layer("two", &noise(200_000, 2))?, Packing::Gzip),
        (layer("three", b"3")?, Packing::Gzip),
    ];
    publish(registry, "lib/from", "1", "amd64", &layers)?;
    engine.docker(&["pull", "-q", &format!("{HOST}/lib/from:1")])?.ok().map(drop)
}

fn after(registry: &FakeRegistry, seen: usize, part: &str) -> Vec<String> {
    registry.requests().split_off(seen).into_iter().filter(|request| request.contains(part)).collect()
}

#[test]
fn what_is_there_is_not_sent() -> Result<()> {
    let (engine, registry) = start("2", &[])?;
    pulled(&engine, &registry)?;
    let (from, to) = (format!("{HOST}/lib/from:1"), format!("{HOST}/lib/to:1"));
    engine.docker(&["tag", &from, &to])?.ok()?;
    let seen = registry.requests().len();
    let pushed = engine.docker(&["push", &to])?.ok()?;
    assert_eq!(pushed.matches("Mounted from lib/from").count(), 3, "{pushed}");
    assert!(after(&registry, seen, "PATCH").is_empty());
    // It is the same image, in the form it came in.
    let (media_type, manifest) = registry.content("/v2/lib/to/manifests/1").unwrap_or_default();
    assert_eq!(media_type, OCI_MANIFEST);
    assert_eq!(Some(manifest), registry.content("/v2/lib/from/manifests/1").map(|(_, bytes)| bytes));
    let seen = registry.requests().len();
    let again = engine.docker(&["push", &to])?.ok()?;
    assert_eq!(again.matches("Layer already exists").count(), 3, "{again}");
    assert!(after(&registry, seen, "POST").is_empty() && after(&registry, seen, "PATCH").is_empty());
    Ok(())
}

#[test]
fn what_may_pass_is_tried_again_and_the_rest_is_said() -> Result<()> {
    let (engine, registry) = start("2", &[])?;
    // A second registry knows nothing of what the first has.
    let other = FakeRegistry::start(engine.network(), "127.0.0.1:5001")?;
    pulled(&engine, &registry)?;
    let name = "127.0.0.1:5001/lib/new:1";
    engine.docker(&["tag", &format!("{HOST}/lib/from:1"), name])?.ok()?;
    other.fail("POST /v2/lib/new/blobs/uploads", &[Fault::Status(503, None), Fault::Status(429, Some(1))]);
    other.fail("PATCH", &[Fault::Cut(50_000), Fault::Status(500, None)]);
    other.fail("PUT /v2/lib/new/manifests", &[Fault::Status(502, None)]);
    let pushed = engine.docker(&["push", name])?.ok()?;
    assert_eq!(pushed.matches(": Pushed").count(), 3, "{pushed}");
    assert!(pushed.contains("Retrying in"), "{pushed}");
    // The one that was cut goes on where it was.
    assert_eq!(after(&other, 0, "GET /v2/lib/new/blobs/uploads/").len(), 2, "{:?}", other.requests());
    engine.docker(&["rmi", name, &format!("{HOST}/lib/from:1")])?.ok()?;
    engine.docker(&["pull", "-q", name])?.ok()?;

    let (refused, name) = ("127.0.0.1:5001/lib/no:1", "127.0.0.1:5001/lib/new:1");
    engine.docker(&["tag", name, refused])?.ok()?;
    let mount = "POST /v2/lib/no/blobs/uploads";
    other.fail(mount, &vec![Fault::Status(403, None); 12]);
    let seen = other.requests().len();
    let error = engine.docker(&["push", refused])?.fails(1)?;
    assert!(error.contains("403"), "{error}");
    assert!(after(&other, seen, "PUT /v2/lib/no/manifests").is_empty(), "half an image is none");
    Ok(())
}
