//! What images are made of, for tests that put them together by hand.

use crate::fake_registry::{FakeRegistry, digest};
use anyhow::Result;
use serde_json::{Value, json};
use std::io::Write;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// How a layer is packed.
#[derive(Clone, Copy, Debug)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// A layer's tar with one file.
pub fn layer(name: &str, content: &[u8]) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    header.set_cksum();
    builder.append_data(&mut header, name, content)?;
    Ok(builder.into_inner()?)
}

/// Bytes that do not compress, the same each time.
pub fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..length).map(|_| next()).collect()
}

/// Puts an image into a registry and gives the descriptor of its manifest and the digests of its blobs.
pub fn publish(
    registry: &FakeRegistry,
    name: &str,
    tag: &str,
    architecture: &str,
    layers: &[(Vec<u8>, Packing)],
) -> Result<(Value, Vec<String>)> {
    let diff_ids: Vec<String> = layers.iter().map(|(tar, _)| digest(tar)).collect();
    let config = json!({
        "architecture": architecture, "os": "linux", "config": { "Cmd": ["sh"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config_type = "application/vnd.oci.image.config.v1+json";
    let config = registry.blob(name, config_type, config.to_string().as_bytes());
    let mut blobs = Vec::new();
    for (tar, packing) in layers {
        let (bytes, ending) = match packing {
            Packing::Plain => (tar.clone(), ""),
            Packing::Gzip => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gzip.write_all(tar)?;
                (gzip.finish()?, "+gzip")
            }
            Packing::Zstd => (zstd::encode_all(tar.as_slice(), 1)?, "+zstd"),
        };
        let media_type = format!("application/vnd.oci.image.layer.v1.tar{ending}");
        blobs.push(registry.blob(name, &media_type, &bytes));
    }
    let digests = blobs.iter().filter_map(|blob| Some(blob["digest"].as_str()?.to_owned())).collect();
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": blobs });
    Ok((registry.manifest(name, tag, &manifest), digests))
}
