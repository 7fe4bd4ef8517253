//! Pulls and pushes as BuildKit's clients see them: counters within a vertex, and passwords from the session.

use super::{BuildClient, progress::Task};
use crate::{
    build::base::PullWatcher,
    error::{EngineError, Result},
    image::Progress,
    registry::Credentials,
};
use std::{collections::HashMap, time::SystemTime};

/// What clients know the Hub by.
const HUB: &str = "registry-1.docker.io";

/// What the client would show the registry of `domain`.
pub(super) async fn credentials(client: &dyn BuildClient, domain: &str) -> Result<Credentials> {
    let host = if domain == "docker.io" { HUB } else { domain };
    let known = client.credentials(host).await?;
    Ok(known.map(|(user, secret)| Credentials::of(&user, &secret)).unwrap_or_default())
}

/// A pull or push that goes on.
#[derive(Debug)]
pub(super) struct Pulling {
    task: Task,
    /// When each layer began.
    began: HashMap<String, SystemTime>,
}

impl Pulling {
    pub(super) fn new(task: Task) -> Self {
        Self { task, began: HashMap::new() }
    }
}

impl PullWatcher for Pulling {
    fn tell(&mut self, progress: Progress) {
        let Progress::Layer { id, action, amount } = progress else { return };
        let began = *self.began.entry(id.clone()).or_insert_with(SystemTime::now);
        let ended =
            matches!(&*action, "Pull complete" | "Already exists" | "Pushed" | "Layer already exists");
        let (current, total) = amount.unwrap_or((0, 0));
        self.task.count(id, current, total, began, ended);
    }

    fn ended(self: Box<Self>, error: Option<&EngineError>) {
        match error {
            Some(error) => self.task.failed(error),
            None => self.task.done(),
        }
    }
}
