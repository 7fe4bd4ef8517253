//! An image of layers that are there, in one go: what a build by BuildKit's rules ends in.

use super::{
    Images,
    config::{HistoryEntry, digest},
    record_of,
    shared_cache::{FIELD, SharedSteps},
};
use crate::{
    error::{EngineError, Result},
    platform::machine_architecture,
};
use bollard_stubs::models::ImageConfig;
use serde_json::json;

/// Everything that makes up the image.
#[derive(Clone, Debug, Default)]
pub struct Assembled {
    pub config: ImageConfig,
    /// Diff ids, lowest first.
    pub layers: Vec<String>,
    pub history: Vec<HistoryEntry>,
    /// As Go calls it; empty for this machine's.
    pub architecture: String,
    pub variant: Option<String>,
    pub author: String,
    /// Steps that others may take from it; none when it is no cache.
    pub(crate) steps: SharedSteps,
}

impl Images {
    /// Makes the image, unless it is here. The same parts make the same image.
    pub(crate) async fn assemble(&self, assembled: Assembled) -> Result<String> {
        let diff_ids = assembled.layers.clone();
        let blob = blob(assembled)?;
        let id = digest(&blob);
        if self.snapshot().images.contains_key(&id) {
            return Ok(id);
        }
        let mut layers = Vec::new();
        for diff_id in &diff_ids {
            let info = self.layers.layer(diff_id).await?;
            layers.push(info.ok_or_else(|| EngineError::system(format!("Layer {diff_id} is missing")))?);
        }
        self.store.put(blob).await?;
        self.change(|index| {
            index.ghosts.remove(&id);
            // Somebody else may have made it meanwhile.
            index.images.entry(id.clone()).or_insert_with(|| record_of(&layers, None));
            Ok(())
        })
        .await?;
        Ok(id)
    }
}

fn blob(assembled: Assembled) -> Result<Vec<u8>> {
    let history = dated(assembled.history);
    let created = history.last().and_then(|step| step.created.clone());
    let architecture = match assembled.architecture.as_str() {
        "" => machine_architecture(),
        given => given,
    };
    let mut object = json!({
        "architecture": architecture,
        "config": assembled.config,
        "created": created.unwrap_or_else(|| jiff::Timestamp::now().to_string()),
        "history": history,
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": assembled.layers },
    });
    if !assembled.author.is_empty() {
        object["author"] = json!(assembled.author);
    }
    if let Some(variant) = assembled.variant {
        object["variant"] = json!(variant);
    }
    if !assembled.steps.is_empty() {
        object[FIELD] = json!(assembled.steps);
    }
    serde_json::to_vec(&object)
        .map_err(|error| EngineError::system("Could not write an image configuration").because(error))
}

/// Steps without a layer happened when the layer before them did, and those before the first new layer when
/// that did: so equal builds are equal.
fn dated(mut history: Vec<HistoryEntry>) -> Vec<HistoryEntry> {
    let undated = history.iter().position(|step| step.created.is_none()).unwrap_or(history.len());
    let first_new = history[undated..].iter().find_map(|step| step.created.clone());
    let last_old = history[..undated].iter().rev().find_map(|step| step.created.clone());
    let mut current = first_new.or(last_old);
    let mut passed = false;
    for step in &mut history[undated..] {
        match &step.created {
            Some(created) if passed => current = Some(created.clone()),
            Some(_) => {}
            None => {
                passed = true;
                step.created.clone_from(&current);
            }
        }
    }
    history
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        events::Events,
        image::{Reference, build_steps::StepRecord},
        testing::memory_layers::MemoryLayers,
    };
    use std::sync::Arc;

    fn dates(given: &[&str]) -> Vec<String> {
        let step = |created: &&str| HistoryEntry {
            created: Some((*created).to_owned()).filter(|created| !created.is_empty()),
            ..HistoryEntry::default()
        };
        let history = dated(given.iter().map(step).collect());
        history.into_iter().map(|step| step.created.unwrap_or_default()).collect()
    }

    #[tokio::test]
    async fn what_is_here_already_waits_for_no_disk() {
        let folder = tempfile::tempdir().unwrap();
        let open = async || {
            let (layers, events) = (Arc::new(MemoryLayers::default()), Arc::new(Events::default()));
            Images::open(folder.path(), layers, events).await.unwrap()
        };
        let images = open().await;
        let on_disk = || std::fs::read(folder.path().join("images/index.json")).unwrap();
        let step = StepRecord { created: "2026-01-01T00:00:00Z".to_owned(), ..StepRecord::default() };
        images.keep_step("key".to_owned(), step.clone()).await.unwrap();
        let made = || Assembled {
            history: vec![HistoryEntry { created: Some(step.created.clone()), ..HistoryEntry::default() }],
            ..Assembled::default()
        };
        let (id, name) = (images.assemble(made()).await.unwrap(), "a:1".parse::<Reference>().unwrap());
        images.give(name.clone(), &id).await.unwrap();
        let before = on_disk();
        assert_eq!(images.assemble(made()).await.unwrap(), id);
        images.give(name, &id).await.unwrap();
        images.touch_steps(&["key".to_owned()].into()).await;
        assert_eq!(images.step("key").unwrap().uses, 1, "readers know");
        assert_eq!(on_disk(), before);
        images.settle().await.unwrap();
        assert_eq!(open().await.step("key").unwrap().uses, 1, "an engine that ends in peace remembers");
    }

    #[test]
    fn steps_without_a_layer_are_as_old_as_their_neighbours() {
        assert_eq!(dates(&["base", "", "one", "", "two", ""]), ["base", "one", "one", "one", "two", "two"]);
        assert_eq!(dates(&["base", "", ""]), ["base", "base", "base"]);
        assert_eq!(dates(&["", ""]), ["", ""]);
    }
}
