//! `docker build --cache-from` of the classic builder: steps are found in the histories of images that were built
//! elsewhere, whose steps are no images here.

use super::{Assembled, Image, Images, config::HistoryEntry};
use crate::error::Result;
use bollard_stubs::models::ImageConfig;
use std::sync::Arc;

/// Images that may have steps.
#[derive(Debug)]
pub(crate) struct CacheSources(Vec<Image>);

/// A step that is looked for.
pub(crate) struct Wanted<'a> {
    /// The image below it; `None` on nothing.
    pub(crate) parent: Option<&'a str>,
    /// The configuration with the step's own command, and the one that it leaves.
    pub(crate) noted: &'a ImageConfig,
    pub(crate) config: &'a ImageConfig,
    pub(crate) architecture: &'a str,
}

impl Images {
    /// Those that are here; the others cannot help.
    pub(crate) async fn cache_sources(&self, names: &[String]) -> CacheSources {
        let mut sources = Vec::new();
        for name in names {
            match self.get(name).await {
                Ok(image) => sources.push(image),
                Err(error) => tracing::info!(%error, name, "An image to take steps from is not here"),
            }
        }
        CacheSources(sources)
    }

    /// The image of a step, if a source has it: the source itself for its last step, otherwise one that is made of
    /// the source's layers so far.
    pub(crate) async fn find_in(
        self: &Arc<Self>,
        sources: &mut CacheSources,
        wanted: &Wanted<'_>,
    ) -> Result<Option<String>> {
        let here = self.find_step(wanted.parent, wanted.noted, wanted.architecture).await?;
        if let Some(id) = here
            && sources.0.iter().any(|source| self.stands_on(source, &id))
        {
            return Ok(Some(id));
        }
        let parent = match wanted.parent {
            Some(parent) => Some(self.get(parent).await?),
            None => None,
        };
        let below = parent.as_ref().map(history).unwrap_or_default();
        let created_by = wanted.noted.cmd.as_deref().unwrap_or_default().join(" ");
        let has_it = |source: &&Image| {
            is_below(parent.as_ref(), source)
                && history(source)
                    .get(below.len())
                    .is_some_and(|step| step.created_by.as_deref().unwrap_or_default() == created_by)
        };
        let Some(source) = sources.0.iter().find(has_it).cloned() else { return Ok(None) };
        let steps = history(&source)[..=below.len()].to_vec();
        if steps.len() == history(&source).len() {
            self.set_parent(&source.id, wanted.parent).await?;
            return Ok(Some(source.id));
        }
        let layers = steps.iter().filter(|step| !step.empty_layer).count();
        let made = Assembled {
            config: wanted.config.clone(),
            layers: source.layers.iter().take(layers).cloned().collect(),
            history: steps,
            architecture: source.config.architecture.clone(),
            variant: source.config.variant.clone(),
            author: source.config.author.clone().unwrap_or_default(),
            ..Assembled::default()
        };
        let id = self.assemble(made).await?;
        self.set_parent(&id, wanted.parent).await?;
        // From one into another one would come to an image that nobody has built.
        sources.0 = vec![source];
        Ok(Some(id))
    }

    fn stands_on(&self, image: &Image, id: &str) -> bool {
        let index = self.snapshot();
        let mut at = Some(image.id.as_str());
        // Parents lead to older images only.
        while let Some(current) = at {
            if current == id {
                return true;
            }
            at = index.images.get(current).and_then(|record| record.parent.as_deref());
        }
        false
    }

    async fn set_parent(&self, id: &str, parent: Option<&str>) -> Result<()> {
        let known = self.snapshot().images.get(id).and_then(|record| record.parent.clone());
        if parent.is_none() || known.as_deref() == parent || parent == Some(id) {
            return Ok(());
        }
        self.change(|index| {
            if let Some(record) = index.images.get_mut(id) {
                record.parent = parent.map(str::to_owned);
            }
            Ok(())
        })
        .await
    }
}

fn history(image: &Image) -> &[HistoryEntry] {
    image.config.history.as_deref().unwrap_or_default()
}

/// Whether everything of the one is the beginning of the other.
fn is_below(parent: Option<&Image>, source: &Image) -> bool {
    parent.is_none_or(|parent| {
        history(source).starts_with(history(parent)) && source.layers.starts_with(&parent.layers)
    })
}
