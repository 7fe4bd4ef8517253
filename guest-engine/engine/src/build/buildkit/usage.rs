//! What the build cache takes up, and removing it: by hand, and by itself when it grows too large.

use super::usage_filter::UsageFilter;
use crate::{build::Builder, error::Result};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// Bytes and steps that are kept without being asked to.
const KEEP_BYTES: u64 = 20 << 30;
const KEEP_STEPS: usize = 4096;

/// One entry of the build cache.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    pub id: String,
    pub parent: Option<String>,
    pub kind: UsageKind,
    pub description: String,
    pub size: u64,
    pub created: Timestamp,
    /// Seconds since the epoch.
    pub used_at: i64,
    pub uses: u64,
    pub in_use: bool,
    /// An image has it too.
    pub shared: bool,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsageKind {
    /// The layer of a step.
    #[default]
    Step,
    /// A folder that steps write to.
    Folder,
    /// What was seen of a client's folder.
    Mirror,
}

impl UsageKind {
    /// As BuildKit calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Step => "regular",
            Self::Folder => "exec.cachemount",
            Self::Mirror => "source.local",
        }
    }

    /// Whether it may change.
    pub fn is_mutable(self) -> bool {
        self != Self::Step
    }
}

/// What to remove.
#[derive(Clone, Debug, Default)]
pub struct PruneRequest {
    /// Also what images have.
    pub all: bool,
    /// Not what was used since, in seconds since the epoch.
    pub unused_since: Option<i64>,
    /// Bytes that may stay.
    pub keep_bytes: u64,
    /// Only what one of these matches, when there are any.
    pub filters: Vec<UsageFilter>,
}

impl Builder {
    /// Everything that one of the filters matches, the last used first; without filters everything.
    pub async fn usage(&self, filters: &[UsageFilter]) -> Result<Vec<Usage>> {
        let mut all: Vec<Usage> = self
            .images
            .steps()
            .into_iter()
            .map(|step| Usage {
                id: short(&step.key),
                parent: step.record.parent.as_deref().map(short),
                kind: UsageKind::Step,
                description: step.record.description,
                size: step.record.size,
                created: step.record.created.parse().unwrap_or_default(),
                used_at: step.record.used_at,
                uses: step.record.uses,
                in_use: false,
                shared: step.shared,
            })
            .collect();
        all.extend(self.caches.list().await?.into_iter().map(|cache| Usage {
            id: cache.key,
            kind: UsageKind::Folder,
            description: format!("cached mount {}", cache.id),
            size: cache.size,
            created: Timestamp::from_second(cache.created).unwrap_or_default(),
            used_at: cache.used_at,
            uses: cache.uses,
            in_use: cache.in_use,
            ..Usage::default()
        }));
        all.extend(self.mirrors.list().into_iter().map(|mirror| Usage {
            id: short(&mirror.key),
            kind: UsageKind::Mirror,
            description: format!("local source for {}", mirror.folder),
            size: mirror.size,
            created: mirror.created,
            used_at: mirror.used_at,
            uses: mirror.uses,
            in_use: mirror.in_use,
            ..Usage::default()
        }));
        all.retain(|usage| UsageFilter::any(filters, usage));
        all.sort_by(|a, b| (b.used_at, b.created, &b.id).cmp(&(a.used_at, a.created, &a.id)));
        Ok(all)
    }

    /// Removes entries; says which, and how many bytes that freed.
    pub async fn prune(&self, request: &PruneRequest) -> Result<(Vec<Usage>, u64)> {
        let mut all = self.usage(&[]).await?;
        // What was not used for longest goes first; of one build, what was made last, as nothing stands on it.
        all.sort_by(|a, b| (a.used_at, b.created, &a.id).cmp(&(b.used_at, a.created, &b.id)));
        let own = |usage: &Usage| if usage.shared { 0 } else { usage.size };
        let mut left: u64 = all.iter().map(own).sum();
        let mut doomed = Vec::new();
        for usage in all {
            if request.keep_bytes > 0 && left <= request.keep_bytes {
                break;
            }
            let spared = usage.in_use
                || (usage.shared && !request.all)
                || request.unused_since.is_some_and(|since| usage.used_at >= since)
                || !UsageFilter::any(&request.filters, &usage);
            if !spared {
                left -= own(&usage);
                doomed.push(usage);
            }
        }
        let freed = self.remove_usages(&doomed).await?;
        Ok((doomed, freed))
    }

    async fn remove_usages(&self, doomed: &[Usage]) -> Result<u64> {
        let ids: BTreeSet<&str> = doomed.iter().map(|usage| usage.id.as_str()).collect();
        let steps = self.images.steps().into_iter().map(|step| step.key);
        let steps: BTreeSet<String> = steps.filter(|key| ids.contains(short(key).as_str())).collect();
        let of = |kind: UsageKind| -> BTreeSet<String> {
            doomed.iter().filter(|usage| usage.kind == kind).map(|usage| usage.id.clone()).collect()
        };
        let mirrors = of(UsageKind::Mirror);
        let dropped = self.mirrors.remove(|key| mirrors.contains(&short(key)));
        Ok(self.images.forget_steps(&steps).await?
            + self.caches.remove(&of(UsageKind::Folder)).await?
            + dropped)
    }

    /// Forgets the steps that were not used for longest, when there are too many. Cache folders are the
    /// user's to remove.
    pub(super) async fn collect_garbage(&self) -> Result<()> {
        let mut steps = self.images.steps();
        steps.sort_by_key(|step| std::cmp::Reverse(step.record.used_at));
        let mut bytes = 0;
        let mut doomed = BTreeSet::new();
        for (number, step) in steps.into_iter().enumerate() {
            bytes += if step.shared { 0 } else { step.record.size };
            if bytes > KEEP_BYTES || number >= KEEP_STEPS {
                doomed.insert(step.key);
            }
        }
        self.images.forget_steps(&doomed).await.map(drop)
    }
}

/// Ids as people see them: BuildKit's have 25 characters.
fn short(key: &str) -> String {
    key.chars().skip_while(|c| *c != ':').skip(1).take(25).collect()
}
