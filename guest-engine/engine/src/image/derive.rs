//! New images: one more layer, or only another configuration, on top of one that is here.

use super::{
    Images, Reference,
    config::{ConfigFile, EMPTY_LAYER, is_sha256},
    record_of,
    tag::{give_name, refresh},
};
use crate::{
    error::{EngineError, Result},
    platform::machine_architecture,
    ports::LayerInfo,
};
use bollard_stubs::models::ImageConfig;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// What distinguishes a new image from its parent.
#[derive(Clone, Debug, Default)]
pub struct Derived {
    /// The parent's id; `None` for an image that stands on nothing.
    pub parent: Option<String>,
    /// Layers below the new one, lowest first. They are in use, so they are there, even where the parent
    /// has been removed meanwhile.
    pub layers: Vec<String>,
    /// What its containers start with.
    pub config: ImageConfig,
    /// What the step was; decides whether a later build may take this image instead of repeating it.
    pub step: ImageConfig,
    /// The container the step ran in.
    pub container: Option<String>,
    pub author: String,
    pub comment: String,
    /// As `docker history` shows it.
    pub created_by: String,
    /// As Go calls it; empty for the parent's or, without one, this machine's.
    pub architecture: String,
    /// As Go calls it; counts together with an architecture.
    pub variant: String,
}

impl Images {
    /// Makes the image, with the layer that `layer` makes on top of its parent's. Nothing is left on
    /// failure. An empty layer is left out, as dockerd does.
    pub async fn derive(
        self: &Arc<Self>,
        derived: Derived,
        layer: impl Future<Output = Result<Option<LayerInfo>>> + Send,
    ) -> Result<String> {
        let adding = self.adding.read().await;
        let made = self.derive_within(derived, layer).await;
        drop(adding);
        if made.is_err()
            && let Err(error) = self.sweep().await
        {
            tracing::warn!(%error, "The layer of an image that was not made is still there");
        }
        made
    }

    async fn derive_within(
        &self,
        derived: Derived,
        layer: impl Future<Output = Result<Option<LayerInfo>>> + Send,
    ) -> Result<String> {
        let layer = layer.await?.filter(|layer| layer.diff_id != EMPTY_LAYER);
        if let Some(layer) = &layer {
            self.change(|index| {
                if !index.needs_layer(&layer.diff_id) {
                    index.orphans.insert(layer.diff_id.clone());
                }
                Ok(())
            })
            .await?;
        }
        let parent = match &derived.parent {
            Some(parent) if self.snapshot().images.contains_key(parent) => Some(self.config(parent).await?),
            _ => None,
        };
        let mut layers = Vec::new();
        for diff_id in &derived.layers {
            let info = self.layers.layer(diff_id).await?;
            layers.push(info.ok_or_else(|| EngineError::system(format!("Layer {diff_id} is missing")))?);
        }
        let empty = layer.is_none();
        layers.extend(layer);
        let blob = blob(&derived, parent.as_deref(), &layers, empty)?;
        let id = self.store.put(blob).await?;
        self.change(|index| {
            for layer in &layers {
                index.orphans.remove(&layer.diff_id);
            }
            index.ghosts.remove(&id);
            let mut record = record_of(&layers, index.images.get(&id).and_then(|record| record.tagged_at));
            // A parent that went meanwhile is none.
            record.manifest = index.images.get(&id).and_then(|record| record.manifest.clone());
            record.parent = derived.parent.clone().filter(|parent| index.images.contains_key(parent));
            index.images.insert(id.clone(), record);
            Ok(())
        })
        .await?;
        Ok(id)
    }

    /// Makes `name` mean the image, and announces it.
    pub async fn give(&self, name: Reference, id: &str) -> Result<()> {
        let familiar = name.familiar();
        if self.snapshot().names.get(&name).is_some_and(|named| named == id) {
            self.note(|index| refresh(index, id)).await;
        } else {
            self.change(|index| {
                if !index.images.contains_key(id) {
                    return Err(EngineError::not_found(format!("No such image: {id}")));
                }
                give_name(index, name, id);
                Ok(())
            })
            .await?;
        }
        self.announce("tag", id, &familiar).await;
        Ok(())
    }

    /// Announces something that happened to an image.
    pub async fn announce_made(&self, action: &str, id: &str) {
        self.announce(action, id, id).await;
    }

    /// The newest image that a build made by exactly this step on top of `parent` (`None`: on nothing), for an
    /// architecture; none is this machine's.
    pub async fn find_step(
        &self,
        parent: Option<&str>,
        step: &ImageConfig,
        architecture: &str,
    ) -> Result<Option<String>> {
        let index = self.snapshot();
        // As it comes back from a blob: nothing, and an empty list, may look alike there.
        let plain = |config: &ImageConfig| serde_json::to_value(config).unwrap_or_default();
        let step = plain(step);
        let architecture = if architecture.is_empty() { machine_architecture() } else { architecture };
        let mut newest: Option<(Option<Timestamp>, String)> = None;
        for (id, record) in &index.images {
            if record.parent.as_deref() != parent {
                continue;
            }
            let config = self.config(id).await?;
            if config.architecture != architecture {
                continue;
            }
            // Without a parent, most images are not a build's: those have no step.
            if config.container_config.as_ref().map(plain).as_ref() != Some(&step) {
                continue;
            }
            let created = config.created.as_deref().and_then(|text| text.parse().ok());
            if newest.as_ref().is_none_or(|(best, _)| created > *best) {
                newest = Some((created, id.clone()));
            }
        }
        Ok(newest.map(|(_, id)| id))
    }
}

/// The configuration blob as dockerd's builder and commit write it.
fn blob(
    derived: &Derived,
    parent: Option<&ConfigFile>,
    layers: &[LayerInfo],
    empty: bool,
) -> Result<Vec<u8>> {
    let failed = |error| EngineError::system("Could not write an image configuration").because(error);
    let now = Timestamp::now().to_string();
    let mut history: Vec<Value> = Vec::new();
    for step in parent.and_then(|parent| parent.history.as_ref()).into_iter().flatten() {
        history.push(serde_json::to_value(step).map_err(failed)?);
    }
    let mut step = json!({ "created": now });
    for (key, value) in
        [("author", &derived.author), ("created_by", &derived.created_by), ("comment", &derived.comment)]
    {
        if !value.is_empty() {
            step[key] = json!(value);
        }
    }
    if empty {
        step["empty_layer"] = json!(true);
    }
    history.push(step);
    let architecture = match (&*derived.architecture, parent) {
        ("", Some(parent)) if !parent.architecture.is_empty() => &parent.architecture,
        ("", _) => machine_architecture(),
        (given, _) => given,
    };
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    debug_assert!(diff_ids.iter().all(|id| is_sha256(id)), "layers are named by digests");
    let mut object = json!({
        "architecture": architecture,
        "config": derived.config,
        "container_config": derived.step,
        "created": now,
        "docker_version": env!("CARGO_PKG_VERSION"),
        "history": history,
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    if let Some(container) = &derived.container {
        object["container"] = json!(container);
    }
    if !derived.author.is_empty() {
        object["author"] = json!(derived.author);
    }
    if !derived.comment.is_empty() {
        object["comment"] = json!(derived.comment);
    }
    let variant = match &*derived.architecture {
        "" => parent.and_then(|parent| parent.variant.clone()).unwrap_or_default(),
        _ => derived.variant.clone(),
    };
    if !variant.is_empty() {
        object["variant"] = json!(variant);
    }
    serde_json::to_vec(&object).map_err(failed)
}

impl Images {
    /// While the guard lives no layer is removed; call [`Images::sweep`] when it is gone.
    pub(crate) async fn hold_layers(&self) -> tokio::sync::RwLockReadGuard<'_, ()> {
        self.adding.read().await
    }
}
