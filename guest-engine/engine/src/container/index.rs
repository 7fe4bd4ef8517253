//! Which containers there are, by id and by name. A plain lock, held for look-ups only.

use super::{actor::Request, record::Observed};
use crate::error::{EngineError, Result};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{mpsc, watch};

/// How to reach one container.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    pub(super) id: String,
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) observed: watch::Receiver<Observed>,
}

#[derive(Debug, Default)]
pub(super) struct Index(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    handles: BTreeMap<String, Handle>,
    /// Name to id; also of containers that are still being made.
    names: HashMap<String, String>,
}

impl Index {
    /// Takes `name` for `id`; 409 when somebody else has it.
    pub(super) fn reserve(&self, name: &str, id: &str) -> Result<()> {
        let mut inner = self.lock();
        match inner.names.get(name) {
            Some(owner) if owner != id => Err(EngineError::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". You have to \
                 remove (or rename) that container to be able to reuse that name."
            ))),
            _ => {
                inner.names.insert(name.to_owned(), id.to_owned());
                Ok(())
            }
        }
    }

    /// Gives `name` back if it is `id`'s.
    pub(super) fn release(&self, name: &str, id: &str) {
        let mut inner = self.lock();
        if inner.names.get(name).is_some_and(|owner| owner == id) {
            inner.names.remove(name);
        }
    }

    pub(super) fn insert(&self, handle: Handle) {
        self.lock().handles.insert(handle.id.clone(), handle);
    }

    /// Forgets the container and every name of it.
    pub(super) fn remove(&self, id: &str) {
        let mut inner = self.lock();
        inner.handles.remove(id);
        inner.names.retain(|_, owner| owner != id);
    }

    /// Finds by full id, name (with or without slash) or unambiguous start of an id, in this order.
    pub(super) fn find(&self, key: &str) -> Result<Handle> {
        let inner = self.lock();
        let missing = || EngineError::not_found(format!("No such container: {key}"));
        if let Some(handle) = inner.handles.get(key) {
            return Ok(handle.clone());
        }
        let name = key.strip_prefix('/').unwrap_or(key);
        if let Some(handle) = inner.names.get(name).and_then(|id| inner.handles.get(id)) {
            return Ok(handle.clone());
        }
        if key.is_empty() {
            return Err(EngineError::invalid("invalid name or ID supplied: \"\""));
        }
        let mut matching = inner
            .handles
            .range(key.to_owned()..)
            .take_while(|(id, _)| id.starts_with(key))
            .map(|(_, handle)| handle);
        match (matching.next(), matching.next()) {
            (Some(handle), None) => Ok(handle.clone()),
            (Some(_), Some(_)) => {
                Err(EngineError::invalid(format!("multiple IDs found with provided prefix: {key}")))
            }
            (None, _) => Err(missing()),
        }
    }

    /// Every container, in no particular order.
    pub(super) fn all(&self) -> Vec<Handle> {
        self.lock().handles.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
