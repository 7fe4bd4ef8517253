//! Which image a user means: a name, an id, or the beginning of an id.

use super::{Images, Reference, config::ConfigFile, config::is_sha256, reference::is_hex_id, store::Index};
use crate::error::{EngineError, Result};
use std::{collections::BTreeSet, sync::Arc};

/// An image as others need it.
#[derive(Clone, Debug)]
pub struct Image {
    /// `sha256:` of the configuration blob.
    pub id: String,
    pub config: Arc<ConfigFile>,
    /// Names with tags, sorted.
    pub names: Vec<Reference>,
    /// Names with the digests that registries know it by, sorted.
    pub digests: Vec<Reference>,
    /// Diff ids, lowest first.
    pub layers: Vec<String>,
    /// Bytes of all regular files of all layers.
    pub size: u64,
    /// Last time a name was given, seconds since the epoch.
    pub tagged_at: Option<i64>,
    /// The image that a build or a commit here made this one from.
    pub parent: Option<String>,
}

impl Images {
    /// Finds an image by name, id or unambiguous beginning of an id. Fails with dockerd's
    /// `No such image: name:tag`, on which clients decide to pull.
    pub async fn get(&self, name: &str) -> Result<Image> {
        let index = self.snapshot();
        let id = resolve(&index, name)?;
        self.image(&index, &id).await
    }

    /// Every image there is.
    pub(crate) fn ids(&self) -> BTreeSet<String> {
        self.snapshot().images.keys().cloned().collect()
    }

    pub(super) async fn image(&self, index: &Index, id: &str) -> Result<Image> {
        let record = index.images.get(id).ok_or_else(|| not_found(id))?;
        Ok(Image {
            id: id.to_owned(),
            config: self.config(id).await?,
            names: index.names_of(id),
            digests: index.digests_of(id),
            layers: record.layers.clone(),
            size: record.size,
            tagged_at: record.tagged_at,
            parent: record.parent.clone(),
        })
    }
}

/// The id that `name` means.
pub(super) fn resolve(index: &Index, name: &str) -> Result<String> {
    if is_sha256(name) || is_hex_id(name) {
        let id = if is_hex_id(name) { format!("sha256:{name}") } else { name.to_owned() };
        return if index.images.contains_key(&id) { Ok(id) } else { Err(not_found(&id)) };
    }
    let parsed = name.parse::<Reference>();
    if let Ok(reference) = &parsed {
        if let Some(id) = index.names.get(&reference.clone().canonical()) {
            return Ok(id.clone());
        }
        // `name:tag@digest` and `name@digest` of an image whose id is that digest.
        if let Some(digest) = reference.digest()
            && index.images.contains_key(digest)
        {
            return Ok(digest.to_owned());
        }
    }
    if let Some(id) = by_prefix(index, name) {
        return Ok(id);
    }
    match parsed {
        Ok(reference) => Err(not_found(&reference.or_latest().familiar())),
        // `sha256:1234`: not a name, but a reasonable beginning of an id.
        Err(_) if is_id_prefix(name) => Err(not_found(name)),
        Err(error) => Err(error.into()),
    }
}

/// Whether `name` is the beginning of the id.
fn means_id(id: &str, name: &str) -> bool {
    is_id_prefix(name) && id.strip_prefix("sha256:").unwrap_or(id).starts_with(bare(name))
}

fn by_prefix(index: &Index, name: &str) -> Option<String> {
    if !is_id_prefix(name) {
        return None;
    }
    let mut found = index.images.keys().filter(|id| means_id(id, name));
    match (found.next(), found.next()) {
        (Some(only), None) => Some(only.clone()),
        _ => None,
    }
}

fn bare(name: &str) -> &str {
    name.strip_prefix("sha256:").unwrap_or(name)
}

fn is_id_prefix(name: &str) -> bool {
    let hex = bare(name);
    !hex.is_empty() && hex.len() <= 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn not_found(name: &str) -> EngineError {
    EngineError::not_found(format!("No such image: {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let mut index = Index::default();
        for start in ["aa", "ab"] {
            index
                .images
                .insert(format!("sha256:{start}{}", "0".repeat(62)), super::super::store::Record::default());
        }
        index
            .names
            .insert("b".parse::<Reference>().unwrap().or_latest(), format!("sha256:ab{}", "0".repeat(62)));
        // A name that is also the beginning of an id: the name wins.
        index
            .names
            .insert("aa".parse::<Reference>().unwrap().or_latest(), format!("sha256:ab{}", "0".repeat(62)));
        index
    }

    #[test]
    fn names_come_before_ids() {
        let index = index();
        let find = |name: &str| resolve(&index, name).map(|id| id[7..10].to_owned());
        assert_eq!(find("b").unwrap(), "ab0");
        assert_eq!(find("docker.io/library/b:latest").unwrap(), "ab0");
        assert_eq!(find("aa").unwrap(), "ab0");
        assert_eq!(find("aa0").unwrap(), "aa0");
        assert_eq!(find("sha256:aa").unwrap(), "aa0");
        assert_eq!(find(&format!("aa{}", "0".repeat(62))).unwrap(), "aa0");
    }

    #[test]
    fn what_is_missing_is_named_as_dockerd_does() {
        let index = index();
        let say = |name: &str| resolve(&index, name).unwrap_err().to_string();
        assert_eq!(say("nope"), "No such image: nope:latest");
        assert_eq!(say("a"), "No such image: a:latest");
        assert_eq!(say("b:other"), "No such image: b:other");
        assert_eq!(say("sha256:ff"), "No such image: sha256:ff");
        assert_eq!(say("Bad"), "invalid reference format: repository name (library/Bad) must be lowercase");
        let id = "f".repeat(64);
        assert_eq!(say(&id), format!("No such image: sha256:{id}"));
    }
}
