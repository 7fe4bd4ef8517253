//! What is known about images, on disk: configuration blobs by their hash and one index of names.
//!
//! ```text
//!   images/index.json             names, image records, layers that wait for removal
//!   images/blobs/sha256/<hex>     configuration blobs
//! ```

use super::{
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
    /// Normalised name with tag → image id.
    pub names: BTreeMap<Reference, String>,
    /// Every image by its id.
    pub images: BTreeMap<String, Record>,
    /// Layers of images that were removed while a container still stands on them, by image id.
    pub ghosts: BTreeMap<String, Vec<String>>,
    /// Layers that belong to nothing (yet): of a load in progress, or to be removed.
    pub orphans: BTreeSet<String>,
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
}

impl Index {
    /// Names of an image, sorted.
    pub(super) fn names_of(&self, id: &str) -> Vec<Reference> {
        self.names.iter().filter(|(_, image)| *image == id).map(|(name, _)| name.clone()).collect()
    }

    /// Whether images were made from this one.
    pub(super) fn has_children(&self, id: &str) -> bool {
        self.images.values().any(|record| record.parent.as_deref() == Some(id))
    }

    /// Whether an image or a container needs the layer.
    pub(super) fn needs_layer(&self, layer: &String) -> bool {
        self.images.values().any(|record| record.layers.contains(layer))
            || self.ghosts.values().any(|layers| layers.contains(layer))
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

    /// Keeps a configuration blob and says what it is called.
    pub(super) async fn put_config(&self, bytes: Vec<u8>) -> Result<String> {
        let id = digest(&bytes);
        let path = self.blob(&id);
        tokio::task::spawn_blocking(move || state_file::write_durably(&path, &bytes))
            .await
            .map_err(|e| EngineError::system("Could not keep an image configuration").because(e))?
            .map_err(|e| EngineError::system("Could not keep an image configuration").because(e))?;
        Ok(id)
    }

    /// Reads a configuration blob back and checks that it still is what its name says.
    pub(super) async fn config(&self, id: &str) -> Result<ConfigFile> {
        let bytes = tokio::fs::read(self.blob(id)).await.map_err(|e| {
            EngineError::system(format!("Could not read the configuration of image {id}")).because(e)
        })?;
        if digest(&bytes) != id {
            return Err(EngineError::system(format!("The configuration of image {id} is damaged on disk")));
        }
        ConfigFile::parse(&bytes)
    }

    pub(super) async fn remove_config(&self, id: &str) -> Result<()> {
        state_file::remove(&self.blob(id)).await
    }

    fn index(&self) -> PathBuf {
        self.root.join("index.json")
    }

    fn blob(&self, id: &str) -> PathBuf {
        let hex = id.strip_prefix("sha256:").unwrap_or(id);
        self.root.join("blobs/sha256").join(Path::new(hex))
    }
}
