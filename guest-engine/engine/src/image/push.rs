//! `docker push`: layers in parallel, each only if the repository lacks it, then the configuration, then
//! the manifest that makes them an image.

use super::{
    Image, Images, Reference,
    config::named,
    gzip,
    progress::{Progress, ProgressSender, short},
    store::{ManifestRecord, Source},
};
use crate::{
    ErrorKind,
    error::{EngineError, Result},
    registry::{Credentials, Failure, Registries, Session, Upload, media_types},
};
use bytes::{Buf, Bytes};
use futures_util::{StreamExt, TryStreamExt, future, stream};
use oci_spec::image::ImageManifest;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Layers at the same time, as dockerd.
const PARALLEL: usize = 5;
/// A blob that cannot be sent again from the middle is begun again so often.
const ATTEMPTS: u32 = 4;
/// Bytes between two reports.
const REPORT: u64 = 512 * 1024;

/// What to push.
#[derive(Clone, Debug)]
pub struct PushRequest {
    /// Without a tag: all of the repository's.
    pub reference: Reference,
    pub credentials: Credentials,
}

/// A layer as the repository has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Blob {
    digest: String,
    size: u64,
    media_type: String,
}

impl Images {
    /// Pushes one tag or all of a repository.
    pub async fn push(
        &self,
        registries: &Registries,
        request: &PushRequest,
        progress: &ProgressSender,
    ) -> Result<()> {
        let repository = request.reference.repository();
        progress.message(None, format!("The push refers to repository [{repository}]")).await;
        let tags = self.tags_to_push(&request.reference)?;
        let mut last = None;
        for endpoint in registries.endpoints(request.reference.domain(), true).await? {
            match registries.connect(&endpoint, &request.credentials).await {
                Ok(session) => {
                    let mut pushed = BTreeMap::new();
                    for tag in &tags {
                        self.push_tag(&session, tag, &mut pushed, progress).await?;
                    }
                    return Ok(());
                }
                Err(failure) if endpoint.leaves_open(&failure) => last = Some(failure.into()),
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(last.unwrap_or_else(|| EngineError::system("no endpoint for the registry")))
    }

    /// Pushes an image under a name that it does not have here.
    pub(crate) async fn push_as(
        &self,
        registries: &Registries,
        id: &str,
        request: &PushRequest,
        progress: &ProgressSender,
    ) -> Result<()> {
        let image = self.get(id).await?;
        let mut last = None;
        for endpoint in registries.endpoints(request.reference.domain(), true).await? {
            match registries.connect(&endpoint, &request.credentials).await {
                Ok(session) => {
                    let mut pushed = BTreeMap::new();
                    return self
                        .push_image(&session, &image, &request.reference, &mut pushed, progress)
                        .await;
                }
                Err(failure) => last = Some(failure.into()),
            }
        }
        Err(last.unwrap_or_else(|| EngineError::system("no endpoint for the registry")))
    }

    fn tags_to_push(&self, reference: &Reference) -> Result<Vec<Reference>> {
        if reference.digest().is_some() {
            return Err(EngineError::invalid("cannot push a digest reference"));
        }
        let index = self.snapshot();
        let repository = reference.repository();
        let tags: Vec<Reference> = index
            .names
            .keys()
            .filter(|name| name.digest().is_none() && name.repository() == repository)
            .cloned()
            .collect();
        if tags.is_empty() {
            let name = reference.familiar_name();
            return Err(EngineError::not_found(format!(
                "An image does not exist locally with the tag: {name}"
            )));
        }
        match reference.tag() {
            None => Ok(tags),
            Some(_) if tags.contains(reference) => Ok(vec![reference.clone()]),
            Some(_) => Err(EngineError::not_found(format!("tag does not exist: {}", reference.familiar()))),
        }
    }

    async fn push_tag(
        &self,
        session: &Session,
        reference: &Reference,
        pushed: &mut BTreeMap<String, Blob>,
        progress: &ProgressSender,
    ) -> Result<()> {
        let image = self.get(&reference.to_string()).await?;
        self.push_image(session, &image, reference, pushed, progress).await
    }

    async fn push_image(
        &self,
        session: &Session,
        image: &Image,
        reference: &Reference,
        pushed: &mut BTreeMap<String, Blob>,
        progress: &ProgressSender,
    ) -> Result<()> {
        // What is being sent must stay.
        let _holding = self.adding.read().await;
        for layer in image.layers.iter().rev() {
            progress.layer(&short(layer), "Preparing").await;
        }
        for layer in image.layers.iter().rev().skip(PARALLEL) {
            progress.layer(&short(layer), "Waiting").await;
        }
        // A layer may occur twice; it is sent once.
        let mut distinct: Vec<String> = Vec::new();
        for layer in image.layers.iter().rev() {
            if pushed.contains_key(layer) {
                progress.layer(&short(layer), "Layer already exists").await;
            } else if !distinct.contains(layer) {
                distinct.push(layer.clone());
            }
        }
        let sent: Vec<(String, Blob)> = stream::iter(distinct)
            .map(|layer| async move {
                let blob = self.push_layer(session, reference, &layer, progress).await?;
                Ok::<_, EngineError>((layer, blob))
            })
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await?;
        pushed.extend(sent);
        let layers: Vec<Blob> = image.layers.iter().filter_map(|layer| pushed.get(layer).cloned()).collect();
        let config = self.store.read(&image.id).await?;
        let path = reference.path();
        if !session.has_blob(path, &image.id).await? {
            session.put_blob(path, &image.id, &config).await?;
        }
        let (bytes, media_type) = self.manifest_for(image, config.len(), &layers).await?;
        let tag = reference.tag().unwrap_or_default();
        session.put_manifest(path, tag, &media_type, &bytes).await?;

        let size = bytes.len() as u64;
        let digest = self.keep_pushed(image, reference, &layers, bytes, media_type).await?;
        progress.message(None, format!("{tag}: digest: {digest} size: {size}")).await;
        progress.send(Progress::Pushed { tag: tag.to_owned(), digest, size }).await;
        let familiar = reference.familiar();
        self.announce_as("push", &image.id, &familiar, &reference.familiar_name()).await;
        Ok(())
    }

    /// Makes the repository have a layer, in the cheapest way.
    async fn push_layer(
        &self,
        session: &Session,
        reference: &Reference,
        layer: &String,
        progress: &ProgressSender,
    ) -> Result<Blob> {
        let (id, path) = (short(layer), reference.path());
        let sources = self.snapshot().sources.get(layer).cloned().unwrap_or_default();
        let here = reference.repository();
        let domain = format!("{}/", reference.domain());
        for source in &sources {
            if source.repository == here && session.has_blob(path, &source.digest).await? {
                progress.layer(&id, "Layer already exists").await;
                return Ok(source.into());
            }
        }
        for source in sources.iter().filter(|source| source.repository != here) {
            let Some(from) = source.repository.strip_prefix(&domain) else { continue };
            if session.mount(path, &source.digest, from).await? {
                progress.layer(&id, format!("Mounted from {from}")).await;
                return Ok(source.into());
            }
        }
        for source in sources.iter().filter(|source| source.repository != here) {
            if session.has_blob(path, &source.digest).await? {
                progress.layer(&id, "Layer already exists").await;
                return Ok(source.into());
            }
        }
        let (mut attempt, mut unfinished) = (1, None);
        loop {
            match self.upload(session, path, layer, &mut unfinished, progress).await {
                Ok(blob) => {
                    progress.layer(&id, "Pushed").await;
                    return Ok(blob);
                }
                Err(failure) if attempt < ATTEMPTS && failure.may_pass() => {
                    let delay = failure.retry_after().unwrap_or(Duration::from_secs(1 << attempt));
                    tracing::debug!(%failure, ?delay, layer, "The layer is sent again");
                    progress.layer(&id, format!("Retrying in {} seconds", delay.as_secs().max(1))).await;
                    tokio::time::sleep(delay).await;
                    attempt += 1;
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// Compresses and sends a layer: what the registry does not have already of an upload that broke off. It
    /// is the same bytes each time.
    async fn upload(
        &self,
        session: &Session,
        path: &str,
        layer: &str,
        unfinished: &mut Option<Upload>,
        progress: &ProgressSender,
    ) -> Result<Blob, Failure> {
        let resumed = match unfinished.take() {
            Some(unfinished) => session.resume(&unfinished).await?,
            None => None,
        };
        let (mut upload, mut there) = match resumed {
            Some(resumed) => resumed,
            None => (session.begin(path).await?, 0),
        };
        let began = upload.clone();
        let tar = self.layers.layer_tar(layer).await?;
        let (id, all, progress) = (short(layer), tar.size, progress.clone());
        let (mut done, mut reported) = (0, 0);
        let counted = tar.bytes.inspect_ok(move |piece| {
            done += piece.len() as u64;
            if done - reported >= REPORT || done == all {
                reported = done;
                progress.amount(&id, "Pushing", done, all);
            }
        });
        let sum = Arc::new(Mutex::new((Sha256::new(), 0_u64)));
        let summing = Arc::clone(&sum);
        // What is wrong with the layer itself is lost on its way through the HTTP client.
        let broken = Arc::new(Mutex::new(None));
        let breaking = Arc::clone(&broken);
        let body = gzip::compressed(counted).inspect(move |piece| match piece {
            Ok(piece) => {
                let mut sum = summing.lock().unwrap_or_else(PoisonError::into_inner);
                sum.0.update(piece);
                sum.1 += piece.len() as u64;
            }
            Err(error) => {
                *breaking.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            }
        });
        let body = body
            .map_ok(move |mut piece| {
                let skipped = there.min(piece.len() as u64);
                there -= skipped;
                piece.advance(usize::try_from(skipped).unwrap_or(piece.len()));
                piece
            })
            .try_filter(|piece| future::ready(!piece.is_empty()));
        let sent = session.send_stream(&mut upload, body).await;
        if sent.is_err() {
            *unfinished = Some(began);
        }
        if let Some(why) = broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(Failure::Content(why));
        }
        sent?;
        let (digest, size) = {
            let sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
            (named(sum.0.clone().finalize().as_ref()), sum.1)
        };
        session.finish(&upload, &digest).await?;
        Ok(Blob { digest, size, media_type: media_types::DOCKER_LAYER.to_owned() })
    }

    /// The manifest the image came with, if the repository has exactly its blobs; otherwise a new one.
    async fn manifest_for(
        &self,
        image: &Image,
        config_size: usize,
        layers: &[Blob],
    ) -> Result<(Vec<u8>, String)> {
        let kept = self.snapshot().images.get(&image.id).and_then(|record| record.manifest.clone());
        // One that cannot be read any more is made anew.
        if let Some(kept) = kept
            && let Ok(bytes) = self.store.read(&kept.digest).await
        {
            let same = serde_json::from_slice::<ImageManifest>(&bytes).is_ok_and(|manifest| {
                let blobs = manifest.layers().iter().map(|blob| Blob {
                    digest: blob.digest().to_string(),
                    size: blob.size(),
                    media_type: blob.media_type().to_string(),
                });
                manifest.config().digest().to_string() == image.id && blobs.eq(layers.iter().cloned())
            });
            if same {
                return Ok((bytes, kept.media_type));
            }
        }
        Ok(new_manifest(&image.id, config_size, layers))
    }

    async fn keep_pushed(
        &self,
        image: &Image,
        reference: &Reference,
        layers: &[Blob],
        bytes: Vec<u8>,
        media_type: String,
    ) -> Result<String> {
        let digest = self.store.put(bytes).await?;
        let by_digest = reference.clone().with_digest(&digest);
        let before = self.snapshot();
        self.change(|index| {
            let Some(record) = index.images.get_mut(&image.id) else {
                return Err(EngineError::new(ErrorKind::NotFound, format!("No such image: {}", image.id)));
            };
            record.manifest = Some(ManifestRecord { digest: digest.clone(), media_type });
            index.names.insert(by_digest, image.id.clone());
            for (layer, blob) in image.layers.iter().zip(layers) {
                let Blob { digest, size, media_type } = blob.clone();
                index
                    .remember(layer, Source { repository: reference.repository(), digest, size, media_type });
            }
            Ok(())
        })
        .await?;
        self.forget_manifest(&before, &image.id).await?;
        Ok(digest)
    }
}

impl From<&Source> for Blob {
    fn from(source: &Source) -> Self {
        let Source { digest, size, media_type, .. } = source.clone();
        Self { digest, size, media_type }
    }
}

/// Docker's form, unless a layer has one that only OCI has a name for.
fn new_manifest(id: &str, config_size: usize, layers: &[Blob]) -> (Vec<u8>, String) {
    let is_gzip = |blob: &Blob| blob.media_type.ends_with(".gzip") || blob.media_type.ends_with("+gzip");
    let docker = layers.iter().all(is_gzip);
    let (manifest, config) = if docker {
        (media_types::DOCKER_MANIFEST, media_types::DOCKER_CONFIG)
    } else {
        (media_types::OCI_MANIFEST, media_types::OCI_CONFIG)
    };
    let kind = |blob: &Blob| match (docker, is_gzip(blob)) {
        (true, _) => media_types::DOCKER_LAYER,
        (false, true) => "application/vnd.oci.image.layer.v1.tar+gzip",
        (false, false) if blob.media_type.ends_with("zstd") => "application/vnd.oci.image.layer.v1.tar+zstd",
        (false, false) => "application/vnd.oci.image.layer.v1.tar",
    };
    let layers: Vec<_> = layers
        .iter()
        .map(|blob| json!({ "mediaType": kind(blob), "size": blob.size, "digest": blob.digest }))
        .collect();
    let text = json!({
        "schemaVersion": 2,
        "mediaType": manifest,
        "config": { "mediaType": config, "size": config_size, "digest": id },
        "layers": layers,
    });
    (Bytes::from(format!("{text:#}")).to_vec(), manifest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_dockers_where_they_can_be() {
        let blob = |media_type: &str| Blob {
            digest: format!("sha256:{}", "a".repeat(64)),
            size: 1,
            media_type: media_type.to_owned(),
        };
        let gzip = [blob("application/vnd.oci.image.layer.v1.tar+gzip"), blob(media_types::DOCKER_LAYER)];
        let (bytes, media_type) = new_manifest("sha256:x", 3, &gzip);
        assert_eq!(media_type, media_types::DOCKER_MANIFEST);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["layers"][0]["mediaType"], media_types::DOCKER_LAYER);
        let zstd = [blob(media_types::DOCKER_LAYER), blob("application/vnd.oci.image.layer.v1.tar+zstd")];
        let (bytes, media_type) = new_manifest("sha256:x", 3, &zstd);
        assert_eq!(media_type, media_types::OCI_MANIFEST);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    }
}
