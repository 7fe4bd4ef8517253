//! Listing images by Docker's filters.

use super::{Images, Reference, lookup::resolve, pattern::Pattern};
use crate::error::{EngineError, Result};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};

/// Which images to list; an empty field does not restrict.
#[derive(Clone, Debug, Default)]
pub struct ImageFilters {
    /// Also images without a name that others were made from.
    pub all: bool,
    /// With (`false`) or without (`true`) a name.
    pub dangling: Option<bool>,
    /// `key` or `key=value`; all must be there.
    pub labels: Vec<String>,
    /// `key` or `key=value`; an image that has all of them is left out.
    pub not_labels: Vec<String>,
    /// Created before this image.
    pub before: Option<String>,
    /// Created after this image.
    pub since: Option<String>,
    /// Created before this moment, seconds since the epoch.
    pub until: Option<i64>,
    /// Patterns of names, any of which must match: `busybox`, `busy*`, `*/*:1.?`.
    pub references: Vec<String>,
}

/// One image in the list.
#[derive(Clone, Debug)]
pub struct ImageSummary {
    pub id: String,
    /// The image that a build or a commit here made this one from.
    pub parent: Option<String>,
    /// Names with tags, familiar.
    pub names: Vec<String>,
    /// Names with digests, familiar.
    pub digests: Vec<String>,
    /// Seconds since the epoch; 0 when the image does not say.
    pub created: i64,
    pub size: u64,
    pub labels: HashMap<String, String>,
    /// How many containers stand on it.
    pub containers: usize,
}

impl Images {
    /// The images that pass the filters, newest first.
    pub async fn list(&self, filters: &ImageFilters) -> Result<Vec<ImageSummary>> {
        let index = self.snapshot();
        let patterns = filters.patterns()?;
        let before = self.created_of(filters.before.as_deref()).await?;
        let since = self.created_of(filters.since.as_deref()).await?;
        let mut users: BTreeMap<String, usize> = BTreeMap::new();
        for user in self.users() {
            *users.entry(user.image).or_default() += 1;
        }
        let mut list = Vec::new();
        for id in index.images.keys() {
            let image = self.image(&index, id).await?;
            let created = created_nanos(image.config.created.as_deref());
            let labels = image.config.config.as_ref().and_then(|c| c.labels.clone()).unwrap_or_default();
            let wanted = |name: &&Reference| {
                patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, name))
            };
            let names: Vec<&Reference> = image.names.iter().filter(wanted).collect();
            let digests: Vec<&Reference> = image.digests.iter().filter(wanted).collect();
            let nameless = image.names.is_empty() && image.digests.is_empty();
            let seconds = created.map_or(0, |nanos| i64::try_from(nanos / 1_000_000_000).unwrap_or(0));
            let shown = filters.all || !nameless || !index.has_children(id);
            let without = !filters.not_labels.is_empty()
                && filters.not_labels.iter().all(|label| has_label(&labels, label));
            let passes = shown
                && !without
                && filters.dangling.is_none_or(|dangling| match dangling {
                    true => image.names.is_empty(),
                    false => !nameless,
                })
                && (patterns.is_empty() || !names.is_empty() || !digests.is_empty())
                && filters.labels.iter().all(|label| has_label(&labels, label))
                && before.is_none_or(|limit| created < limit)
                && since.is_none_or(|limit| created > limit)
                && filters.until.is_none_or(|limit| seconds < limit);
            if passes {
                list.push((
                    created,
                    ImageSummary {
                        id: id.clone(),
                        parent: image.parent,
                        names: names.into_iter().map(Reference::familiar).collect(),
                        digests: digests.into_iter().map(Reference::familiar).collect(),
                        created: seconds,
                        size: image.size,
                        labels,
                        containers: users.get(id).copied().unwrap_or(0),
                    },
                ));
            }
        }
        list.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.id.cmp(&y.id)));
        Ok(list.into_iter().map(|(_, summary)| summary).collect())
    }

    async fn created_of(&self, name: Option<&str>) -> Result<Option<Option<i128>>> {
        let Some(name) = name else { return Ok(None) };
        let index = self.snapshot();
        let id = resolve(&index, name)?;
        Ok(Some(created_nanos(self.config(&id).await?.created.as_deref())))
    }

    /// Bytes of all layers, each counted once.
    pub async fn disk_usage(&self) -> Result<u64> {
        let index = self.snapshot();
        let sizes: BTreeMap<&String, u64> = index
            .images
            .values()
            .flat_map(|record| record.layers.iter().zip(record.layer_sizes.iter().copied()))
            .collect();
        Ok(sizes.values().sum())
    }
}

fn created_nanos(text: Option<&str>) -> Option<i128> {
    text.and_then(|text| text.parse::<Timestamp>().ok()).map(Timestamp::as_nanosecond)
}

fn has_label(labels: &HashMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    }
}

/// Whether a pattern means the name as people write it, with its tag or without.
fn matches(pattern: &Pattern, name: &Reference) -> bool {
    [name.familiar(), name.familiar_name()].iter().any(|text| pattern.matches(text))
}

impl ImageFilters {
    /// Checks what a client sent.
    pub fn validate(&self) -> Result<()> {
        self.patterns().map(drop)
    }

    fn patterns(&self) -> Result<Vec<Pattern>> {
        let parse = |text: &String| Pattern::parse(text).map_err(|e| EngineError::invalid(e.to_string()));
        self.references.iter().map(parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_familiar_names() {
        let name = "busybox:1.36".parse().unwrap();
        for (pattern, expected) in [
            ("busybox", true),
            ("busybox:1.36", true),
            ("busybox:1.*", true),
            ("busy*", true),
            ("busybox:1.3?", true),
            ("[a-c]usybox", true),
            ("docker.io/library/busybox", false),
            ("*/*/busybox:1.36", false),
            ("library*", false),
            ("busybox:latest", false),
            ("*", true),
            ("usybox", false),
            ("busybox:1.3[5-7]", true),
            ("busybox:1.3[^5-7]", false),
            ("busy[box]ox", true),
            ("busybox:1\\.36", true),
        ] {
            assert_eq!(matches(&Pattern::parse(pattern).unwrap(), &name), expected, "{pattern}");
        }
    }
}
