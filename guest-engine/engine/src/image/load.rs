//! `docker load`: from a stream of archive bytes to images.
//!
//! ```text
//!   client ─bytes▶ blocking thread: decompress, walk the tar ─┬ small files: kept in memory
//!                                                             └ layers: decompress ─bytes▶ LayerStore
//! ```
//! Layers go straight to the layer store as they come by, under the hash they turn out to have; what the
//! archive says about them is checked when its manifest is known. Neither an image nor a layer is ever
//! held in memory or spooled to disk. On failure the layers become orphans and are swept.

mod archive;
mod manifest;
pub(crate) mod pipe;

use super::{Images, record_of, store::Record, tag::put_name};
use crate::{
    error::{EngineError, Result},
    ports::LayerInfo,
};
use archive::Contents;
pub(crate) use archive::decompressed;
use bytes::Bytes;
use futures_util::Stream;
use manifest::Described;
use std::{fmt, io, sync::Arc};
use tokio::runtime::Handle;

/// One line of what a load did. Displays as dockerd words it, without the line's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadProgress {
    /// A name now means another image.
    Renamed { name: String, before: String },
    /// An image is there under this name.
    Named(String),
    /// An image is there without a name.
    Unnamed(String),
}

impl fmt::Display for LoadProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Renamed { name, before } => write!(
                f,
                "The image {name} already exists, renaming the old one with ID {before} to empty string"
            ),
            Self::Named(name) => write!(f, "Loaded image: {name}"),
            Self::Unnamed(id) => write!(f, "Loaded image ID: {id}"),
        }
    }
}

impl Images {
    /// Reads a docker-archive or an OCI layout, plain or compressed, and keeps all images in it or none.
    /// Goes on to a clean end when the caller goes away in the middle.
    pub async fn load(
        self: &Arc<Self>,
        archive: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    ) -> Result<Vec<LoadProgress>> {
        let images = Arc::clone(self);
        let (feed, reader) = pipe::feed(archive);
        let work = tokio::spawn(async move {
            let adding = images.adding.read().await;
            let result = images.load_layers(reader).await;
            let result = match result {
                Ok(found) => images.register(found).await,
                Err(error) => Err(error),
            };
            drop(adding);
            if let Err(error) = images.sweep().await {
                tracing::warn!(%error, "Layers of a failed load are still there");
            }
            result
        });
        let ended = pipe::fed(feed, work).await;
        ended.map_err(|e| EngineError::system("Loading ended early").because(e))?
    }

    async fn load_layers(self: &Arc<Self>, reader: pipe::Reader) -> Result<Vec<Described>> {
        let (images, handle) = (Arc::clone(self), Handle::current());
        tokio::task::spawn_blocking(move || {
            let contents = Contents::read(reader, |layer| images.add_layer(&handle, layer))?;
            manifest::describe(&contents, |diff_id| handle.block_on(images.layers.layer(diff_id)))
        })
        .await
        .map_err(|e| EngineError::system("Reading the archive ended early").because(e))?
    }

    /// Unpacks one layer and writes it down as nobody's. On a blocking thread.
    fn add_layer(&self, handle: &Handle, layer: &mut dyn io::Read) -> Result<LayerInfo> {
        let (writer, reader) = pipe::bytes();
        let layers = Arc::clone(&self.layers);
        let applying = handle.spawn(async move { layers.apply(None, Box::new(reader)).await });
        let copied = writer.copy(layer);
        let applied =
            handle.block_on(applying).map_err(|e| EngineError::system("Unpacking ended early").because(e))?;
        // A source that broke explains more than the layer store's view of it.
        copied.map_err(|e| EngineError::invalid("Could not read a layer").because(e))?;
        let layer = applied?;
        handle.block_on(self.change(|index| {
            if !index.needs_layer(&layer.diff_id) {
                index.orphans.insert(layer.diff_id.clone());
            }
            Ok(())
        }))?;
        Ok(layer)
    }

    async fn register(&self, found: Vec<Described>) -> Result<Vec<LoadProgress>> {
        let mut images = Vec::new();
        for image in found {
            let id = self.store.put(image.config).await?;
            images.push((id, image.layers, image.names));
        }
        let (said, announced) = self
            .change(|index| {
                let (mut said, mut announced) = (Vec::new(), Vec::new());
                for (id, layers, names) in &images {
                    for layer in layers {
                        index.orphans.remove(&layer.diff_id);
                    }
                    index.ghosts.remove(id);
                    let tagged_at = index.images.get(id).and_then(|record| record.tagged_at);
                    let parent = index.images.get(id).and_then(|record| record.parent.clone());
                    let manifest = index.images.get(id).and_then(|record| record.manifest.clone());
                    let record = Record { parent, manifest, ..record_of(layers, tagged_at) };
                    index.images.insert(id.clone(), record);
                    for name in names {
                        let familiar = name.familiar();
                        if let Some(before) = put_name(index, name.clone(), id) {
                            said.push(LoadProgress::Renamed { name: familiar.clone(), before });
                        }
                        said.push(LoadProgress::Named(familiar));
                    }
                    if names.is_empty() {
                        said.push(LoadProgress::Unnamed(id.clone()));
                    }
                    // Its names are not told one by one, as dockerd does not.
                    announced.push(id.clone());
                }
                Ok((said, announced))
            })
            .await?;
        for id in announced {
            self.announce("load", &id, &id).await;
        }
        Ok(said)
    }
}

#[cfg(test)]
mod tests;
