//! Images that are made only to be sent somewhere.

use crate::{
    error::Result,
    image::{Assembled, Images, Parents},
};
use std::sync::Arc;

/// An image that goes when the value does, whichever way a build ends; not one that was here before, nor one
/// that has got a tag.
#[derive(Debug)]
pub(super) struct Passing {
    images: Arc<Images>,
    id: Option<String>,
}

impl Passing {
    /// Makes the image, and says its id.
    pub(super) async fn assemble(images: &Arc<Images>, assembled: Assembled) -> Result<(String, Self)> {
        let before = images.ids();
        let id = images.assemble(assembled).await?;
        let new = Some(id.clone()).filter(|id| !before.contains(id));
        Ok((id, Self { images: Arc::clone(images), id: new }))
    }

    /// It is to stay.
    pub(super) fn stay(mut self) {
        self.id = None;
    }

    /// It goes now.
    pub(super) async fn go(mut self) {
        if let Some(id) = self.id.take() {
            forget(&self.images, &id).await;
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current()) {
            let images = Arc::clone(&self.images);
            drop(runtime.spawn(async move { forget(&images, &id).await }));
        }
    }
}

async fn forget(images: &Images, id: &str) {
    match images.get(id).await {
        // A push has noted what registries call it.
        Ok(image) if image.names.is_empty() => {
            if let Err(error) = images.remove(id, true, Parents::Go).await {
                tracing::warn!(%error, id, "An image that was only to be sent stays");
            }
        }
        _ => {}
    }
}
