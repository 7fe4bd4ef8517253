//! Removing names and images, with moby's rules about who may be pulled the rug from under.

use super::{Images, Reference, config::chain_ids, lookup::resolve, store::Index};
use crate::{
    ImageUser,
    error::{EngineError, Result},
    events::EventType,
};
use std::collections::HashMap;

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name is gone.
    Untagged(String),
    /// An image or a layer is gone.
    Deleted(String),
}

/// What becomes of images that only led to a removed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parents {
    Go,
    Stay,
}

impl Images {
    /// Removes what `name` means: a name, and the image with its last one; or, given an id, the image with
    /// its names. Fails with 409 when that would hurt a container, unless forced and the container stopped.
    /// Nameless images that only led to it go along, unless their `parents` are to be kept.
    pub async fn remove(&self, name: &str, force: bool, parents: Parents) -> Result<Vec<Removed>> {
        // The configuration is needed for the events and gone afterwards.
        let image = self.get(name).await?;
        let labels = image.config.config.as_ref().and_then(|c| c.labels.clone()).unwrap_or_default();
        let users = self.users();
        let before = self.snapshot();
        let (removed, parents) = self
            .change(|index| {
                let mut removed = plan(index, name, force, &users)?;
                let deleted = removed.contains(&Removed::Deleted(image.id.clone()));
                let parents = if deleted && parents == Parents::Go {
                    delete_parents(index, image.parent.clone(), &users, &mut removed)
                } else {
                    Vec::new()
                };
                Ok((removed, parents))
            })
            .await?;
        self.finish(&before, &image.id, &removed, &labels).await?;
        for parent in parents {
            self.forget(&before, &parent).await?;
        }
        Ok(removed)
    }

    /// Removes images without a name (all unused ones when `all`) that no container stands on and that
    /// pass `keep`. Says what went and how many bytes that were.
    pub async fn prune(&self, all: bool, filters: &super::ImageFilters) -> Result<(Vec<Removed>, u64)> {
        let before = self.disk_usage().await?;
        let mut removed = Vec::new();
        for summary in self.list(filters).await? {
            if summary.containers > 0 || (!all && !summary.names.is_empty()) {
                continue;
            }
            match self.remove(&summary.id, all, Parents::Go).await {
                Ok(more) => removed.extend(more),
                // Somebody started to use it, or was faster.
                Err(error) => tracing::debug!(%error, image = summary.id, "Image was not pruned"),
            }
        }
        let reclaimed = before.saturating_sub(self.disk_usage().await?);
        let attributes = [("reclaimed".to_owned(), reclaimed.to_string())];
        self.events.publish(EventType::Image, "prune", "", attributes.into());
        Ok((removed, reclaimed))
    }

    async fn finish(
        &self,
        before: &Index,
        id: &str,
        removed: &[Removed],
        labels: &HashMap<String, String>,
    ) -> Result<()> {
        let deleted = removed.contains(&Removed::Deleted(id.to_owned()));
        for _ in removed.iter().filter(|step| matches!(step, Removed::Untagged(_))) {
            self.announce_with("untag", id, id, labels.clone());
        }
        if !deleted {
            return Ok(());
        }
        self.forget(before, id).await?;
        if let Err(error) = self.sweep().await {
            tracing::warn!(%error, "Layers of a removed image are still there");
        }
        Ok(())
    }

    /// Removes what is kept of an image besides its layers.
    async fn forget(&self, before: &Index, id: &str) -> Result<()> {
        self.configs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(id);
        // Its labels have gone with it.
        self.announce_with("delete", id, id, HashMap::new());
        // The index no longer knows it: what fails from here on only leaves space in use.
        let index = self.snapshot();
        if index.images.contains_key(id) {
            return Ok(());
        }
        self.store.remove(id).await?;
        self.forget_manifest(before, id).await
    }

    /// Removes the manifest that an image had before, if none has it now.
    pub(super) async fn forget_manifest(&self, before: &Index, id: &str) -> Result<()> {
        match before.images.get(id).and_then(|record| record.manifest.as_ref()) {
            Some(manifest) if !self.snapshot().needs_manifest(&manifest.digest) => {
                self.store.remove(&manifest.digest).await
            }
            _ => Ok(()),
        }
    }
}

fn plan(index: &mut Index, name: &str, force: bool, users: &[ImageUser]) -> Result<Vec<Removed>> {
    let id = resolve(index, name)?;
    let users: Vec<ImageUser> = users.iter().filter(|user| user.image == id).cloned().collect();
    let users = users.as_slice();
    let single = is_single(&index.references_of(&id));
    let mut removed = Vec::new();
    let given = name.parse::<Reference>().ok().map(Reference::canonical);
    // As `resolve` does: a name that also is the beginning of an id is a name.
    let Some(reference) = given.filter(|given| index.names.contains_key(given)) else {
        // By id, one name goes along; several need force.
        check(index, &id, users, force, !single)?;
        return Ok(delete(index, id, users, removed));
    };
    if let (true, false, Some(user)) = (single, force, users.first()) {
        return Err(EngineError::conflict(format!(
            "conflict: unable to remove repository reference \"{name}\" (must force) - container {} is \
             using its referenced image {}",
            short(&user.container),
            short(&id)
        )));
    }
    index.names.remove(&reference);
    removed.push(Removed::Untagged(reference.familiar()));
    if reference.digest().is_none() {
        // The digests that the repository's last tag stood for mean nothing without it.
        let left = index.references_of(&id);
        let (of_repository, _): (Vec<Reference>, Vec<Reference>) =
            left.into_iter().partition(|other| other.repository() == reference.repository());
        if of_repository.iter().all(|other| other.digest().is_some()) {
            for digest in of_repository {
                index.names.remove(&digest);
                removed.push(Removed::Untagged(digest.familiar()));
            }
        }
    }
    // The name is gone in any case; an image that is in use stays, without one.
    if !index.references_of(&id).is_empty() || check(index, &id, users, force, false).is_err() {
        return Ok(removed);
    }
    Ok(delete(index, id, users, removed))
}

/// Whether all names are one tag's: itself and digests of its repository.
fn is_single(references: &[Reference]) -> bool {
    let tags = references.iter().filter(|name| name.digest().is_none()).count();
    let same = references.windows(2).all(|pair| pair[0].repository() == pair[1].repository());
    references.len() <= 1 || (tags <= 1 && same)
}

fn delete(index: &mut Index, id: String, users: &[ImageUser], mut removed: Vec<Removed>) -> Vec<Removed> {
    for name in index.names_of(&id).into_iter().chain(index.digests_of(&id)) {
        removed.push(Removed::Untagged(name.familiar()));
        index.names.remove(&name);
    }
    let record = index.images.remove(&id).unwrap_or_default();
    removed.push(Removed::Deleted(id.clone()));
    if users.is_empty() {
        for (layer, chain) in record.layers.iter().zip(chain_ids(&record.layers)).rev() {
            if !index.needs_layer(layer) && index.orphans.insert(layer.clone()) {
                removed.push(Removed::Deleted(chain));
            }
        }
    } else {
        index.ghosts.insert(id, record.layers);
    }
    removed
}

/// Images without a name that only led to one that is gone go as well. Says which.
fn delete_parents(
    index: &mut Index,
    mut next: Option<String>,
    users: &[ImageUser],
    removed: &mut Vec<Removed>,
) -> Vec<String> {
    let mut gone = Vec::new();
    while let Some(id) = next {
        let Some(record) = index.images.get(&id) else { break };
        let needed = index.has_children(&id)
            || index.names.values().any(|named| *named == id)
            || users.iter().any(|user| user.image == id);
        if needed {
            break;
        }
        next = record.parent.clone();
        *removed = delete(index, id.clone(), &[], std::mem::take(removed));
        gone.push(id);
    }
    gone
}

fn check(index: &Index, id: &str, users: &[ImageUser], force: bool, several_names: bool) -> Result<()> {
    let refuse = |how: &str, why: String| {
        Err(EngineError::conflict(format!("conflict: unable to delete {} ({how}) - {why}", short(id))))
    };
    if index.has_children(id) {
        return refuse("cannot be forced", "image has dependent child images".to_owned());
    }
    if let Some(user) = users.iter().find(|user| user.running) {
        let why = format!("image is being used by running container {}", short(&user.container));
        return refuse("cannot be forced", why);
    }
    if force {
        return Ok(());
    }
    if several_names {
        return refuse("must be forced", "image is referenced in multiple repositories".to_owned());
    }
    match users.first() {
        Some(user) => {
            let why = format!("image is being used by stopped container {}", short(&user.container));
            refuse("must be forced", why)
        }
        None => Ok(()),
    }
}

fn short(id: &str) -> &str {
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::store::Record;

    fn id() -> String {
        format!("sha256:{}", "ab".repeat(32))
    }

    fn index(names: &[&str]) -> Index {
        let mut index = Index::default();
        index.images.insert(id(), Record { layers: vec!["sha256:l".into()], ..Record::default() });
        for name in names {
            index.names.insert(name.parse::<Reference>().unwrap().canonical(), id());
        }
        index
    }

    fn user(running: bool) -> [ImageUser; 1] {
        [ImageUser { container: "c".repeat(64), image: id(), running }]
    }

    fn refusal(index: &mut Index, name: &str, force: bool, running: bool) -> String {
        plan(index, name, force, &user(running)).unwrap_err().to_string()
    }

    #[test]
    fn the_last_name_takes_the_image_along() {
        let mut two = index(&["a", "b"]);
        assert_eq!(plan(&mut two, "a", false, &[]).unwrap(), [Removed::Untagged("a:latest".into())]);
        assert_eq!(
            plan(&mut two, "b", false, &[]).unwrap(),
            [
                Removed::Untagged("b:latest".into()),
                Removed::Deleted(id()),
                Removed::Deleted("sha256:l".into())
            ]
        );
        assert!(two.images.is_empty() && two.orphans.contains("sha256:l"));
    }

    #[test]
    fn digests_go_with_the_last_tag_of_their_repository() {
        let digest = format!("a@sha256:{}", "d".repeat(64));
        let mut one = index(&["a", "a:2", &digest]);
        assert_eq!(plan(&mut one, "a:2", false, &[]).unwrap(), [Removed::Untagged("a:2".into())]);
        let removed = plan(&mut one, "a", false, &[]).unwrap();
        assert_eq!(removed[..2], [Removed::Untagged("a:latest".into()), Removed::Untagged(digest.clone())]);
        assert!(one.images.is_empty());
        let mut by_id = index(&["a", &digest]);
        assert_eq!(plan(&mut by_id, "abab", false, &[]).unwrap().len(), 4, "one repository is no conflict");
        let mut by_digest = index(&["a", &digest]);
        let removed = plan(&mut by_digest, &digest, false, &[]).unwrap();
        assert_eq!(removed, [Removed::Untagged(digest)]);
        let mut two =
            index(&["a", "b", "a@sha256:0000000000000000000000000000000000000000000000000000000000000000"]);
        assert_eq!(plan(&mut two, "a", false, &[]).unwrap().len(), 2);
        assert!(!two.images.is_empty(), "b still names it");
    }

    #[test]
    fn several_names_or_containers_stand_in_the_way() {
        assert_eq!(
            refusal(&mut index(&["a"]), "a", false, false),
            "conflict: unable to remove repository reference \"a\" (must force) - container cccccccccccc is \
             using its referenced image abababababab"
        );
        assert_eq!(
            plan(&mut index(&["a", "b"]), "abab", false, &[]).unwrap_err().to_string(),
            "conflict: unable to delete abababababab (must be forced) - image is referenced in multiple \
             repositories"
        );
        assert_eq!(
            refusal(&mut index(&["a"]), "abab", false, false),
            "conflict: unable to delete abababababab (must be forced) - image is being used by stopped \
             container cccccccccccc"
        );
        assert_eq!(
            refusal(&mut index(&[]), &id(), true, true),
            "conflict: unable to delete abababababab (cannot be forced) - image is being used by running \
             container cccccccccccc"
        );
    }

    #[test]
    fn force_keeps_what_containers_stand_on() {
        let mut running = index(&["a"]);
        assert_eq!(
            plan(&mut running, "a", true, &user(true)).unwrap(),
            [Removed::Untagged("a:latest".into())],
            "a running container's image loses its name only"
        );
        let mut stopped = index(&["a"]);
        plan(&mut stopped, "a", true, &user(false)).unwrap();
        assert!(stopped.images.is_empty() && stopped.orphans.is_empty());
        assert!(stopped.needs_layer(&"sha256:l".to_owned()));
    }
}
