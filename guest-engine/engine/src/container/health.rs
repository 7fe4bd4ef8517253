//! Health checks: a command that is run inside the container again and again, and what follows from how
//! it ends.
//!
//! The checks of a running container are made by a task of their own, which hands each result to the
//! container's owner. It ends with the process, pauses with it, and goes on after the engine's restart.

mod probe;

use super::{
    Containers, Shared,
    actor::{Actor, Request},
    state::Status,
};
use crate::error::{EngineError, Result};
use bollard_stubs::models::{ContainerConfig, HealthConfig};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::task::AbortHandle;

/// How many results are kept.
const KEPT: usize = 5;
/// Docker's shortest duration but zero, which is the default: 1 ms in nanoseconds.
const SHORTEST: i64 = 1_000_000;

/// How a container with a health check is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last results, oldest first.
    pub log: VecDeque<ProbeResult>,
}

/// What the results add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    Starting,
    Healthy,
    Unhealthy,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    pub start: SystemTime,
    pub end: SystemTime,
    /// 0 is healthy; -1 when the command could not be run or took too long.
    pub exit_code: i32,
    /// The beginning of what it wrote.
    pub output: String,
}

impl HealthStatus {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl Health {
    fn starting() -> Self {
        Self { status: HealthStatus::Starting, failing_streak: 0, log: VecDeque::new() }
    }

    /// Takes a result in; `age` is how long the container had run when the check began.
    fn take(&mut self, result: ProbeResult, age: Duration, plan: &Plan) {
        if result.exit_code == 0 {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if self.status != HealthStatus::Starting || age >= plan.start_period {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= plan.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        while self.log.len() >= KEPT {
            self.log.pop_front();
        }
        self.log.push_back(result);
    }
}

/// What is run, how often, and what counts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    command: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u32,
}

impl Plan {
    /// `None` without a health check.
    fn of(config: &ContainerConfig) -> Option<Self> {
        let health = config.healthcheck.as_ref()?;
        let (kind, words) = health.test.as_deref()?.split_first()?;
        let command = match kind.as_str() {
            "CMD" => words.to_vec(),
            "CMD-SHELL" => {
                let shell = config.shell.clone().filter(|shell| !shell.is_empty());
                let mut command = shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
                command.extend_from_slice(words);
                command
            }
            _ => return None,
        };
        let duration = |nanoseconds: Option<i64>, seconds: u64| match nanoseconds {
            Some(given @ 1..) => Duration::from_nanos(given.unsigned_abs()),
            _ => Duration::from_secs(seconds),
        };
        Some(Self {
            command,
            interval: duration(health.interval, 30),
            timeout: duration(health.timeout, 30),
            start_period: duration(health.start_period, 0),
            start_interval: duration(health.start_interval, 5),
            retries: health.retries.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(3),
        })
    }

    /// How long to wait before the next check of a container that has run for `age`.
    fn pause(&self, age: Duration, status: HealthStatus) -> Duration {
        if age < self.start_period && status == HealthStatus::Starting {
            self.start_interval
        } else {
            self.interval
        }
    }
}

/// Checks a health check in moby's words.
pub(super) fn check(health: Option<&HealthConfig>) -> Result<()> {
    let Some(health) = health else { return Ok(()) };
    for (name, value) in [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ] {
        if value.is_some_and(|value| value != 0 && value < SHORTEST) {
            return Err(EngineError::invalid(format!("{name} in Healthcheck cannot be less than 1ms")));
        }
    }
    if health.retries.is_some_and(|retries| retries < 0) {
        return Err(EngineError::invalid("Retries in Healthcheck cannot be negative"));
    }
    Ok(())
}

/// Fills in what the user's health check leaves to the image's.
pub(super) fn merge(own: &mut Option<HealthConfig>, image: Option<&HealthConfig>) {
    let Some(image) = image else { return };
    let Some(own) = own else {
        *own = Some(image.clone());
        return;
    };
    if own.test.as_ref().is_none_or(Vec::is_empty) {
        own.test.clone_from(&image.test);
    }
    for (own, image) in [
        (&mut own.interval, image.interval),
        (&mut own.timeout, image.timeout),
        (&mut own.start_period, image.start_period),
        (&mut own.start_interval, image.start_interval),
        (&mut own.retries, image.retries),
    ] {
        if own.unwrap_or(0) == 0 {
            *own = image;
        }
    }
}

/// The task that makes a container's checks; ends when this is dropped.
#[derive(Debug)]
pub(super) struct Checks(AbortHandle);

impl Drop for Checks {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Actor {
    /// A new run of the container begins: what was known of its health is out of date.
    pub(super) fn forget_health(&mut self) {
        self.record.state.health =
            Plan::of(&self.record.config).map(|_| match self.record.state.health.take() {
                Some(known) => Health { status: HealthStatus::Starting, failing_streak: 0, ..known },
                None => Health::starting(),
            });
    }

    /// Begins or stops the checks, whichever the container's status asks for.
    pub(super) fn watch_health(&mut self) {
        let plan = Plan::of(&self.record.config).filter(|_| self.record.state.health.is_some());
        match plan.filter(|_| self.record.state.status == Status::Running && self.task.is_some()) {
            Some(plan) if self.checks.is_none() => {
                let id = self.record.id.clone();
                let started = self.record.state.started_at.unwrap_or_else(SystemTime::now);
                let task = tokio::spawn(make_checks(self.shared.clone(), id, plan, started));
                self.checks = Some(Checks(task.abort_handle()));
            }
            Some(_) => {}
            None => {
                // As dockerd has it: nobody watches, so nobody can say that it is well.
                if self.checks.take().is_some()
                    && let Some(health) = &mut self.record.state.health
                {
                    health.status = HealthStatus::Unhealthy;
                }
            }
        }
    }

    /// Takes in the result of a check that was made of the run which began at `started`.
    pub(super) async fn probed(&mut self, result: ProbeResult, started: SystemTime) -> Result<()> {
        let state = &mut self.record.state;
        let (Some(plan), Some(health)) = (Plan::of(&self.record.config), &mut state.health) else {
            return Ok(());
        };
        if state.status != Status::Running || state.started_at != Some(started) {
            return Ok(());
        }
        let before = health.status;
        let age = result.start.duration_since(started).unwrap_or_default();
        health.take(result, age, &plan);
        let now = health.status;
        if now != before {
            self.keep_record().await;
            self.shared.announce(&self.record, format!("health_status: {}", now.as_str()), &[]);
        }
        self.show();
        Ok(())
    }
}

async fn make_checks(shared: Arc<Shared>, id: String, plan: Plan, started: SystemTime) {
    let containers = Containers { shared };
    loop {
        // A container that is gone has dropped us; should it not have, this ends it.
        let Ok(handle) = containers.shared.index.find(&id) else { return };
        let status = handle.record().state.health.as_ref().map_or(HealthStatus::Starting, |h| h.status);
        let age = started.elapsed().unwrap_or_default();
        tokio::time::sleep(plan.pause(age, status)).await;
        let result = probe::run(&containers, &id, &plan.command, plan.timeout).await;
        if handle.ask(|reply| Request::Probed { result, started, reply }).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(test: &[&str]) -> ContainerConfig {
        let health = HealthConfig {
            test: Some(test.iter().map(ToString::to_string).collect()),
            interval: Some(2_000_000_000),
            start_period: Some(10_000_000_000),
            retries: Some(2),
            ..HealthConfig::default()
        };
        ContainerConfig { healthcheck: Some(health), ..ContainerConfig::default() }
    }

    fn result(exit_code: i32) -> ProbeResult {
        ProbeResult { start: SystemTime::now(), end: SystemTime::now(), exit_code, output: String::new() }
    }

    #[test]
    fn commands_come_in_two_kinds() {
        assert_eq!(Plan::of(&config(&["CMD", "test", "-e"])).unwrap().command, ["test", "-e"]);
        assert_eq!(Plan::of(&config(&["CMD-SHELL", "a | b"])).unwrap().command, ["/bin/sh", "-c", "a | b"]);
        assert_eq!(Plan::of(&config(&["NONE"])), None);
        assert_eq!(Plan::of(&config(&[])), None);
        assert_eq!(Plan::of(&ContainerConfig::default()), None);
    }

    #[test]
    fn failures_count_only_after_the_start_period() {
        let plan = Plan::of(&config(&["CMD", "x"])).unwrap();
        let (early, late) = (Duration::from_secs(3), Duration::from_secs(11));
        let mut health = Health::starting();
        for _ in 0..7 {
            health.take(result(1), early, &plan);
        }
        assert_eq!(
            (health.status, health.failing_streak, health.log.len()),
            (HealthStatus::Starting, 0, KEPT)
        );
        health.take(result(1), late, &plan);
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Starting, 1));
        health.take(result(1), late, &plan);
        assert_eq!(health.status, HealthStatus::Unhealthy);
        health.take(result(0), late, &plan);
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 0));
        // Once it has been well, the start is over.
        health.take(result(1), early, &plan);
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 1));
    }

    #[test]
    fn a_starting_container_is_looked_at_more_often() {
        let plan = Plan::of(&config(&["CMD", "x"])).unwrap();
        let (early, late) = (Duration::from_secs(3), Duration::from_secs(11));
        assert_eq!(plan.pause(early, HealthStatus::Starting), Duration::from_secs(5));
        assert_eq!(plan.pause(early, HealthStatus::Healthy), Duration::from_secs(2));
        assert_eq!(plan.pause(late, HealthStatus::Starting), Duration::from_secs(2));
    }

    #[test]
    fn the_image_fills_in_what_is_left_open() {
        let mut own = Some(HealthConfig { retries: Some(7), ..HealthConfig::default() });
        merge(&mut own, config(&["CMD", "x"]).healthcheck.as_ref());
        let merged = own.unwrap();
        assert_eq!((merged.retries, merged.interval), (Some(7), Some(2_000_000_000)));
        assert_eq!(merged.test.unwrap(), ["CMD", "x"]);
        let hasty = HealthConfig { timeout: Some(5), ..HealthConfig::default() };
        let error = check(Some(&hasty)).unwrap_err().to_string();
        assert_eq!(error, "Timeout in Healthcheck cannot be less than 1ms");
    }
}
