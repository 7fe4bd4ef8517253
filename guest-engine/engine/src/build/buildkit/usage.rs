//! What the build cache takes up, and removing it: by hand, and by itself when it grows too large.

use crate::{
    build::Builder,
    error::{EngineError, Result},
};
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
    /// `regular`, or `exec.cachemount` for a folder that steps write to.
    pub kind: &'static str,
    pub description: String,
    pub size: u64,
    /// Seconds since the epoch.
    pub created: i64,
    pub used_at: i64,
    pub uses: u64,
    pub in_use: bool,
    /// An image has it too.
    pub shared: bool,
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
    /// Only these, when there are any.
    pub ids: Vec<String>,
    /// Only these kinds, when there are any.
    pub kinds: Vec<String>,
}

impl Builder {
    /// Everything, the last used first.
    pub async fn usage(&self) -> Result<Vec<Usage>> {
        let mut all: Vec<Usage> = self
            .images
            .steps()
            .into_iter()
            .map(|step| Usage {
                id: short(&step.key),
                parent: step.record.parent.as_deref().map(short),
                kind: "regular",
                description: step.record.description,
                size: step.record.size,
                created: step.record.created.parse().map_or(0, Timestamp::as_second),
                used_at: step.record.used_at,
                uses: step.record.uses,
                in_use: false,
                shared: step.shared,
            })
            .collect();
        all.extend(self.caches.list().await?.into_iter().map(|cache| Usage {
            id: cache.key,
            kind: "exec.cachemount",
            description: format!("cached mount {}", cache.id),
            size: cache.size,
            created: cache.created,
            used_at: cache.used_at,
            uses: cache.uses,
            in_use: cache.in_use,
            ..Usage::default()
        }));
        all.sort_by(|a, b| (b.used_at, &b.id).cmp(&(a.used_at, &a.id)));
        Ok(all)
    }

    /// Removes entries; says which, and how many bytes that freed.
    pub async fn prune(&self, request: &PruneRequest) -> Result<(Vec<Usage>, u64)> {
        let mut kept = 0;
        let mut doomed = Vec::new();
        for usage in self.usage().await? {
            let spared = usage.in_use
                || (usage.shared && !request.all)
                || request.unused_since.is_some_and(|since| usage.used_at >= since)
                || (!request.ids.is_empty() && !request.ids.contains(&usage.id))
                || (!request.kinds.is_empty() && !request.kinds.iter().any(|kind| kind == usage.kind));
            let fits = request.keep_bytes > 0 && kept + usage.size <= request.keep_bytes;
            if spared || fits {
                kept += usage.size;
            } else {
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
        let caches: BTreeSet<String> = doomed
            .iter()
            .filter(|usage| usage.kind == "exec.cachemount")
            .map(|usage| usage.id.clone())
            .collect();
        Ok(self.images.forget_steps(&steps).await? + self.caches.remove(&caches).await?)
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

/// `until=24h` as the moment it means, in seconds since the epoch.
pub fn moment_before(text: &str) -> Result<i64> {
    let nanoseconds = crate::build::instruction::duration(text)
        .ok_or_else(|| EngineError::invalid(format!("time: invalid duration {text:?}")))?;
    Ok(Timestamp::now().as_second() - nanoseconds / 1_000_000_000)
}

/// Ids as people see them: BuildKit's have 25 characters.
fn short(key: &str) -> String {
    key.chars().skip_while(|c| *c != ':').skip(1).take(25).collect()
}
