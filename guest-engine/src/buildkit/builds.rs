//! Builds in progress by their name, which all calls about one carry.

use super::{feed::Feed, request::Caches, session::Session};
use bollard_buildkit_proto::google::rpc;
use engine::build::buildkit::Solved;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Calls about a build may come before the one that begins it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it is remembered for those that come after its end.
const MEMORY: Duration = Duration::from_secs(10);

/// One build.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) session: Option<Arc<Session>>,
    pub(super) caches: Caches,
    /// The client allows commands the host's network.
    pub(super) host_network: bool,
    pub(super) feed: Arc<Feed>,
    /// Cancelled when nobody waits for it any more.
    pub(super) cancel: CancellationToken,
    results: Mutex<HashMap<String, Arc<Solved>>>,
    returns: Mutex<Option<oneshot::Sender<Returned>>>,
}

/// What the client made of the results: the one that it wants exported, or its failure.
pub(super) type Returned = Result<Option<Arc<Solved>>, rpc::Status>;

impl Job {
    pub(super) fn new(
        id: String,
        session: Option<Arc<Session>>,
        caches: Caches,
        host_network: bool,
    ) -> (Arc<Self>, oneshot::Receiver<Returned>) {
        let (sender, receiver) = oneshot::channel();
        let job = Self {
            id,
            session,
            caches,
            host_network,
            feed: Arc::default(),
            cancel: CancellationToken::new(),
            results: Mutex::default(),
            returns: Mutex::new(Some(sender)),
        };
        (Arc::new(job), receiver)
    }

    /// Keeps a result under a name that the client gets.
    pub(super) fn keep(&self, name: String, solved: Arc<Solved>) {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).insert(name, solved);
    }

    /// How many results there are.
    pub(super) fn count(&self) -> usize {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The result of that name.
    pub(super) fn result(&self, name: &str) -> Option<Arc<Solved>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The client is done with it.
    pub(super) fn finish(&self, returned: Returned) {
        let sender = self.returns.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // Nobody waits for it any more, if it fails.
            drop(sender.send(returned));
        }
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Builds(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    jobs: Mutex<HashMap<String, Arc<Job>>>,
    arrived: Notify,
}

/// Ends the build when it is dropped: its client got its answer, or went away.
#[derive(Debug)]
pub(super) struct Running {
    builds: Builds,
    job: Arc<Job>,
}

impl Builds {
    pub(super) fn begin(&self, job: Arc<Job>) -> Running {
        self.lock().insert(job.id.clone(), Arc::clone(&job));
        self.0.arrived.notify_waiters();
        Running { builds: self.clone(), job }
    }

    /// The build with that name, as soon as it has begun.
    pub(super) async fn get(&self, id: &str) -> Result<Arc<Job>, Status> {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let arrived = self.0.arrived.notified();
                tokio::pin!(arrived);
                // Before looking: whoever comes after that wakes us.
                arrived.as_mut().enable();
                if let Some(job) = self.lock().get(id).cloned() {
                    return job;
                }
                arrived.await;
            }
        });
        found.await.map_err(|_| Status::not_found(format!("no such job {id}")))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Job>>> {
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.job.cancel.cancel();
        self.job.feed.end();
        let (builds, id) = (self.builds.clone(), self.job.id.clone());
        // Outside of a runtime the process ends anyway.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(MEMORY).await;
                builds.lock().remove(&id);
            });
        }
    }
}
