//! Listing images by Docker's filters.

use super::{Images, Reference, lookup::resolve};
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
                filters.references.is_empty() || filters.references.iter().any(|p| matches(p, name))
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
                && (filters.references.is_empty() || !names.is_empty() || !digests.is_empty())
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

/// Whether a pattern means the name: with tag, without, and by its familiar or its full form.
fn matches(pattern: &str, name: &Reference) -> bool {
    let full = name.to_string();
    let full_name = name.repository();
    [name.familiar(), name.familiar_name(), full, full_name].iter().any(|text| glob(pattern, text))
}

/// Go's `path.Match`: `*`, `?` and classes stop at slashes.
fn glob(pattern: &str, text: &str) -> bool {
    let mut pattern = pattern.chars();
    match pattern.next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = pattern.as_str();
            let reach = text.find('/').unwrap_or(text.len());
            (0..=reach).any(|end| text.is_char_boundary(end) && glob(rest, &text[end..]))
        }
        Some('?') => {
            let mut text = text.chars();
            text.next().is_some_and(|c| c != '/') && glob(pattern.as_str(), text.as_str())
        }
        Some('[') => {
            let mut text = text.chars();
            let Some((class, rest)) = class(pattern.as_str()) else { return false };
            text.next().is_some_and(|c| c != '/' && class.has(c)) && glob(rest, text.as_str())
        }
        Some('\\') => {
            let wanted = pattern.next().unwrap_or('\\');
            text.strip_prefix(wanted).is_some_and(|rest| glob(pattern.as_str(), rest))
        }
        Some(wanted) => text.strip_prefix(wanted).is_some_and(|rest| glob(pattern.as_str(), rest)),
    }
}

/// `[a-z_]` or `[^a-z_]`.
struct Class {
    ranges: Vec<(char, char)>,
    negated: bool,
}

impl Class {
    fn has(&self, c: char) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)) != self.negated
    }
}

/// A class behind its bracket, and what follows it; `None` when it is not one.
fn class(pattern: &str) -> Option<(Class, &str)> {
    let (negated, pattern) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let mut rest = pattern.chars();
    let mut ranges = Vec::new();
    let next = |rest: &mut std::str::Chars<'_>| match rest.next()? {
        '\\' => rest.next(),
        '-' => None,
        c => Some(c),
    };
    while !rest.as_str().starts_with(']') || ranges.is_empty() {
        let first = next(&mut rest)?;
        let last = match rest.as_str().strip_prefix('-') {
            Some(behind) => {
                rest = behind.chars();
                next(&mut rest)?
            }
            None => first,
        };
        ranges.push((first, last));
    }
    rest.next();
    Some((Class { ranges, negated }, rest.as_str()))
}

/// Refuses patterns that would take exponential time.
pub(super) const MAX_STARS: usize = 16;

impl ImageFilters {
    /// Checks what a client sent.
    pub fn validate(&self) -> Result<()> {
        match self.references.iter().find(|p| p.matches('*').count() > MAX_STARS) {
            Some(pattern) => Err(EngineError::invalid(format!("invalid filter 'reference={pattern}'"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_familiar_and_full_names() {
        let name = "busybox:1.36".parse().unwrap();
        for (pattern, expected) in [
            ("busybox", true),
            ("busybox:1.36", true),
            ("busybox:1.*", true),
            ("busy*", true),
            ("busybox:1.3?", true),
            ("docker.io/library/busybox", true),
            ("*/*/busybox:1.36", true),
            ("library*", false),
            ("busybox:latest", false),
            ("*", true),
            ("usybox", false),
            ("busybox:1.3[5-7]", true),
            ("busybox:1.3[^5-7]", false),
            ("busy[box]ox", true),
            ("busybox:1\\.36", true),
            ("[", false),
            ("[]", false),
            ("[a-", false),
        ] {
            assert_eq!(matches(pattern, &name), expected, "{pattern}");
        }
    }
}
