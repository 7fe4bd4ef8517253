//! Looking at all machines at once, without waiting for those that do not answer.
//!
//! `--timeout` says how long to wait. Without it, machines on this computer, which answer in milliseconds,
//! are given up when nobody has answered for a moment; those elsewhere get docker-machine's ten seconds.

use super::{Context, Row};
use crate::{
    commands::active::is_active,
    engine_api,
    lifecycle::{Observation, State},
    machine::MachineName,
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::{
    cell::RefCell,
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// How long the machines of this computer may keep silent when some have answered.
const QUIET: Duration = Duration::from_millis(100);
/// How long the first answer may take, when there are machines of this computer only.
const FIRST: Duration = Duration::from_secs(1);
/// How long machines elsewhere may take.
const FAR: Duration = Duration::from_secs(10);

/// What is known of a machine so far.
struct Known {
    row: Row,
    is_local: bool,
    answered: bool,
}

/// One row for each of `names`, in their order, within `limit` seconds.
pub(super) async fn rows(context: &Context<'_>, names: &[MachineName], limit: Option<f64>) -> Vec<Row> {
    let began = Instant::now();
    let limit = limit.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(FAR));
    let known: Vec<_> = names.iter().map(|name| RefCell::new(Known::of(context, name))).collect();
    let mut looks: FuturesUnordered<_> =
        names.iter().zip(&known).map(|(name, known)| look(context, name, known, began)).collect();
    loop {
        let is_far = known.iter().map(RefCell::borrow).any(|known| !known.answered && !known.is_local);
        let nobody = known.iter().all(|known| !known.borrow().answered);
        let patience = match limit {
            Some(limit) => limit.saturating_sub(began.elapsed()),
            None if is_far => FAR.saturating_sub(began.elapsed()),
            None if nobody => FIRST.saturating_sub(began.elapsed()),
            None => QUIET,
        };
        match timeout(patience, looks.next()).await {
            Ok(Some(())) => {}
            Ok(None) | Err(_) => break,
        }
    }
    drop(looks);
    known.into_iter().map(|known| known.into_inner().given_up(began)).collect()
}

async fn look(context: &Context<'_>, name: &MachineName, known: &RefCell<Known>, began: Instant) {
    let seen = context.lifecycle().observe(name, FAR).await;
    let question = {
        let known = &mut *known.borrow_mut();
        let question = seen.endpoint.clone().filter(|_| seen.ready);
        known.see(context, name, seen, began);
        question
    };
    if let Some(endpoint) = question {
        match engine_api::version(&endpoint, FAR).await {
            Ok(version) => known.borrow_mut().row.docker_version = format!("v{version}"),
            Err(error) => known.borrow_mut().row.error = format!("Unable to query docker version: {error}"),
        }
    }
    known.borrow_mut().answered = true;
}

impl Known {
    /// What the store says.
    fn of(context: &Context<'_>, name: &MachineName) -> Self {
        let record = context.store.load(name).ok();
        let driver = record.as_ref().map(|record| record.driver.clone()).unwrap_or_default();
        let document = record.as_ref().map(|record| record.document(context.store.root()));
        let option = |path: &str| document.as_ref().and_then(|document| document.pointer(path)).cloned();
        let row = Row {
            name: name.to_string(),
            active: "-".to_owned(),
            active_host: false,
            active_swarm: false,
            driver_name: driver.clone(),
            state: String::new(),
            url: String::new(),
            swarm: String::new(),
            swarm_options: option("/HostOptions/SwarmOptions"),
            engine_options: option("/HostOptions/EngineOptions"),
            docker_version: "Unknown".to_owned(),
            error: String::new(),
            response_time: String::new(),
            labels: record
                .as_ref()
                .and_then(|record| record.own())
                .map(|own| own.engine.labels.clone())
                .unwrap_or_default(),
        };
        let is_ours = record.is_some_and(|record| record.own().is_some());
        let is_local =
            is_ours && (context.drivers.is_local(&driver) || context.drivers.get(&driver).is_err());
        Self { row, is_local, answered: false }
    }

    fn see(&mut self, context: &Context<'_>, name: &MachineName, seen: Observation, began: Instant) {
        let row = &mut self.row;
        row.state = seen.state.to_string();
        row.url = seen.endpoint.map(|endpoint| endpoint.url()).unwrap_or_default();
        row.error = seen.error.unwrap_or_default();
        row.active_host = !row.url.is_empty() && is_active(context, name);
        row.active = if row.active_host { "*" } else { "-" }.to_owned();
        row.response_time = go_duration(began.elapsed());
    }

    fn given_up(mut self, began: Instant) -> Row {
        if self.row.state.is_empty() {
            self.row.state = State::Timeout.to_string();
            self.row.response_time = go_duration(began.elapsed());
        } else if !self.answered && self.row.error.is_empty() {
            self.row.error = "The engine does not answer".to_owned();
        }
        self.row
    }
}

fn go_duration(time: Duration) -> String {
    match time.as_millis() {
        0..1000 => format!("{:.3}ms", time.as_secs_f64() * 1000.0),
        _ => format!("{:.3}s", time.as_secs_f64()),
    }
}
