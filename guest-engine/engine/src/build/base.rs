//! Images that builds stand on: those that are here, and those that have to be pulled first.

use super::{front::Trouble, stage::Build};
use crate::{
    error::{EngineError, ErrorKind, Result},
    image::{Image, Progress, PullRequest, Reference, progress},
    platform::machine_architecture,
};
use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::OnceCell;

/// Hears how far a pull is.
pub(super) trait PullWatcher: Debug + Send {
    /// Something happened. Must not wait.
    fn tell(&mut self, progress: Progress);
    /// It has ended.
    fn ended(self: Box<Self>, error: Option<&EngineError>);
}

/// What a build has pulled, by name and platform.
#[derive(Debug, Default)]
pub(super) struct Pulls(Mutex<HashMap<(String, String), Pulled>>);

/// Of whoever comes first; the others wait.
type Pulled = Arc<OnceCell<Image>>;

impl Build<'_> {
    /// An image that a build names, pulled if it is not here or is to be fresh. `platform` may be empty.
    pub(super) async fn image(&self, image: &str, platform: &str) -> Result<Image> {
        let here = match self.builder.images.get(image).await {
            Ok(here) if !self.request.pull && fits(&here, platform) => return Ok(here),
            Ok(here) => Some(here),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // An id is no name: there is nothing to pull.
        if here.as_ref().is_some_and(|here| here.id.starts_with(image) || here.id[7..].starts_with(image)) {
            return here.filter(|here| fits(here, platform)).ok_or_else(|| {
                EngineError::not_found(format!("{image} is not for the platform {platform}"))
            });
        }
        let reference = image.parse::<Reference>()?.or_latest();
        let cell = {
            let mut pulls = self.pulls.0.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (reference.to_string(), platform.to_owned());
            Arc::clone(pulls.entry(key).or_default())
        };
        let pulled = cell.get_or_try_init(|| self.pulled(image, &reference, platform, here)).await?;
        Ok(pulled.clone())
    }

    async fn pulled(
        &self,
        image: &str,
        reference: &Reference,
        platform: &str,
        here: Option<Image>,
    ) -> Result<Image> {
        let (images, full) = (&self.builder.images, reference.to_string());
        let request = PullRequest {
            reference: reference.clone(),
            platform: (!platform.is_empty()).then(|| platform.parse()).transpose()?,
            credentials: self.front.credentials(self, reference.domain()).await?,
        };
        let mut watcher = self.front.pulling(&full);
        let (sender, mut lines) = progress();
        let work = async {
            let pulled = images.pull(&self.builder.registries, &request, &sender).await;
            drop(sender);
            pulled
        };
        let relay = async {
            while let Some(line) = lines.recv().await {
                watcher.tell(line);
            }
        };
        let pulled = tokio::select! {
            () = self.front.cancel().cancelled() => Err(Build::gone().error),
            (pulled, ()) = async { tokio::join!(work, relay) } => pulled,
        };
        watcher.ended(pulled.as_ref().err());
        if let Err(error) = pulled {
            return Err(match self.front.cancel().is_cancelled() {
                true => error,
                false => self.front.trouble(Trouble::NoImage { image, full: &full, error: &error }),
            });
        }
        let found = images.get(&full).await?;
        if let Some(here) = here.filter(|here| !fits(here, platform)) {
            // What the name means here is not for a build to change.
            images.give(reference.clone(), &here.id).await?;
        }
        if !fits(&found, platform) {
            return Err(EngineError::not_found(format!(
                "image with reference {image} was found but does not match the specified platform: wanted \
                 {platform}, actual: linux/{}",
                architecture(&found)
            )));
        }
        Ok(found)
    }
}

fn fits(image: &Image, platform: &str) -> bool {
    let mut wanted = platform.split('/');
    let (os, wanted) = (wanted.next().unwrap_or_default(), wanted.next().unwrap_or_default());
    (os.is_empty() || os == "linux") && (wanted.is_empty() || wanted == architecture(image))
}

fn architecture(image: &Image) -> &str {
    match image.config.architecture.as_str() {
        "" => machine_architecture(),
        architecture => architecture,
    }
}
