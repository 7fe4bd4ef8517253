//! Clients that are there for builds, by the id that both their connections name.

use super::session::Session;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};

/// A build may come before the session that it names.
const PATIENCE: Duration = Duration::from_secs(10);

/// All that are connected.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    connected: Mutex<HashMap<String, Arc<Session>>>,
    arrived: Notify,
}

impl Sessions {
    /// A client has connected; it is forgotten when it has gone.
    pub(super) fn add(
        &self,
        id: String,
        key: String,
        methods: HashSet<String>,
        channel: Channel,
        gone: CancellationToken,
    ) {
        let session = Arc::new(Session::new(key, methods, channel, gone.clone()));
        self.lock().insert(id.clone(), Arc::clone(&session));
        self.0.arrived.notify_waiters();
        let this = self.clone();
        tokio::spawn(async move {
            gone.cancelled().await;
            let mut connected = this.lock();
            // Unless it has come back meanwhile.
            if connected.get(&id).is_some_and(|known| Arc::ptr_eq(known, &session)) {
                connected.remove(&id);
            }
        });
    }

    /// The client with that id, as soon as it is there.
    pub(super) async fn get(&self, id: &str) -> Result<Arc<Session>, Status> {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let arrived = self.0.arrived.notified();
                tokio::pin!(arrived);
                // Before looking: whoever comes after that wakes us.
                arrived.as_mut().enable();
                if let Some(session) = self.lock().get(id).cloned() {
                    return session;
                }
                arrived.await;
            }
        });
        found.await.map_err(|_| Status::unknown(format!("no active session for {id}")))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.0.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
