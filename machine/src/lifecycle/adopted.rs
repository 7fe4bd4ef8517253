//! Machines that docker-machine made with a plugin that is here: the plugin drives them on. Their engine is
//! dockerd, reached over TLS with docker-machine's certificates; their record stays docker-machine's, save for
//! what the plugin remembers, as docker-machine itself would have written it.

use super::{CommandError, Lifecycle, Observation, Power, READY_LIMIT, State, power::is_off};
use crate::{
    endpoint::Endpoint,
    store::{self, MachineLock, Part, Record},
};
use machine_drivers::{Driver, Instance, InstanceState};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

/// How long `stop` lets it put its containers in order, as docker-machine did.
const STOP_GRACE: Duration = Duration::from_secs(180);
/// Between two attempts to reach its engine.
const RETRY: Duration = Duration::from_secs(1);

/// One such machine.
#[derive(Debug)]
pub(super) struct Adopted {
    pub(super) driver: Arc<dyn Driver>,
    pub(super) instance: Instance,
}

impl Lifecycle<'_> {
    /// The machine of a record, where docker-machine made it and its plugin is here.
    pub(super) fn adopted(&self, record: &Record) -> Option<Adopted> {
        let state = record.foreign()?.get("Driver").filter(|state| state.is_object())?;
        let driver = self.drivers.plugin(&record.driver)?;
        let id = self.store.folder(&record.name).display().to_string();
        Some(Adopted { driver, instance: Instance { id, data: json!({ "Driver": state, "Adopted": true }) } })
    }

    /// What it is doing, for at most `limit`.
    pub(super) async fn observe_adopted(
        &self,
        machine: &Adopted,
        seen: Observation,
        limit: Duration,
    ) -> Observation {
        match timeout(limit, machine.driver.state(&machine.instance)).await {
            Ok(Ok(state @ InstanceState::Running)) => {
                let document = seen.record.as_ref().and_then(Record::foreign);
                let endpoint = document.and_then(store::foreign::endpoint).map(Endpoint::Tls);
                Observation { state: State::Instance(state), ready: endpoint.is_some(), endpoint, ..seen }
            }
            Ok(Ok(state)) => Observation { state: State::Instance(state), ..seen },
            Ok(Err(error)) => Observation { error: Some(error.to_string()), ..seen },
            Err(_) => Observation { state: State::Timeout, ..seen },
        }
    }

    /// Does it to the machine's power; its lock is held.
    pub(super) async fn power_adopted(
        &self,
        mut record: Record,
        machine: &Adopted,
        power: Power,
        _lock: &MachineLock,
    ) -> Result<(), CommandError> {
        let Adopted { driver, instance } = machine;
        let name = record.name.clone();
        let off = is_off(driver.state(instance).await?);
        let done = match power {
            Power::Start if !off => "is already running",
            Power::Stop if off => "is already stopped",
            Power::Kill => {
                driver.kill(instance).await?;
                "was killed"
            }
            Power::Stop => {
                driver.stop(instance, STOP_GRACE).await?;
                "was stopped"
            }
            Power::Start | Power::Restart => {
                if !off {
                    driver.stop(instance, STOP_GRACE).await?;
                }
                let progress = self.ui.driver_lines(name.as_str());
                driver.start(instance, &progress).await?;
                if power == Power::Start { "was started" } else { "was restarted" }
            }
        };
        let before = record.foreign().and_then(store::foreign::address);
        let state = driver.refreshed(instance).await?.data.get("Driver").cloned();
        if let (Part::Foreign(Value::Object(document)), Some(state)) = (&mut record.part, state)
            && document.get("Driver") != Some(&state)
        {
            document.insert("Driver".to_owned(), state);
            self.store.save(&record)?;
        }
        if matches!(power, Power::Start | Power::Restart) {
            self.await_engine(&record).await;
            let after = record.foreign().and_then(store::foreign::address);
            if before.is_some() && before != after {
                self.ui.warning(&format!(
                    "Its address is {} now, which its engine's certificate does not name",
                    after.unwrap_or_default()
                ));
            }
        }
        self.ui.status(&format!("Machine \"{name}\" {done}."));
        Ok(())
    }

    /// Its engine is not ours: when it does not come, that is told and no failure.
    async fn await_engine(&self, record: &Record) {
        let Some(endpoint) = record.foreign().and_then(store::foreign::endpoint) else { return };
        self.ui.status("Waiting for machine to be running, this may take a few minutes...");
        let deadline = Instant::now() + READY_LIMIT;
        while Instant::now() < deadline {
            if matches!(timeout(RETRY, TcpStream::connect(&endpoint.address)).await, Ok(Ok(_))) {
                return;
            }
            sleep(RETRY).await;
        }
        self.ui.warning(&format!("Nobody answers at {}", endpoint.url()));
    }
}
