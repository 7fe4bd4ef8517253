//! `docker pull`: from a name to an image.
//!
//! The image appears with its last step, a change of the index; before that its layers are orphans. Dropping
//! the future cuts what it waits for, and what came so far is swept.

use super::{
    Images, Reference,
    config::ConfigFile,
    fetch::{State, Wanted},
    progress::{ProgressSender, short},
    record_of,
    store::{ManifestRecord, Record, Source},
    tag::put_name,
};
use crate::{
    ErrorKind,
    error::{EngineError, Result},
    platform::Platform,
    ports::LayerInfo,
    registry::{Credentials, Document, Failure, Fetched, Registries, Session, choose},
};
use futures_util::{TryStreamExt, stream};
use oci_spec::image::{Descriptor, ImageManifest};
use std::{collections::BTreeSet, sync::Arc};

/// Layers of one image at the same time, as dockerd.
const PARALLEL: usize = 3;
/// Bytes of a configuration.
const CONFIG_LIMIT: u64 = 8 << 20;
/// Indexes inside indexes.
const DEPTH: usize = 3;

/// What to pull.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// Without tag and digest: everything in the repository.
    pub reference: Reference,
    /// `None` for this machine's.
    pub platform: Option<Platform>,
    pub credentials: Credentials,
}

/// An image as a registry has it.
pub(super) struct Found {
    /// By which the name is known; of the index where there is one.
    digest: String,
    image: Fetched,
    pub(super) manifest: Box<ImageManifest>,
}

/// What came of one name.
struct Pulled {
    /// Whether it is new or means another image than before.
    changed: bool,
    platform: Platform,
}

impl Images {
    /// Pulls until everything asked for is here. Fails without a trace.
    pub async fn pull(
        self: &Arc<Self>,
        registries: &Registries,
        request: &PullRequest,
        progress: &ProgressSender,
    ) -> Result<()> {
        let mut last = None;
        for endpoint in registries.endpoints(request.reference.domain(), false).await? {
            let pulled = match registries.connect(&endpoint, &request.credentials).await {
                Ok(session) => self.pull_from(Arc::new(session), request, progress).await,
                Err(failure) if endpoint.leaves_open(&failure) => {
                    last = Some(failure.into());
                    continue;
                }
                Err(failure) => return Err(failure.into()),
            };
            match pulled {
                Err(error) if endpoint.is_mirror() => {
                    tracing::info!(%error, "The mirror does not have it");
                    last = Some(error);
                }
                other => return other,
            }
        }
        Err(last.unwrap_or_else(|| EngineError::system("no endpoint for the registry")))
    }

    async fn pull_from(
        self: &Arc<Self>,
        session: Arc<Session>,
        request: &PullRequest,
        progress: &ProgressSender,
    ) -> Result<()> {
        let reference = &request.reference;
        let wanted = if reference.tag().is_some() || reference.digest().is_some() {
            vec![reference.clone()]
        } else {
            let tags = session.tags(reference.path()).await.map_err(|failure| refused(failure, reference))?;
            tags.iter().map(|tag| reference.clone().with_tag(tag)).collect::<Result<_, _>>()?
        };
        let (mut changed, mut platform) = (false, None);
        for reference in &wanted {
            let pulled = self.pull_one(&session, reference, request, progress).await?;
            changed |= pulled.changed;
            platform = Some(pulled.platform);
        }
        let familiar = reference.familiar();
        let status = if changed { "Downloaded newer image" } else { "Image is up to date" };
        progress.message(None, format!("Status: {status} for {familiar}")).await;
        match (&request.platform, platform) {
            (Some(wanted), Some(actual)) if wanted.distance(&actual).is_none() => {
                Err(EngineError::not_found(format!(
                    "image with reference {familiar} was found but does not match the specified platform: \
                     wanted {wanted}, actual: {actual}"
                )))
            }
            _ => Ok(()),
        }
    }

    async fn pull_one(
        self: &Arc<Self>,
        session: &Arc<Session>,
        reference: &Reference,
        request: &PullRequest,
        progress: &ProgressSender,
    ) -> Result<Pulled> {
        let wanted = request.platform.clone().unwrap_or_else(Platform::of_machine);
        let found = find(session, reference, &wanted).await.map_err(|failure| refused(failure, reference))?;
        let shown = reference.digest().or(reference.tag()).unwrap_or_default();
        progress.message(Some(shown), format!("Pulling from {}", reference.path())).await;

        // Held until the image is in the index: what it needs must not be swept meanwhile.
        let sweeper = Sweeper(Some(self));
        let adding = self.adding.read().await;
        let config_of = found.manifest.config();
        let id = config_of.digest().to_string();
        let known = self.snapshot().images.contains_key(&id);
        let bytes = if known {
            self.store.read(&id).await?
        } else {
            session.small_blob(reference.path(), &id, config_of.size(), CONFIG_LIMIT).await?
        };
        let config = ConfigFile::parse(&bytes)?;
        check(&config, &found.manifest)?;
        let layers = match self.layers_here(&config).await? {
            Some(layers) if known => layers,
            _ => {
                self.expect(config.layers()).await?;
                self.pull_layers(session, reference, &config, &found.manifest, progress).await?
            }
        };
        self.store.put(bytes).await?;
        let changed = self.keep_pulled(reference, &id, &found, &layers).await?;
        drop(adding);
        sweeper.not_needed();

        progress.message(None, format!("Digest: {}", found.digest)).await;
        let familiar = reference.familiar();
        self.announce_as("pull", &id, &familiar, &reference.familiar_name()).await;
        let platform = Platform::of_image(&config.os, &config.architecture, config.variant.as_deref());
        Ok(Pulled { changed, platform })
    }

    /// What all layers are, lowest first; `None` when one is not here.
    async fn layers_here(&self, config: &ConfigFile) -> Result<Option<Vec<LayerInfo>>> {
        let mut layers = Vec::with_capacity(config.layers().len());
        for diff_id in config.layers() {
            match self.layers.layer(diff_id).await? {
                Some(layer) => layers.push(layer),
                None => return Ok(None),
            }
        }
        Ok(Some(layers))
    }

    /// Writes layers down as nobody's before they come.
    pub(super) async fn expect(&self, layers: &[String]) -> Result<()> {
        let missing: BTreeSet<String> = {
            let index = self.snapshot();
            layers.iter().filter(|layer| !index.needs_layer(layer)).cloned().collect()
        };
        if missing.is_empty() {
            return Ok(());
        }
        self.change(|index| {
            index.orphans.extend(missing);
            Ok(())
        })
        .await
    }

    /// Gets what is not here. Says what all layers are, lowest first.
    async fn pull_layers(
        self: &Arc<Self>,
        session: &Arc<Session>,
        reference: &Reference,
        config: &ConfigFile,
        manifest: &ImageManifest,
        progress: &ProgressSender,
    ) -> Result<Vec<LayerInfo>> {
        let mut missing = Vec::new();
        let mut seen = BTreeSet::new();
        for (diff_id, blob) in config.layers().iter().zip(manifest.layers()) {
            let digest = blob.digest().to_string();
            let here = self.layers.layer(diff_id).await?.is_some();
            progress.layer(&short(&digest), if here { "Already exists" } else { "Pulling fs layer" }).await;
            if !here && seen.insert(diff_id) {
                let name = reference.path().to_owned();
                missing.push(Wanted { diff_id: diff_id.clone(), digest, size: blob.size(), name });
            }
        }
        for wanted in missing.iter().skip(PARALLEL) {
            progress.layer(&short(&wanted.digest), "Waiting").await;
        }
        stream::iter(missing.into_iter().map(Ok))
            .try_for_each_concurrent(PARALLEL, |wanted| async move {
                self.pull_layer(session, &wanted, progress).await
            })
            .await?;
        self.layers_here(config)
            .await?
            .ok_or_else(|| EngineError::system("A layer that was just pulled is gone"))
    }

    async fn pull_layer(
        self: &Arc<Self>,
        session: &Arc<Session>,
        wanted: &Wanted,
        progress: &ProgressSender,
    ) -> Result<()> {
        loop {
            let (fetch, ours) = self.fetch(session, wanted);
            match follow(fetch.state.clone(), wanted, progress).await {
                // Another pull's credentials or registry may have been the reason.
                Err(error) if !ours => tracing::debug!(%error, "The layer is fetched again"),
                other => return other,
            }
        }
    }

    /// Says whether the name is new or means another image than before.
    async fn keep_pulled(
        &self,
        reference: &Reference,
        id: &str,
        found: &Found,
        layers: &[LayerInfo],
    ) -> Result<bool> {
        let manifest = ManifestRecord {
            digest: self.store.put(found.image.bytes.clone()).await?,
            media_type: found.image.media_type.clone(),
        };
        let by_digest = reference.clone().with_digest(&found.digest);
        let sources: Vec<(&LayerInfo, Source)> = layers
            .iter()
            .zip(found.manifest.layers())
            .map(|(layer, blob)| (layer, source(reference, blob)))
            .collect();
        let before = self.snapshot();
        let means_it = |name: &Reference| before.names.get(name).is_some_and(|known| known == id);
        let unchanged = means_it(&reference.clone().canonical()) && means_it(&by_digest);
        self.change(|index| {
            index.ghosts.remove(id);
            let before = index.images.get(id);
            let record = Record {
                parent: before.and_then(|record| record.parent.clone()),
                manifest: Some(manifest),
                ..record_of(layers, before.and_then(|record| record.tagged_at))
            };
            index.images.insert(id.to_owned(), record);
            for (layer, source) in sources {
                index.orphans.remove(&layer.diff_id);
                index.remember(&layer.diff_id, source);
            }
            index.names.insert(by_digest, id.to_owned());
            if reference.digest().is_none() && !unchanged {
                put_name(index, reference.clone(), id);
            }
            Ok(())
        })
        .await?;
        self.forget_manifest(&before, id).await?;
        Ok(!unchanged)
    }
}

/// Where a pull ends early, by an error or by being dropped, its layers are nobody's.
struct Sweeper<'a>(Option<&'a Arc<Images>>);

impl Sweeper<'_> {
    fn not_needed(mut self) {
        self.0 = None;
    }
}

impl Drop for Sweeper<'_> {
    fn drop(&mut self) {
        if let Some(images) = self.0.take().cloned() {
            // A runtime that ends leaves it to the next start.
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { images.sweep_quietly().await });
            }
        }
    }
}

fn source(reference: &Reference, blob: &Descriptor) -> Source {
    Source {
        repository: reference.repository(),
        digest: blob.digest().to_string(),
        size: blob.size(),
        media_type: blob.media_type().to_string(),
    }
}

/// Reads manifests until one is an image's.
pub(super) async fn find(
    session: &Session,
    reference: &Reference,
    wanted: &Platform,
) -> Result<Found, Failure> {
    let mut next = reference.digest().or(reference.tag()).unwrap_or("latest").to_owned();
    let mut digest = None;
    for _ in 0..DEPTH {
        let fetched = session.manifest(reference.path(), &next).await?;
        let digest = digest.get_or_insert_with(|| fetched.digest.clone()).clone();
        match fetched.document()? {
            Document::Image(manifest) => return Ok(Found { digest, image: fetched, manifest }),
            Document::Index(index) => next = choose(&index, wanted)?.digest().to_string(),
        }
    }
    Err(Failure::Content("manifest lists are nested too deeply".to_owned()))
}

fn check(config: &ConfigFile, manifest: &ImageManifest) -> Result<()> {
    if !config.os.is_empty() && config.os != "linux" {
        return Err(EngineError::invalid(format!(
            "image operating system \"{}\" cannot be used on this platform",
            config.os
        )));
    }
    if config.layers().len() != manifest.layers().len() {
        return Err(EngineError::system("layers from manifest don't match image configuration"));
    }
    Ok(())
}

/// A manifest that cannot be had, as dockerd explains it.
fn refused(failure: Failure, reference: &Reference) -> EngineError {
    let failure = failure.first();
    if failure.says("MANIFEST_UNKNOWN") {
        let name = reference.familiar();
        return EngineError::not_found(format!("manifest for {name} not found: {failure}"));
    }
    if failure.says("NAME_UNKNOWN")
        || (failure.is_about_access() && !matches!(failure, Failure::NoCredentials))
    {
        let name = reference.familiar_name();
        return EngineError::not_found(format!(
            "pull access denied for {name}, repository does not exist or may require 'docker login': {failure}"
        ));
    }
    failure.into()
}

/// Shows what happens to a layer until it is here.
pub(super) async fn follow(
    mut state: tokio::sync::watch::Receiver<State>,
    wanted: &Wanted,
    progress: &ProgressSender,
) -> Result<()> {
    let id = short(&wanted.digest);
    let mut downloaded = false;
    loop {
        let now = state.borrow_and_update().clone();
        if matches!(now, State::Extracting | State::Done) && !downloaded {
            downloaded = true;
            progress.layer(&id, "Verifying Checksum").await;
            progress.layer(&id, "Download complete").await;
        }
        match now {
            State::Waiting => {}
            State::Downloading(done) => progress.amount(&id, "Downloading", done, wanted.size),
            State::Retrying(delay) => {
                let seconds = delay.as_secs().max(1);
                let plural = if seconds == 1 { "" } else { "s" };
                progress.layer(&id, format!("Retrying in {seconds} second{plural}")).await;
            }
            State::Extracting => progress.amount(&id, "Extracting", wanted.size, wanted.size),
            State::Done => {
                progress.layer(&id, "Pull complete").await;
                return Ok(());
            }
            State::Failed(kind, message) => return Err(EngineError::new(kind, message)),
        }
        if state.changed().await.is_err() {
            return Err(EngineError::new(ErrorKind::System, format!("fetching layer {id} ended early")));
        }
    }
}
