//! `docker save`: images as one tar, an OCI layout that older clients read by its `manifest.json`.
//!
//! Only the small files are made up front; layers are written as they are asked for.

use super::{Image, Images, Reference, config::digest};
use crate::{
    ErrorKind,
    error::{EngineError, Result},
    registry::media_types,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, io, sync::Arc};
use tokio::sync::mpsc;

const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
/// Pieces that wait for a slow client.
const QUEUE: usize = 4;
/// Content of no image is newer than the beginning of time.
const TIME: u64 = 0;

/// What an archive holds besides layers.
#[derive(Default)]
struct Plan {
    /// By path.
    files: BTreeMap<String, Vec<u8>>,
    /// Diff ids, each once, with their sizes.
    layers: Vec<(String, u64)>,
}

impl Images {
    /// The archive of these images. A name without a tag means all tags of the repository. Fails before the
    /// first byte when one of them is not here.
    pub async fn save(
        self: &Arc<Self>,
        names: &[String],
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>> {
        if names.is_empty() {
            return Err(EngineError::invalid("no images to save"));
        }
        // In the order they are asked for, each once, with the names they are asked for by.
        let mut wanted: Vec<(Image, Vec<Reference>)> = Vec::new();
        for name in names {
            for (image, given) in self.named_images(name).await? {
                match wanted.iter_mut().find(|(known, _)| known.id == image.id) {
                    Some((_, known)) => known.extend(given),
                    None => wanted.push((image, given)),
                }
            }
        }
        self.save_as(wanted).await
    }

    /// The same under names that they need not have here.
    pub(crate) async fn save_as(
        self: &Arc<Self>,
        wanted: Vec<(Image, Vec<Reference>)>,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>> {
        let holding = Arc::clone(self);
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(QUEUE);
        let (ready, planned) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            // Nothing is swept while it is being written.
            let _adding = holding.adding.read().await;
            let plan = match holding.plan(wanted).await {
                Ok(plan) => plan,
                Err(error) => return drop(ready.send(Err(error))),
            };
            drop(ready.send(Ok(())));
            if let Err(error) = holding.write(plan, &sender).await {
                // The client sees a broken archive, not a short one.
                drop(sender.send(Err(error)).await);
            }
        });
        planned.await.map_err(|_| EngineError::system("Saving ended early"))??;
        Ok(futures_util::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|piece| (piece, receiver))
        }))
    }

    async fn plan(&self, wanted: Vec<(Image, Vec<Reference>)>) -> Result<Plan> {
        let mut plan = Plan::default();
        let (mut manifest, mut index) = (Vec::new(), Vec::new());
        let mut repositories: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        for (image, mut given) in wanted {
            given.sort();
            given.dedup();
            let (entry, descriptors) = self.plan_image(&image, &given, &mut plan).await?;
            manifest.push(entry);
            index.extend(descriptors);
            for name in &given {
                let top = image.layers.last().and_then(|layer| layer.strip_prefix("sha256:"));
                let tags = repositories.entry(name.familiar_name()).or_default();
                tags.insert(name.tag().unwrap_or_default().to_owned(), json!(top.unwrap_or_default()));
            }
            self.announce("save", &image.id, &image.id).await;
        }
        plan.add("manifest.json", &json!(manifest))?;
        plan.add(
            "index.json",
            &json!({ "schemaVersion": 2, "mediaType": media_types::OCI_INDEX, "manifests": index }),
        )?;
        plan.add("oci-layout", &json!({ "imageLayoutVersion": "1.0.0" }))?;
        if !repositories.is_empty() {
            plan.add("repositories", &json!(repositories))?;
        }
        Ok(plan)
    }

    /// What a name stands for: an image and the tags to save it with.
    async fn named_images(&self, name: &str) -> Result<Vec<(Image, Vec<Reference>)>> {
        let parsed = name.parse::<Reference>().ok();
        if let Some(reference) = parsed.filter(|name| name.digest().is_none()) {
            let index = self.snapshot();
            if index.names.contains_key(&reference) {
                return Ok(vec![(self.get(name).await?, vec![reference])]);
            }
            if reference.tag().is_none() {
                let repository = reference.repository();
                let all = index
                    .names
                    .keys()
                    .filter(|name| name.digest().is_none() && name.repository() == repository);
                let mut found = Vec::new();
                for name in all {
                    found.push((self.get(&name.to_string()).await?, vec![name.clone()]));
                }
                if !found.is_empty() {
                    return Ok(found);
                }
            }
        }
        match self.get(name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(EngineError::not_found(format!("No such image: {name}")))
            }
            found => Ok(vec![(found?, Vec::new())]),
        }
    }

    async fn plan_image(
        &self,
        image: &Image,
        names: &[Reference],
        plan: &mut Plan,
    ) -> Result<(Value, Vec<Value>)> {
        let config = self.store.read(&image.id).await?;
        let config_size = config.len();
        let mut layers = Vec::new();
        let mut sources = Map::new();
        for layer in &image.layers {
            let size = self.layers.layer_tar(layer).await?.size;
            if !plan.layers.iter().any(|(known, _)| known == layer) {
                plan.layers.push((layer.clone(), size));
            }
            let descriptor = json!({ "mediaType": LAYER_TYPE, "digest": layer, "size": size });
            sources.insert(layer.clone(), descriptor.clone());
            layers.push(descriptor);
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_types::OCI_MANIFEST,
            "config": { "mediaType": media_types::OCI_CONFIG, "digest": image.id, "size": config_size },
            "layers": layers,
        });
        let manifest = serde_json::to_vec(&manifest).map_err(unwritable)?;
        let (manifest_digest, manifest_size) = (digest(&manifest), manifest.len());
        plan.files.insert(blob(&image.id), config);
        plan.files.insert(blob(&manifest_digest), manifest);
        let descriptor = |annotations: Option<Value>| {
            let mut object = json!({
                "mediaType": media_types::OCI_MANIFEST,
                "digest": manifest_digest,
                "size": manifest_size,
            });
            if let Some(annotations) = annotations {
                object["annotations"] = annotations;
            }
            object
        };
        let mut descriptors: Vec<Value> = names
            .iter()
            .map(|name| {
                descriptor(Some(json!({
                    "io.containerd.image.name": name.to_string(),
                    "org.opencontainers.image.ref.name": name.tag().unwrap_or_default(),
                })))
            })
            .collect();
        if descriptors.is_empty() {
            descriptors.push(descriptor(None));
        }
        let tags: Vec<String> = names.iter().map(Reference::familiar).collect();
        let entry = json!({
            "Config": blob(&image.id),
            "RepoTags": if tags.is_empty() { Value::Null } else { json!(tags) },
            "Layers": image.layers.iter().map(|layer| blob(layer)).collect::<Vec<_>>(),
            "LayerSources": sources,
        });
        Ok((entry, descriptors))
    }

    async fn write(&self, plan: Plan, to: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
        let send =
            async |bytes: Bytes| to.send(Ok(bytes)).await.map_err(|_| io::ErrorKind::BrokenPipe.into());
        for folder in ["blobs/", "blobs/sha256/"] {
            send(header(folder, 0, true)).await?;
        }
        for (path, bytes) in plan.files.iter().filter(|(path, _)| path.starts_with("blobs/")) {
            send(file(path, bytes)).await?;
        }
        for (layer, size) in &plan.layers {
            send(header(&blob(layer), *size, false)).await?;
            let mut tar = self.layers.layer_tar(layer).await.map_err(|e| io::Error::other(e.to_string()))?;
            while let Some(piece) = tar.bytes.next().await {
                send(piece?).await?;
            }
            send(Bytes::from(vec![0; padding(*size)])).await?;
        }
        for (path, bytes) in plan.files.iter().filter(|(path, _)| !path.starts_with("blobs/")) {
            send(file(path, bytes)).await?;
        }
        send(Bytes::from(vec![0; 1024])).await
    }
}

impl Plan {
    fn add(&mut self, path: &str, value: &Value) -> Result<()> {
        self.files.insert(path.to_owned(), serde_json::to_vec(value).map_err(unwritable)?);
        Ok(())
    }
}

fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

fn unwritable(error: serde_json::Error) -> EngineError {
    EngineError::system("Could not write a manifest").because(error)
}

fn file(path: &str, bytes: &[u8]) -> Bytes {
    let length = bytes.len() as u64;
    let mut block = header(path, length, false).to_vec();
    block.extend_from_slice(bytes);
    block.resize(block.len() + padding(length), 0);
    block.into()
}

fn header(path: &str, size: u64, folder: bool) -> Bytes {
    let mut header = tar::Header::new_ustar();
    let field = &mut header.as_old_mut().name;
    // All our paths are short.
    field[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(if folder { tar::EntryType::Directory } else { tar::EntryType::Regular });
    header.set_mode(if folder { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(TIME);
    header.set_size(size);
    header.set_cksum();
    Bytes::copy_from_slice(header.as_bytes())
}

fn padding(size: u64) -> usize {
    usize::try_from(size.next_multiple_of(512) - size).unwrap_or(0)
}
