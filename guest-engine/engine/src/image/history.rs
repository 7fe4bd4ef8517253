//! How an image came about.

use super::Images;
use crate::error::Result;

/// One step, as `docker history` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryItem {
    /// The image that the step ended in, `<missing>` where that is not here.
    pub id: String,
    /// RFC 3339; `None` when the image does not say.
    pub created: Option<String>,
    pub created_by: String,
    pub comment: String,
    /// Familiar names of that image.
    pub tags: Vec<String>,
    /// Bytes of the step's layer.
    pub size: u64,
}

impl Images {
    /// The steps of an image, newest first.
    pub async fn history(&self, name: &str) -> Result<Vec<HistoryItem>> {
        let image = self.get(name).await?;
        let index = self.snapshot();
        let sizes = index.images.get(&image.id).map(|record| record.layer_sizes.clone()).unwrap_or_default();
        let mut sizes = sizes.into_iter();
        let mut items: Vec<HistoryItem> = image
            .config
            .history
            .iter()
            .flatten()
            .map(|step| HistoryItem {
                id: "<missing>".to_owned(),
                created: step.created.clone(),
                created_by: step.created_by.clone().unwrap_or_default(),
                comment: step.comment.clone().unwrap_or_default(),
                tags: Vec::new(),
                size: if step.empty_layer { 0 } else { sizes.next().unwrap_or(0) },
            })
            .collect();
        items.reverse();
        // Each image a build left on the way stands at its step.
        let mut maker = Some(image.id);
        for item in &mut items {
            let Some(id) = maker else { break };
            item.tags = index.names_of(&id).iter().map(super::Reference::familiar).collect();
            maker = index.images.get(&id).and_then(|record| record.parent.clone());
            item.id = id;
        }
        Ok(items)
    }
}
