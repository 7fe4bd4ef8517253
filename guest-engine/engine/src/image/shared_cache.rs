//! Build caches that registries keep: an image whose configuration also says which steps its layers are of. An
//! image that was built may be one itself, or it stands beside, with the layers of all stages.

use super::{
    Images, Reference,
    config::ConfigFile,
    fetch::Wanted,
    progress::progress,
    pull::{find, follow},
};
use crate::{
    ErrorKind,
    error::{EngineError, Result},
    platform::Platform,
    ports::LayerInfo,
    registry::{Credentials, Registries, Session},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Where it stands in the configuration.
pub(crate) const FIELD: &str = "machine.buildcache.v1";
/// Bytes of a configuration.
const LIMIT: u64 = 16 << 20;

/// Steps by their keys.
pub(crate) type SharedSteps = BTreeMap<String, SharedStep>;

/// A step as others may find it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SharedStep {
    /// Diff id; `None` when the step changed nothing.
    pub(crate) layer: Option<String>,
    /// RFC 3339.
    pub(crate) created: String,
    pub(crate) description: String,
}

/// A cache in a registry, open for reading.
#[derive(Debug)]
pub(crate) struct SharedCache {
    session: Arc<Session>,
    steps: SharedSteps,
    blobs: HashMap<String, Wanted>,
}

impl Images {
    /// Reads what a registry has under that name.
    pub(crate) async fn open_cache(
        &self,
        registries: &Registries,
        reference: &Reference,
        credentials: &Credentials,
    ) -> Result<SharedCache> {
        let mut last = None;
        for endpoint in registries.endpoints(reference.domain(), false).await? {
            match registries.connect(&endpoint, credentials).await {
                Ok(session) => match read(Arc::new(session), reference).await {
                    Err(error) if endpoint.is_mirror() => last = Some(error),
                    read => return read,
                },
                Err(failure) => last = Some(failure.into()),
            }
        }
        Err(last.unwrap_or_else(|| EngineError::system("no endpoint for the registry")))
    }

    /// Gets the layer of a cached step. The caller holds layers.
    pub(crate) async fn cached_layer(
        self: &Arc<Self>,
        cache: &SharedCache,
        layer: &str,
    ) -> Result<LayerInfo> {
        if let Some(here) = self.layers.layer(layer).await? {
            return Ok(here);
        }
        let wanted = cache.blobs.get(layer);
        let wanted =
            wanted.ok_or_else(|| EngineError::not_found(format!("the cache lacks layer {layer}")))?;
        self.expect(&[layer.to_owned()]).await?;
        let (fetch, _) = self.fetch(&cache.session, wanted);
        // Nobody watches.
        let (sender, _) = progress();
        follow(fetch.state.clone(), wanted, &sender).await?;
        let here = self.layers.layer(layer).await?;
        here.ok_or_else(|| EngineError::system("A layer that was just fetched is gone"))
    }
}

impl SharedCache {
    /// The step with that key.
    pub(crate) fn step(&self, key: &str) -> Option<&SharedStep> {
        self.steps.get(key)
    }
}

async fn read(session: Arc<Session>, reference: &Reference) -> Result<SharedCache> {
    let found = find(&session, reference, &Platform::of_machine()).await?;
    let descriptor = found.manifest.config();
    let (id, size) = (descriptor.digest().to_string(), descriptor.size());
    let bytes = session.small_blob(reference.path(), &id, size, LIMIT).await?;
    let whole: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|e| EngineError::invalid("The cache's configuration is no JSON").because(e))?;
    let Some(steps) = whole.get(FIELD) else {
        let message = format!("{}: the image brings no cache of this kind of engine", reference.familiar());
        return Err(EngineError::new(ErrorKind::NotFound, message));
    };
    let steps: SharedSteps = serde_json::from_value(steps.clone())
        .map_err(|e| EngineError::invalid("The cache cannot be understood").because(e))?;
    let config = ConfigFile::parse(&bytes)?;
    let blobs = config.layers().iter().zip(found.manifest.layers()).map(|(diff_id, blob)| {
        let wanted = Wanted {
            diff_id: diff_id.clone(),
            digest: blob.digest().to_string(),
            size: blob.size(),
            name: reference.path().to_owned(),
        };
        (diff_id.clone(), wanted)
    });
    Ok(SharedCache { steps, blobs: blobs.collect(), session })
}
