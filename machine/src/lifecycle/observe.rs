//! What a machine is doing now, for commands that only look. Never fails: what is wrong is part of
//! what is seen.

use super::{Lifecycle, Readiness, foreign, unfinished};
use crate::{
    endpoint::{Endpoint, TlsEndpoint},
    machine::MachineName,
    store::{self, MachineLock, OwnPart, Record, Stage},
};
use machine_drivers::{DriverError, InstanceState};
use std::{fmt, time::Duration};
use tokio::{net::TcpStream, time::timeout};

/// A machine as seen.
#[derive(Debug)]
pub struct Observation {
    /// Its name.
    pub name: MachineName,
    /// Its record, when it can be read.
    pub record: Option<Record>,
    /// What it is doing.
    pub state: State,
    /// What is wrong with it.
    pub error: Option<String>,
    /// Where its Engine API is served, when it is running.
    pub endpoint: Option<Endpoint>,
    /// Its engine answers there.
    pub ready: bool,
}

/// A machine's state, in docker-machine's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// What the driver says of the instance.
    Instance(InstanceState),
    /// The driver did not say in time.
    Timeout,
}

impl Lifecycle<'_> {
    /// Looks at a machine, for at most `limit`. A running machine that nobody looks after gets a keeper,
    /// but its guest is not waited for.
    pub async fn observe(&self, name: &MachineName, limit: Duration) -> Observation {
        let seen = Observation {
            name: name.clone(),
            record: None,
            state: State::Instance(InstanceState::Error),
            error: None,
            endpoint: None,
            ready: false,
        };
        let record = match self.store.load(name) {
            Ok(record) => record,
            Err(error) => {
                let error = crate::error::CommandError::from(error);
                let sentences = std::iter::once(error.message).chain(error.causes).collect::<Vec<_>>();
                return Observation { error: Some(sentences.join(": ")), ..seen };
            }
        };
        let seen = Observation { record: Some(record.clone()), ..seen };
        if let Some(machine) = self.adopted(&record) {
            return self.observe_adopted(&machine, seen, limit).await;
        }
        if let Some(endpoint) = record.foreign().and_then(store::foreign::endpoint) {
            return observe_foreign(endpoint, seen, limit).await;
        }
        match timeout(limit, self.observe_record(&record)).await {
            Ok((state, Ok(()))) => self.observe_guest(Observation { state, ..seen }, limit).await,
            Ok((state, Err(error))) => Observation { state, error: Some(error), ..seen },
            Err(_) => Observation { state: State::Timeout, ..seen },
        }
    }

    async fn observe_record(&self, record: &Record) -> (State, Result<(), String>) {
        let name = &record.name;
        let broken = |error: String| (State::Instance(InstanceState::Error), Err(error));
        let Some(own) = record.own() else { return broken(foreign(name, &record.driver).message) };
        let driver = match self.drivers.get(&record.driver) {
            Ok(driver) => driver,
            Err(error) => return broken(error.to_string()),
        };
        let instance = match own {
            OwnPart { state: Stage::Created, instance: Some(instance), .. } => instance,
            own if MachineLock::is_held(&self.store.folder(name)) => {
                let under_way = if own.state == Stage::Removing {
                    InstanceState::Stopping
                } else {
                    InstanceState::Starting
                };
                return (State::Instance(under_way), Ok(()));
            }
            own => return broken(unfinished(name, own.state)),
        };
        match driver.state(instance).await {
            Ok(InstanceState::Error) => broken(format!(
                "The VM ended though nobody stopped it; see machine logs {name}, start it with machine start {name}"
            )),
            Ok(state) => (State::Instance(state), Ok(())),
            Err(error @ DriverError::NotFound { .. }) => {
                broken(format!("{error}; remove the record with machine rm {name}"))
            }
            Err(error) => broken(error.to_string()),
        }
    }

    async fn observe_guest(&self, seen: Observation, limit: Duration) -> Observation {
        if seen.state != State::Instance(InstanceState::Running) {
            return seen;
        }
        let folder = self.store.folder(&seen.name);
        let readiness = timeout(limit, async {
            match self.guests.readiness(&folder).await? {
                None => self.guests.adopt(&seen.name, &folder).await.map(|()| None),
                readiness => Ok(readiness),
            }
        })
        .await;
        let (ready, error) = match readiness {
            Ok(Ok(Some(Readiness::Ready))) => (true, None),
            Ok(Ok(Some(Readiness::Failed(message)))) => (false, Some(message)),
            Ok(Ok(_)) => (false, None),
            Ok(Err(error)) => (false, Some(error.to_string())),
            Err(_) => (false, Some("Its keeper does not answer".to_owned())),
        };
        let endpoint = Some(Endpoint::Socket(self.guests.api_socket(&folder)));
        Observation { endpoint, ready, error, ..seen }
    }
}

/// A machine of docker-machine's, of which only the engine's port can be looked at.
async fn observe_foreign(endpoint: TlsEndpoint, seen: Observation, limit: Duration) -> Observation {
    match timeout(limit, TcpStream::connect(&endpoint.address)).await {
        Ok(Ok(_)) => Observation {
            state: State::Instance(InstanceState::Running),
            endpoint: Some(Endpoint::Tls(endpoint)),
            ready: true,
            ..seen
        },
        Ok(Err(error)) => Observation {
            state: State::Instance(InstanceState::Stopped),
            error: Some(format!("Could not connect to {}: {error}", endpoint.url())),
            ..seen
        },
        Err(_) => Observation { state: State::Timeout, ..seen },
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance(state) => state.fmt(f),
            Self::Timeout => f.write_str("Timeout"),
        }
    }
}
