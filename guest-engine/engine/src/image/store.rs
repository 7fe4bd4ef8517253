//! What is known about images, on disk: configuration blobs by their hash and one index of names.
//!
//! ```text
//!   images/index.json             names, image records, layers that wait for removal
//!   images/blobs/sha256/<hex>     configuration blobs and manifests
//! ```

use super::{
    build_steps::StepRecord,
    config::{ConfigFile, digest},
    reference::Reference,
};
use crate::{
    error::{EngineError, Result},
    state_file,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// The record behind `index.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Index {
    /// Normalised name, with a tag or with the digest a registry knows the image by → image id.
    pub names: BTreeMap<Reference, String>,
    /// Every image by its id.
    pub images: BTreeMap<String, Record>,
    /// Layers of images that were removed while a container still stands on them, by image id.
    pub ghosts: BTreeMap<String, Vec<String>>,
    /// Steps of builds, by everything that led to them.
    pub steps: BTreeMap<String, StepRecord>,
    /// Layers that belong to nothing (yet): of a load in progress, or to be removed.
    pub orphans: BTreeSet<String>,
    /// What registries hold of our layers, by diff id, newest first.
    pub sources: BTreeMap<String, Vec<Source>>,
}

/// A layer as a repository has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    /// Domain and path.
    pub repository: String,
    /// Of the compressed blob.
    pub digest: String,
    pub size: u64,
    pub media_type: String,
}

/// The manifest a registry knows an image by; its bytes are among the blobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManifestRecord {
    pub digest: String,
    pub media_type: String,
}

/// One image.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    /// Diff ids, lowest first.
    pub layers: Vec<String>,
    /// Bytes of all regular files of all layers.
    pub size: u64,
    /// Bytes per layer, in the order of `layers`.
    pub layer_sizes: Vec<u64>,
    /// Last time a name was given, seconds since the epoch.
    pub tagged_at: Option<i64>,
    /// The image that a build or a commit here made this one from.
    pub parent: Option<String>,
    /// As it was last pulled or pushed.
    pub manifest: Option<ManifestRecord>,
}

/// Of how many repositories it is remembered that they have a layer.
const SOURCES: usize = 8;

impl Index {
    /// Names of an image with a tag, sorted.
    pub(super) fn names_of(&self, id: &str) -> Vec<Reference> {
        self.references_of(id).into_iter().filter(|name| name.digest().is_none()).collect()
    }

    /// Names of an image with a digest, sorted.
    pub(super) fn digests_of(&self, id: &str) -> Vec<Reference> {
        self.references_of(id).into_iter().filter(|name| name.digest().is_some()).collect()
    }

    /// All names of an image, sorted.
    pub(super) fn references_of(&self, id: &str) -> Vec<Reference> {
        self.names.iter().filter(|(_, image)| *image == id).map(|(name, _)| name.clone()).collect()
    }

    /// Remembers what a repository has.
    pub(super) fn remember(&mut self, diff_id: &str, source: Source) {
        let known = self.sources.entry(diff_id.to_owned()).or_default();
        known.retain(|other| other.repository != source.repository || other.digest != source.digest);
        known.insert(0, source);
        known.truncate(SOURCES);
    }

    /// Whether an image is known to registries by this manifest.
    pub(super) fn needs_manifest(&self, digest: &str) -> bool {
        self.images.values().any(|record| record.manifest.as_ref().is_some_and(|m| m.digest == digest))
    }

    /// Whether images were made from this one.
    pub(super) fn has_children(&self, id: &str) -> bool {
        self.images.values().any(|record| record.parent.as_deref() == Some(id))
    }

    /// Whether an image or a container needs the layer.
    pub(super) fn needs_layer(&self, layer: &String) -> bool {
        self.images.values().any(|record| record.layers.contains(layer))
            || self.ghosts.values().any(|layers| layers.contains(layer))
            || self.steps.values().any(|step| step.layer.as_ref() == Some(layer))
    }
}

/// The folder.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
}

impl Store {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) async fn load(&self) -> Result<Index> {
        Ok(state_file::load(&self.index()).await?.unwrap_or_default())
    }

    pub(super) async fn save(&self, index: &Index) -> Result<()> {
        state_file::save(&self.index(), index).await
    }

    /// Keeps a configuration or a manifest and says what it is called.
    pub(super) async fn put(&self, bytes: Vec<u8>) -> Result<String> {
        let id = digest(&bytes);
        let path = self.blob(&id);
        tokio::task::spawn_blocking(move || state_file::write_durably(&path, &bytes))
            .await
            .map_err(|e| EngineError::system("Could not keep an image configuration").because(e))?
            .map_err(|e| EngineError::system("Could not keep an image configuration").because(e))?;
        Ok(id)
    }

    /// Reads a configuration blob.
    pub(super) async fn config(&self, id: &str) -> Result<ConfigFile> {
        ConfigFile::parse(&self.read(id).await?)
    }

    /// Reads a blob back and checks that it still is what its name says.
    pub(super) async fn read(&self, id: &str) -> Result<Vec<u8>> {
        let bytes = tokio::fs::read(self.blob(id)).await.map_err(|e| {
            EngineError::system(format!("Could not read the configuration of image {id}")).because(e)
        })?;
        if digest(&bytes) != id {
            return Err(EngineError::system(format!("The configuration of image {id} is damaged on disk")));
        }
        Ok(bytes)
    }

    pub(super) async fn remove(&self, id: &str) -> Result<()> {
        state_file::remove(&self.blob(id)).await
    }

    /// Removes blobs that no image needs and files whose writing was interrupted, the index among them. Says which.
    pub(super) async fn remove_unneeded(&self, index: &Index) -> Result<Vec<String>> {
        let needed: BTreeSet<String> = index
            .images
            .iter()
            .flat_map(|(id, record)| [Some(id), record.manifest.as_ref().map(|m| &m.digest)])
            .flatten()
            .filter_map(|id| Some(id.strip_prefix("sha256:")?.to_owned()))
            .collect();
        let (root, blobs) = (self.root.clone(), self.root.join("blobs/sha256"));
        tokio::task::spawn_blocking(move || {
            let mut removed = remove_files(&root, state_file::is_unfinished);
            removed.append(&mut remove_files(&blobs, |name| !needed.contains(name)));
            removed
        })
        .await
        .map_err(|e| EngineError::system("Could not look for leftovers").because(e))
    }

    fn index(&self) -> PathBuf {
        self.root.join("index.json")
    }

    fn blob(&self, id: &str) -> PathBuf {
        let hex = id.strip_prefix("sha256:").unwrap_or(id);
        self.root.join("blobs/sha256").join(Path::new(hex))
    }
}

/// Removes the files of a folder whose names say that nobody needs them, and gives those names.
fn remove_files(folder: &Path, is_unneeded: impl Fn(&str) -> bool) -> Vec<String> {
    let mut removed = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // What cannot be removed now is tried again at the next start.
        if is_unneeded(&name) && std::fs::remove_file(entry.path()).is_ok() {
            removed.push(name);
        }
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_being_written_when_the_engine_died_goes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().to_owned());
        store.save(&Index::default()).await.unwrap();
        let blob = store.put(b"{}".to_vec()).await.unwrap();
        std::fs::write(folder.path().join("index.json.0.tmp"), "{").unwrap();
        let mut removed = store.remove_unneeded(&Index::default()).await.unwrap();
        removed.sort();
        assert_eq!(removed, [blob.strip_prefix("sha256:").unwrap(), "index.json.0.tmp"]);
        let mut left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["blobs", "index.json"]);
    }
}
