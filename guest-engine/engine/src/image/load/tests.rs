//! Whole loads through the real reader into memory layers, friendly and hostile.

use super::*;
use crate::{
    events::Events,
    image::{ImageUser, ImageUsers, Parents, config::digest},
    testing::memory_layers::MemoryLayers,
};
use flate2::{Compression, write::GzEncoder};
use futures_util::stream;
use std::io::Write;
use tempfile::TempDir;

struct Fixture {
    images: Arc<Images>,
    layers: Arc<MemoryLayers>,
    folder: TempDir,
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let layers = Arc::new(MemoryLayers::default());
    let events = Arc::new(Events::default());
    let images = Images::open(folder.path(), Arc::clone(&layers) as _, events).await.unwrap();
    Fixture { images: Arc::new(images), layers, folder }
}

impl Fixture {
    /// In small pieces, as a slow network would deliver it.
    async fn load(&self, archive: &[u8]) -> Result<Vec<String>> {
        let pieces: Vec<io::Result<Bytes>> =
            archive.chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let said = self.images.load(stream::iter(pieces)).await?;
        Ok(said.iter().map(ToString::to_string).collect())
    }

    async fn refused(&self, archive: &[u8]) -> String {
        let message = self.load(archive).await.unwrap_err().to_string();
        assert_eq!(self.images.count(), 0, "{message}");
        assert!(self.layers.ids().is_empty(), "{message}");
        assert!(self.images.snapshot().orphans.is_empty(), "{message}");
        message
    }
}

fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Past the builder's own checks: hostile names are what some tests are about.
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn layer(content: &str) -> Vec<u8> {
    tar(&[("etc/motd", content.repeat(500).as_bytes())])
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({
        "architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z",
        "config": {"Cmd": ["sh"], "Labels": {"a": "b"}, "ExposedPorts": null},
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|l| digest(l)).collect::<Vec<_>>()},
        "history": [{"created_by": "one"}, {"created_by": "two", "empty_layer": true}],
    }))
    .unwrap()
}

fn manifest(tags: &[&str], layers: &[&str]) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!([{"Config": "c.json", "RepoTags": tags, "Layers": layers}]))
        .unwrap()
}

/// `docker save` as it always was: layers first, manifest last.
fn docker_archive(tags: &[&str]) -> Vec<u8> {
    let layer = layer("hello");
    tar(&[
        ("abc/layer.tar", &layer),
        ("c.json", &config(&[&layer])),
        ("manifest.json", &manifest(tags, &["abc/layer.tar"])),
    ])
}

#[tokio::test]
async fn docker_archives_load_plain_and_compressed() {
    let archive = docker_archive(&["busybox:latest", "localhost:5000/x/y:1"]);
    for bytes in [archive.clone(), gzip(&archive), zstd::encode_all(archive.as_slice(), 1).unwrap()] {
        let fixture = fixture().await;
        assert_eq!(
            fixture.load(&bytes).await.unwrap(),
            ["Loaded image: busybox:latest", "Loaded image: localhost:5000/x/y:1"]
        );
        let image = fixture.images.get("busybox").await.unwrap();
        assert_eq!(image.id, digest(&config(&[&layer("hello")])));
        assert_eq!((image.size, image.layers), (2500, vec![digest(&layer("hello"))]));
        let history = fixture.images.history("busybox").await.unwrap();
        assert_eq!(history.iter().map(|h| h.size).collect::<Vec<_>>(), [0, 2500]);
        assert!(fixture.images.snapshot().orphans.is_empty());
        // And it is all there for the next engine.
        let again = Images::open(fixture.folder.path(), Arc::clone(&fixture.layers) as _, Arc::default());
        assert_eq!(again.await.unwrap().get("busybox").await.unwrap().id, image.id);
    }
}

#[tokio::test]
async fn oci_layouts_load_with_nested_indexes_and_compressed_layers() {
    let layer = layer("oci");
    let packed = gzip(&layer);
    let config = config(&[&layer]);
    let manifest = serde_json::to_vec(&serde_json::json!({
        "config": {"digest": digest(&config)}, "layers": [{"digest": digest(&packed)}],
    }))
    .unwrap();
    let platform = |architecture: &str| serde_json::json!({"os": "linux", "architecture": architecture});
    let nested = serde_json::to_vec(&serde_json::json!({"manifests": [
        {"digest": format!("sha256:{}", "0".repeat(64)), "platform": platform("vax")},
        {"digest": digest(&manifest), "platform": platform(manifest::architecture()),
         "mediaType": "application/vnd.oci.image.manifest.v1+json"},
    ]}))
    .unwrap();
    let index = serde_json::to_vec(&serde_json::json!({"manifests": [
        {"digest": digest(&nested), "mediaType": "application/vnd.oci.image.index.v1+json",
         "annotations": {"io.containerd.image.name": "docker.io/library/oci:1"}},
    ]}))
    .unwrap();
    let blobs: Vec<(String, &[u8])> = [&packed, &config, &manifest, &nested]
        .into_iter()
        .map(|blob| (digest(blob).replace("sha256:", "blobs/sha256/"), blob.as_slice()))
        .collect();
    let mut entries: Vec<(&str, &[u8])> = blobs.iter().map(|(name, blob)| (name.as_str(), *blob)).collect();
    entries.push(("index.json", &index));
    let fixture = fixture().await;
    assert_eq!(fixture.load(&tar(&entries)).await.unwrap(), ["Loaded image: oci:1"]);
    assert_eq!(fixture.images.get("oci:1").await.unwrap().layers, [digest(&layer)]);
}

#[tokio::test]
async fn a_name_moves_and_the_old_image_stays() {
    let fixture = fixture().await;
    fixture.load(&docker_archive(&["a:b"])).await.unwrap();
    let before = fixture.images.get("a:b").await.unwrap().id;
    let other = layer("other");
    let archive =
        tar(&[("manifest.json", &manifest(&["a:b"], &["l"])), ("c.json", &config(&[&other])), ("l", &other)]);
    let said = fixture.load(&archive).await.unwrap();
    assert_eq!(
        said[0],
        format!("The image a:b already exists, renaming the old one with ID {before} to empty string")
    );
    assert_eq!(said[1], "Loaded image: a:b");
    assert!(fixture.images.get(&before).await.unwrap().names.is_empty());
    fixture.images.remove(&before, false, Parents::Go).await.unwrap();
    assert_eq!(fixture.layers.ids().len(), 1, "the layer of the removed image is gone");
}

#[derive(Debug)]
struct OneUser(ImageUser);

impl ImageUsers for OneUser {
    fn image_users(&self) -> Vec<ImageUser> {
        vec![self.0.clone()]
    }
}

#[tokio::test]
async fn layers_that_containers_stand_on_outlive_their_image() {
    let fixture = fixture().await;
    fixture.load(&docker_archive(&[])).await.unwrap();
    let id = fixture.images.list(&super::super::ImageFilters::default()).await.unwrap()[0].id.clone();
    let user = ImageUser { container: "c".repeat(64), image: id.clone(), running: false };
    fixture.images.set_users(Arc::new(OneUser(user)));
    assert!(fixture.images.remove(&id, false, Parents::Go).await.is_err());
    fixture.images.remove(&id, true, Parents::Go).await.unwrap();
    assert_eq!((fixture.images.count(), fixture.layers.ids().len()), (0, 1));
    // The container is gone: nobody claims it any more.
    let next = Images::open(fixture.folder.path(), Arc::clone(&fixture.layers) as _, Arc::default());
    next.await.unwrap().sweep().await.unwrap();
    assert!(fixture.layers.ids().is_empty());
}

#[tokio::test]
async fn hostile_and_broken_archives_leave_nothing() {
    let (good, config_bytes) = (layer("x"), config(&[&layer("x")]));
    let manifest_bytes = manifest(&["a:1"], &["l"]);
    let with = |entries: &[(&str, &[u8])]| tar(entries);
    let base: [(&str, &[u8]); 2] = [("l", &good), ("c.json", &config_bytes)];
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", Vec::new(), "not a tar archive"),
        ("text", b"hello".to_vec(), "not a tar archive"),
        ("broken xz", b"\xfd7zXZ\0\0\0".repeat(100), "invalid archive"),
        ("no manifest", with(&base), "neither manifest.json"),
        ("manifest not JSON", with(&[("manifest.json", b"{")]), "manifest.json"),
        ("no config", with(&[("l", &good), ("manifest.json", &manifest_bytes)]), "configuration"),
        (
            "no layer",
            with(&[("c.json", &config_bytes), ("manifest.json", &manifest_bytes)]),
            "\"l\" is missing",
        ),
        (
            "other layer",
            with(&[("l", &layer("y")), ("c.json", &config_bytes), ("manifest.json", &manifest_bytes)]),
            "invalid diffID for layer 0",
        ),
        (
            "layer count",
            with(&[base[0], base[1], ("manifest.json", &manifest(&["a:1"], &["l", "l"]))]),
            "layers length mismatch: expected 1, got 2",
        ),
        (
            "bad tag",
            with(&[base[0], base[1], ("manifest.json", &manifest(&["A:1"], &["l"]))]),
            "must be lowercase",
        ),
        (
            "leading out",
            with(&[base[0], ("../../etc/passwd", b"x"), ("manifest.json", &manifest_bytes)]),
            "leads out of the archive",
        ),
        ("damaged blob", with(&[base[0], (&format!("blobs/sha256/{}", "a".repeat(64)), b"x")]), "is damaged"),
        ("layer cut short", gzip(&docker_archive(&["a:1"]))[..300].to_vec(), "invalid archive"),
        ("tar cut short", docker_archive(&["a:1"])[..2000].to_vec(), "invalid archive"),
        (
            "gzip layer cut short",
            with(&[("l", &gzip(&good)[..60]), base[1], ("manifest.json", &manifest_bytes)]),
            "not a usable layer",
        ),
    ];
    for (name, archive, expected) in cases {
        let message = fixture().await.refused(&archive).await;
        assert!(message.contains(expected), "{name}: {message}");
    }
}

#[tokio::test]
async fn links_between_layers_are_followed_but_not_in_circles() {
    let link = |target: &str| {
        let mut builder = tar::Builder::new(Vec::new());
        let layer = layer("hello");
        let mut add = |name: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append_data(&mut header, name, content).unwrap();
        };
        add("one/layer.tar", &layer);
        add("c.json", &config(&[&layer]));
        add("manifest.json", &manifest(&[], &["two/layer.tar"]));
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "two/layer.tar", target).unwrap();
        builder.into_inner().unwrap()
    };
    let said = fixture().await.load(&link("../one/layer.tar")).await.unwrap();
    assert!(said[0].starts_with("Loaded image ID: sha256:"), "{said:?}");
    let message = fixture().await.refused(&link("../two/layer.tar")).await;
    assert!(message.contains("circle"), "{message}");
}
