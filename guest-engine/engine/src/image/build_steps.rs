//! What BuildKit's clients call the build cache: the layer of every step, under a key of all that led to it.
//! It stands in the index of images, because its layers are theirs.

use super::{Images, store::Index};
use crate::error::Result;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One step of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepRecord {
    /// Diff id; `None` when the step changed nothing.
    pub layer: Option<String>,
    /// Bytes of its files.
    pub size: u64,
    /// RFC 3339.
    pub created: String,
    /// Seconds since the epoch.
    pub used_at: i64,
    pub uses: u64,
    /// As `docker buildx du --verbose` shows it.
    pub description: String,
    /// The step below.
    pub parent: Option<String>,
}

/// A step as others see it.
#[derive(Clone, Debug)]
pub struct CachedStep {
    pub key: String,
    pub record: StepRecord,
    /// An image has its layer too.
    pub shared: bool,
}

impl Images {
    /// The step that was made under this key.
    pub fn step(&self, key: &str) -> Option<StepRecord> {
        self.snapshot().steps.get(key).cloned()
    }

    /// Every step.
    pub fn steps(&self) -> Vec<CachedStep> {
        let index = self.snapshot();
        let imaged = imaged(&index);
        index
            .steps
            .iter()
            .map(|(key, record)| CachedStep {
                key: key.clone(),
                record: record.clone(),
                shared: record.layer.as_ref().is_some_and(|layer| imaged.contains(layer)),
            })
            .collect()
    }

    /// Keeps a step. Its layer is there, and held.
    pub(crate) async fn keep_step(&self, key: String, record: StepRecord) -> Result<()> {
        self.change(|index| {
            if let Some(layer) = &record.layer {
                index.orphans.remove(layer);
            }
            index.steps.insert(key, record);
            Ok(())
        })
        .await
    }

    /// Notes that steps were used.
    pub(crate) async fn touch_steps(&self, keys: &BTreeSet<String>) {
        let now = Timestamp::now().as_second();
        self.note(|index| {
            for key in keys {
                if let Some(step) = index.steps.get_mut(key) {
                    step.used_at = now;
                    step.uses += 1;
                }
            }
        })
        .await;
    }

    /// Forgets steps, and removes layers that nobody else needs. Says how many bytes that freed.
    pub async fn forget_steps(&self, keys: &BTreeSet<String>) -> Result<u64> {
        if keys.is_empty() {
            return Ok(0);
        }
        let freed = self
            .change(|index| {
                let mut gone = BTreeMap::new();
                for key in keys {
                    if let Some(step) = index.steps.remove(key)
                        && let Some(layer) = step.layer
                    {
                        gone.insert(layer, step.size);
                    }
                }
                gone.retain(|layer, _| !index.needs_layer(layer));
                index.orphans.extend(gone.keys().cloned());
                Ok(gone.values().sum())
            })
            .await?;
        self.sweep().await?;
        Ok(freed)
    }
}

/// Layers of images.
fn imaged(index: &Index) -> BTreeSet<&String> {
    index.images.values().flat_map(|record| &record.layers).collect()
}
