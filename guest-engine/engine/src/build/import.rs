//! `docker import`: an image of one layer from a tar of files.

use super::{
    Builder,
    commit::{changed, target},
};
use crate::{
    error::{EngineError, Result},
    image::{
        Derived,
        load::{decompressed, pipe},
    },
    platform::Platform,
};
use bollard_stubs::models::ImageConfig;
use bytes::Bytes;
use futures_util::{Stream, stream::BoxStream};
use std::{io, sync::Arc};

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct ImportRequest {
    /// The archive's URL, when it is not the client that sends it.
    pub source: String,
    /// Empty for an image without a name.
    pub repository: String,
    pub tag: String,
    pub message: String,
    /// Lines of a Dockerfile.
    pub changes: Vec<String>,
    /// `os/arch[/variant]`; empty for this machine's.
    pub platform: String,
}

impl Builder {
    /// Begins to download an archive that is to be imported.
    pub async fn archive_at(&self, url: &str) -> Result<BoxStream<'static, io::Result<Bytes>>> {
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        match url.parse::<reqwest::Url>() {
            Ok(url) if matches!(url.scheme(), "http" | "https") => {
                Ok(self.fetcher.download(&url).await?.stream())
            }
            _ => Err(EngineError::invalid(format!("invalid URL {url:?}: only http and https are spoken"))),
        }
    }

    /// Makes the image from an archive, plain or compressed, and says its id.
    pub async fn import(
        &self,
        request: ImportRequest,
        archive: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    ) -> Result<String> {
        let name = target(&request.repository, &request.tag)?;
        let mut config = ImageConfig::default();
        changed(&mut config, &request.changes)?;
        let platform = match request.platform.as_str() {
            "" => Platform { os: "linux".to_owned(), ..Platform::default() },
            text => text.parse()?,
        };
        if platform.os != "linux" {
            return Err(EngineError::invalid(format!("unsupported platform {}", request.platform)));
        }
        let message = match (request.message.as_str(), request.source.as_str()) {
            ("", "") => "Imported from -".to_owned(),
            ("", url) => format!("Imported from {url}"),
            (message, _) => message.to_owned(),
        };
        let derived = Derived {
            config: config.clone(),
            step: config,
            comment: message,
            architecture: platform.architecture,
            variant: platform.variant,
            ..Derived::default()
        };
        let layers = Arc::clone(&self.layers);
        let layer = async move {
            let (feed, reader) = pipe::feed(archive);
            let (writer, unpacked) = pipe::bytes();
            let applying = layers.apply(None, Box::new(unpacked));
            let copying = tokio::task::spawn_blocking(move || -> Result<()> {
                let mut source = decompressed(reader)?;
                writer
                    .copy(&mut source)
                    .map_err(|e| EngineError::invalid("Could not read the archive").because(e))
            });
            let (applied, copied) = pipe::fed(feed, async { tokio::join!(applying, copying) }).await;
            copied.map_err(|e| EngineError::system("Reading the archive ended early").because(e))??;
            applied.map(Some)
        };
        let id = self.images.derive(derived, layer).await?;
        if let Some(name) = name {
            self.images.give(name, &id).await?;
        }
        self.images.announce_made("import", &id).await;
        Ok(id)
    }
}
