//! What an archive's manifest says, checked against what the archive holds.

use super::archive::Contents;
use crate::{
    error::{EngineError, Result},
    image::{
        Reference,
        config::{ConfigFile, digest, is_sha256},
    },
    ports::LayerInfo,
};
use serde::{Deserialize, de::DeserializeOwned};
use std::collections::BTreeMap;

/// Indexes inside indexes.
const DEPTH: usize = 4;

/// An image that is complete and consistent.
#[derive(Debug)]
pub(super) struct Described {
    /// The configuration, byte for byte.
    pub config: Vec<u8>,
    /// Lowest first.
    pub layers: Vec<LayerInfo>,
    pub names: Vec<Reference>,
}

/// An entry of docker-archive's `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct OciIndex {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct OciManifest {
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Clone, Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(rename = "mediaType", default)]
    media_type: String,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

/// Finds the images of an archive. `known` answers which layers are here already: an archive need not
/// hold those.
pub(super) fn describe(
    contents: &Contents,
    known: impl Fn(&str) -> Result<Option<LayerInfo>>,
) -> Result<Vec<Described>> {
    if let Some(manifest) = contents.small("manifest.json")? {
        let images: Vec<DockerImage> = parse("manifest.json", manifest)?;
        return images.iter().map(|image| docker_image(contents, image, &known)).collect();
    }
    if let Some(index) = contents.small("index.json")? {
        let index: OciIndex = parse("index.json", index)?;
        let mut found = Vec::new();
        for descriptor in index.manifests.iter().filter(|d| !is_attestation(d)) {
            let manifest = choose(contents, descriptor, DEPTH)?;
            let config = blob_path(&manifest.config.digest)?;
            let layers: Vec<String> =
                manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect::<Result<_>>()?;
            found.push(check(contents, &config, &layers, oci_names(descriptor), &known)?);
        }
        return Ok(found);
    }
    Err(invalid("it holds neither manifest.json (docker save) nor index.json (OCI layout)"))
}

fn docker_image(
    contents: &Contents,
    image: &DockerImage,
    known: &impl Fn(&str) -> Result<Option<LayerInfo>>,
) -> Result<Described> {
    let mut names = Vec::new();
    for tag in image.repo_tags.iter().flatten() {
        let name: Reference = tag.parse()?;
        if name.tag().is_none() || name.digest().is_some() {
            return Err(invalid(format!("invalid tag {tag:?}")));
        }
        names.push(name);
    }
    check(contents, &image.config, image.layers.as_deref().unwrap_or_default(), names, known)
}

/// Puts an image together and proves that its layers are what its configuration says.
fn check(
    contents: &Contents,
    config_path: &str,
    layer_paths: &[String],
    names: Vec<Reference>,
    known: &impl Fn(&str) -> Result<Option<LayerInfo>>,
) -> Result<Described> {
    let bytes = contents
        .small(config_path)?
        .ok_or_else(|| invalid(format!("the image configuration {config_path:?} is missing")))?;
    let config = ConfigFile::parse(bytes)?;
    if !config.os.is_empty() && config.os != "linux" {
        return Err(EngineError::invalid(format!("cannot load {} image on linux", config.os)));
    }
    let expected = config.layers();
    if expected.len() != layer_paths.len() {
        return Err(EngineError::invalid(format!(
            "invalid manifest, layers length mismatch: expected {}, got {}",
            expected.len(),
            layer_paths.len()
        )));
    }
    let mut layers = Vec::with_capacity(expected.len());
    for (number, (diff_id, path)) in expected.iter().zip(layer_paths).enumerate() {
        let layer = match contents.layer(path)? {
            Some(layer) if layer.diff_id == *diff_id => layer.clone(),
            Some(layer) => {
                return Err(EngineError::invalid(format!(
                    "invalid diffID for layer {number}: expected \"{diff_id}\", got \"{}\"",
                    layer.diff_id
                )));
            }
            None => known(diff_id)?.ok_or_else(|| invalid(format!("layer {path:?} is missing")))?,
        };
        layers.push(layer);
    }
    Ok(Described { config: bytes.to_vec(), layers, names })
}

/// Descends from a descriptor to the manifest for this machine.
fn choose(contents: &Contents, descriptor: &Descriptor, depth: usize) -> Result<OciManifest> {
    if depth == 0 {
        return Err(invalid("indexes are nested too deeply"));
    }
    let path = blob_path(&descriptor.digest)?;
    let bytes =
        contents.small(&path)?.ok_or_else(|| invalid(format!("blob {} is missing", descriptor.digest)))?;
    // Checked when read as well, but a link can stand where a blob should.
    if digest(bytes) != descriptor.digest {
        return Err(invalid(format!("blob {} is damaged", descriptor.digest)));
    }
    if !descriptor.media_type.contains("index") && !descriptor.media_type.contains("manifest.list") {
        return parse(&path, bytes);
    }
    let index: OciIndex = parse(&path, bytes)?;
    let images: Vec<&Descriptor> = index.manifests.iter().filter(|d| !is_attestation(d)).collect();
    let fits = |d: &&&Descriptor| {
        d.platform.as_ref().is_some_and(|p| p.os == "linux" && p.architecture == architecture())
    };
    match (images.iter().find(fits), images.as_slice()) {
        (Some(fitting), _) => choose(contents, fitting, depth - 1),
        (None, [only]) => choose(contents, only, depth - 1),
        (None, _) => Err(invalid(format!("it holds no image for linux/{}", architecture()))),
    }
}

/// The names that containerd and others leave in annotations.
fn oci_names(descriptor: &Descriptor) -> Vec<Reference> {
    let full = descriptor.annotations.get("io.containerd.image.name");
    // Often only a tag, which names nothing by itself.
    let short =
        descriptor.annotations.get("org.opencontainers.image.ref.name").filter(|n| n.contains([':', '/']));
    full.or(short)
        .and_then(|name| name.parse::<Reference>().ok())
        .map(Reference::or_latest)
        .into_iter()
        .collect()
}

fn is_attestation(descriptor: &Descriptor) -> bool {
    descriptor.annotations.get("vnd.docker.reference.type").is_some_and(|kind| kind == "attestation-manifest")
}

/// This machine's architecture as images call it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn blob_path(digest: &str) -> Result<String> {
    match digest.strip_prefix("sha256:") {
        Some(hex) if is_sha256(digest) => Ok(format!("blobs/sha256/{hex}")),
        _ => Err(invalid(format!("digest {digest:?} is not supported"))),
    }
}

fn parse<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| invalid(format!("{path:?} is not understood: {e}")))
}

fn invalid(why: impl std::fmt::Display) -> EngineError {
    EngineError::invalid(format!("invalid archive: {why}"))
}
