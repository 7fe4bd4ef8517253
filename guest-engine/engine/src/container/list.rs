//! `docker ps`: which containers are shown, and the sentence about each.

use super::{Containers, HealthStatus, Record, Snapshot, State, Status, mounts::MountKind};
use crate::{
    error::{EngineError, Result},
    id::short,
    name::NamePatterns,
};
use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    time::{Duration, SystemTime},
};

/// Filters that exist.
const KNOWN: [&str; 16] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
    "label!",
];

/// What a client wants to see. Values of one key are alternatives, except labels; keys all have to match.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// Also those that do not run.
    pub all: bool,
    /// At most so many, the newest.
    pub limit: Option<usize>,
    pub filters: BTreeMap<String, Vec<String>>,
}

/// A container and what `ps` says about it.
#[derive(Clone, Debug)]
pub struct Listed {
    pub snapshot: Snapshot,
    /// `Up 3 seconds`, `Exited (0) 2 minutes ago`
    pub status: String,
}

impl Containers {
    /// The containers that `filter` lets through, newest first.
    pub async fn list(&self, filter: &ListFilter) -> Result<Vec<Listed>> {
        let query = Query::new(self, filter).await?;
        let mut found: Vec<Snapshot> = self
            .shared
            .index
            .all()
            .iter()
            .map(|handle| self.shared.snapshot(handle))
            .filter(|snapshot| query.accepts(&snapshot.record))
            .collect();
        found.sort_by(|a, b| (b.record.created, &b.record.id).cmp(&(a.record.created, &a.record.id)));
        if let Some(limit) = filter.limit {
            found.truncate(limit);
        }
        let now = SystemTime::now();
        Ok(found
            .into_iter()
            .map(|snapshot| Listed { status: status_text(&snapshot.record.state, now), snapshot })
            .collect())
    }

    /// Every container, for whoever counts them or looks for users of an image.
    pub fn all(&self) -> Vec<Snapshot> {
        self.shared.index.all().iter().map(|handle| self.shared.snapshot(handle)).collect()
    }
}

/// The filters, understood.
struct Query<'a> {
    filters: &'a BTreeMap<String, Vec<String>>,
    running_only: bool,
    names: NamePatterns,
    exited: Vec<i32>,
    statuses: Vec<Status>,
    before: Option<SystemTime>,
    since: Option<SystemTime>,
    ancestors: Vec<String>,
    networks: Vec<String>,
}

impl<'a> Query<'a> {
    async fn new(containers: &Containers, filter: &'a ListFilter) -> Result<Self> {
        let filters = &filter.filters;
        if let Some(key) = filters.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(EngineError::invalid(format!("invalid filter '{key}'")));
        }
        let of = |key: &str| filters.get(key).into_iter().flatten();
        let names = NamePatterns::new(filters.get("name").map_or(&[], Vec::as_slice));
        let exited = of("exited")
            .map(|code| {
                let reason = format!(": strconv.Atoi: parsing {code:?}: invalid syntax");
                code.parse()
                    .map_err(|_| EngineError::invalid(format!("invalid filter 'exited={code}'{reason}")))
            })
            .collect::<Result<Vec<i32>>>()?;
        let statuses = of("status")
            .map(|word| {
                Status::ALL
                    .into_iter()
                    .find(|status| status.as_str() == word)
                    .ok_or_else(|| EngineError::invalid(format!("invalid filter 'status={word}'")))
            })
            .collect::<Result<Vec<_>>>()?;
        for value in of("health") {
            if !matches!(value.as_str(), "starting" | "healthy" | "unhealthy" | "none") {
                return Err(EngineError::invalid(format!("unrecognized filter value for health: {value}")));
            }
        }
        if let Some(value) =
            of("is-task").find(|value| !matches!(value.as_str(), "0" | "1" | "true" | "false"))
        {
            return Err(EngineError::invalid(format!("invalid filter 'is-task=[{value}]'")));
        }
        for key in ["publish", "expose"] {
            if let Some(value) = of(key).find(|value| port_range(value).is_none()) {
                return Err(EngineError::system(format!(
                    "error while looking up for {key} {value}: invalid port range"
                )));
            }
        }
        let created = |key: &str| -> Result<Option<SystemTime>> {
            of(key).next().map(|key| Ok(containers.inspect(key)?.record.created)).transpose()
        };
        let mut ancestors = Vec::new();
        for name in of("ancestor") {
            // An image that does not exist has no containers, but its name may still be on some.
            if let Ok(image) = containers.shared.images.resolve(name).await {
                ancestors.push(image.id);
            }
            ancestors.push(name.clone());
        }
        let networks = of("network")
            .map(|key| {
                containers
                    .shared
                    .networks
                    .find(key)
                    .map_or_else(|_| key.clone(), |n| n.definition.name.clone())
            })
            .collect();
        let (before, since) = (created("before")?, created("since")?);
        // Asking for the dead, or for the newest few, implies looking at all.
        let implied = filter.limit.is_some()
            || before.is_some()
            || since.is_some()
            || !statuses.is_empty()
            || !exited.is_empty();
        Ok(Self {
            filters,
            running_only: !filter.all && !implied,
            names,
            exited,
            statuses,
            before,
            since,
            ancestors,
            networks,
        })
    }

    fn accepts(&self, record: &Record) -> bool {
        let state = &record.state;
        let any = |key: &str, accepts: &dyn Fn(&str) -> bool| {
            self.filters.get(key).is_none_or(|values| values.iter().any(|value| accepts(value)))
        };
        let every = |key: &str, accepts: &dyn Fn(&str) -> bool| {
            self.filters.get(key).is_none_or(|values| values.iter().all(|value| accepts(value)))
        };
        let slashed = format!("/{}", record.name);
        let asked = |key: &str| self.filters.contains_key(key);
        (!self.running_only || state.status.counts_as_running())
            && (self.names.accept(&record.name) || self.names.accept(&slashed))
            && (self.statuses.is_empty() || self.statuses.contains(&state.status))
            && (self.exited.is_empty()
                || (self.exited.contains(&state.exit_code)
                    && !state.status.counts_as_running()
                    && state.started_at.is_some()))
            && self.before.is_none_or(|moment| record.created < moment)
            && self.since.is_none_or(|moment| record.created > moment)
            && (!asked("ancestor") || self.ancestors.iter().any(|a| descends(record, a)))
            && (!asked("network") || self.networks.iter().any(|name| record.endpoints.contains_key(name)))
            && any("id", &|id| record.id.starts_with(id))
            && any("health", &|wanted| wanted == state.health.as_ref().map_or("none", |h| h.status.as_str()))
            // There is but one isolation here, and dockerd on Linux does not look at the word.
            && any("is-task", &|wanted| matches!(wanted, "0" | "false"))
            && any("expose", &|port| exposes(record, port))
            && any("publish", &|port| publishes(record, port))
            && any("volume", &|path| mounts(record, path))
            && every("label", &|label| record.has_label(label))
            && every("label!", &|label| !record.has_label(label))
    }
}

impl Record {
    /// Whether it has the label `key` or `key=value`, as filters of list and prune name it.
    pub fn has_label(&self, wanted: &str) -> bool {
        let (key, value) = match wanted.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (wanted, None),
        };
        self.labels().any(|(k, v)| k == key && value.is_none_or(|value| v == value))
    }
}

fn descends(record: &Record, ancestor: &str) -> bool {
    let bare = record.image_id.strip_prefix("sha256:").unwrap_or(&record.image_id);
    record.image() == ancestor
        || record.image_id == ancestor
        || (ancestor.len() >= 4
            && bare.starts_with(ancestor)
            && ancestor.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn exposes(record: &Record, wanted: &str) -> bool {
    let Some((wanted, protocol)) = port_range(wanted) else { return false };
    record.config.exposed_ports.iter().flatten().any(|port| {
        let (number, own) = port.split_once('/').unwrap_or((port, "tcp"));
        own == protocol && number.parse::<u16>().is_ok_and(|number| wanted.contains(&number))
    })
}

fn publishes(record: &Record, wanted: &str) -> bool {
    let Some((wanted, protocol)) = port_range(wanted) else { return false };
    record
        .ports
        .iter()
        .any(|port| port.protocol.to_string() == protocol && wanted.contains(&port.host.port()))
}

/// `80`, `80/udp`, `80-90/tcp`.
fn port_range(text: &str) -> Option<(RangeInclusive<u16>, &str)> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    Some((first.parse().ok()?..=last.parse().ok()?, protocol))
}

fn mounts(record: &Record, path: &str) -> bool {
    record.mounts.iter().any(|mount| {
        mount.destination == path
            || match &mount.kind {
                MountKind::Bind(bind) => bind.source == path,
                MountKind::Volume(volume) => volume.name == path,
                MountKind::Tmpfs { .. } => false,
            }
    })
}

/// The sentence in the STATUS column.
pub(crate) fn status_text(state: &State, now: SystemTime) -> String {
    let since = |moment: Option<SystemTime>| {
        human_duration(moment.and_then(|moment| now.duration_since(moment).ok()).unwrap_or_default())
    };
    match state.status {
        Status::Running => {
            let up = format!("Up {}", since(state.started_at));
            match state.health.as_ref().map(|health| health.status) {
                None => up,
                Some(HealthStatus::Starting) => format!("{up} (health: starting)"),
                Some(status) => format!("{up} ({})", status.as_str()),
            }
        }
        Status::Paused => format!("Up {} (Paused)", since(state.started_at)),
        Status::Restarting => format!("Restarting ({}) {} ago", state.exit_code, since(state.finished_at)),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Created => "Created".to_owned(),
        Status::Exited => match state.finished_at {
            Some(_) => format!("Exited ({}) {} ago", state.exit_code, since(state.finished_at)),
            None => "Created".to_owned(),
        },
    }
}

/// Docker's rough durations.
fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    // Hours are rounded to the nearest, everything below is cut off.
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

impl Snapshot {
    /// What people call it in sentences: the start of its id.
    pub fn short_id(&self) -> &str {
        short(&self.record.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_dockers() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (47 * 3600, "47 hours"),
            (49 * 3600, "2 days"),
            (15 * 86_400, "2 weeks"),
            (70 * 86_400, "2 months"),
            (800 * 86_400, "2 years"),
        ] {
            assert_eq!(human_duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn every_status_has_its_sentence() {
        let now = SystemTime::now();
        let ago = |seconds| Some(now - Duration::from_secs(seconds));
        let state = |status| State {
            status,
            exit_code: 3,
            started_at: ago(90),
            finished_at: ago(5),
            ..State::default()
        };
        for (status, text) in [
            (Status::Created, "Created"),
            (Status::Running, "Up About a minute"),
            (Status::Paused, "Up About a minute (Paused)"),
            (Status::Restarting, "Restarting (3) 5 seconds ago"),
            (Status::Exited, "Exited (3) 5 seconds ago"),
            (Status::Dead, "Dead"),
            (Status::Removing, "Removal In Progress"),
        ] {
            assert_eq!(status_text(&state(status), now), text);
        }
    }

    #[test]
    fn ports_labels_and_ancestors() {
        let mut record = crate::container::record::tests::record("web");
        record.config.exposed_ports = Some(vec!["80/tcp".into(), "53/udp".into()]);
        record.config.labels = Some([("a".to_owned(), "1".to_owned())].into());
        record.config.image = Some("busybox:latest".into());
        record.image_id = "sha256:abcdef".into();
        assert!(exposes(&record, "80") && exposes(&record, "50-60/udp") && !exposes(&record, "53"));
        assert!(record.has_label("a") && record.has_label("a=1") && !record.has_label("a=2"));
        assert!(
            descends(&record, "abcde") && descends(&record, "busybox:latest") && !descends(&record, "busy")
        );
    }
}
