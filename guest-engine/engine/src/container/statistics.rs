//! What a container uses.

use super::Containers;
use crate::{error::Result, ports::Stats};
use futures_util::{Stream, stream};
use std::time::{Duration, SystemTime};

/// How often a stream of statistics reports.
const INTERVAL: Duration = Duration::from_secs(1);

/// Resource use at one moment, and at the one before.
#[derive(Clone, Debug)]
pub struct Sample {
    pub id: String,
    pub name: String,
    pub read: SystemTime,
    /// `None` while the container has no process.
    pub stats: Option<Stats>,
    /// The sample before; `None` for the first.
    pub before: Option<(SystemTime, Stats)>,
}

impl Containers {
    /// One sample. Unless `at_once`, it takes one interval, so that rates can be told.
    pub async fn stats_once(&self, key: &str, at_once: bool) -> Result<Sample> {
        let id = self.inspect(key)?.record.id.clone();
        let mut sample = self.sample(&id, None).await?;
        if !at_once && let Some(stats) = sample.stats.take() {
            let before = Some((sample.read, stats));
            tokio::time::sleep(INTERVAL).await;
            sample = self.sample(&id, before).await?;
        }
        Ok(sample)
    }

    /// A sample every interval, until the container is removed. While it does not run, samples are empty.
    pub fn stats_stream(&self, key: &str) -> Result<impl Stream<Item = Sample> + Send + use<>> {
        let id = self.inspect(key)?.record.id.clone();
        let containers = self.clone();
        Ok(stream::unfold((containers, id, None, true), async |(containers, id, before, first)| {
            if !first {
                tokio::time::sleep(INTERVAL).await;
            }
            let sample = containers.sample(&id, before).await.ok()?;
            let next = sample.stats.clone().map(|stats| (sample.read, stats));
            Some((sample, (containers, id, next, false)))
        }))
    }

    async fn sample(&self, id: &str, before: Option<(SystemTime, Stats)>) -> Result<Sample> {
        let handle = self.shared.index.find(id)?;
        let record = handle.record();
        let mut stats = match handle.running_task() {
            Ok(task) => task.stats().await.ok(),
            Err(_) => None,
        };
        // What goes over the host's interfaces is not the container's.
        if let Some(stats) = stats.as_mut().filter(|_| record.host.network_mode.as_deref() == Some("host")) {
            stats.networks.clear();
        }
        Ok(Sample { id: id.to_owned(), name: record.name.clone(), read: SystemTime::now(), stats, before })
    }
}
