//! Steps that builds share through registries: `--cache-from`, and `--cache-to` with `inline` or `registry`.

use super::{
    BuildClient, Door, SolveRequest, Solved, Teller,
    passing::Passing,
    pull::{Pulling, credentials},
};
use crate::{
    build::{
        BuildFailure, Builder,
        base::PullWatcher,
        stage::{Build, State},
    },
    error::{EngineError, Result},
    image::{Assembled, PushRequest, Reference, SharedCache, SharedSteps, build_steps::StepRecord, progress},
};
use jiff::Timestamp;
use std::collections::BTreeSet;

impl Builder {
    /// Opens what the client names. One that cannot be read is said to be so, and not used.
    pub(super) async fn shared_caches(
        &self,
        request: &SolveRequest,
        client: &dyn BuildClient,
        teller: &Teller,
    ) -> Vec<SharedCache> {
        let mut caches = Vec::new();
        for name in &request.cache_from {
            let task = teller.begin(format!("importing cache manifest from {name}"));
            let opened = self.shared_cache(name, client).await;
            task.ended(&opened);
            caches.extend(opened.ok());
        }
        caches
    }

    async fn shared_cache(&self, name: &str, client: &dyn BuildClient) -> Result<SharedCache> {
        let reference = name.parse::<Reference>()?.or_latest();
        let credentials = credentials(client, reference.domain()).await?;
        self.images.open_cache(&self.registries, &reference, &credentials).await
    }

    /// Pushes the layers of the build as a cache: those of its target, or of all its stages.
    pub async fn export_cache(
        &self,
        solved: &Solved,
        client: &dyn BuildClient,
        name: &str,
        all: bool,
    ) -> Result<(), BuildFailure> {
        let task = solved.teller.begin("exporting cache to registry");
        let mut watcher = Pulling::new(task);
        let exported = self.push_cache(solved, client, name, all, &mut watcher).await;
        Box::new(watcher).ended(exported.as_ref().err());
        Ok(exported?)
    }

    async fn push_cache(
        &self,
        solved: &Solved,
        client: &dyn BuildClient,
        name: &str,
        all: bool,
        watcher: &mut Pulling,
    ) -> Result<()> {
        let reference = name.parse::<Reference>()?.or_latest();
        let credentials = credentials(client, reference.domain()).await?;
        let steps = if all { &solved.steps } else { &solved.state.steps };
        let layers: BTreeSet<&String> = steps.values().filter_map(|step| step.layer.as_ref()).collect();
        let assembled = Assembled {
            layers: layers.into_iter().cloned().collect(),
            steps: steps.clone(),
            ..Assembled::default()
        };
        let held = self.images.hold_layers().await;
        let (id, passing) = Passing::assemble(&self.images, assembled).await?;
        let request = PushRequest { reference, credentials };
        let (sender, mut lines) = progress();
        let work = async {
            let pushed = self.images.push_as(&self.registries, &id, &request, &sender).await;
            drop(sender);
            pushed
        };
        let relay = async {
            while let Some(line) = lines.recv().await {
                watcher.tell(line);
            }
        };
        let (pushed, ()) = tokio::join!(work, relay);
        drop(held);
        passing.go().await;
        pushed
    }
}

impl Solved {
    /// What its target has become.
    pub(in crate::build) fn state(&self) -> &State {
        &self.state
    }

    /// What the image itself is to bring to later builds.
    pub(super) fn inline(&self, wanted: bool) -> SharedSteps {
        if wanted { self.state.steps.clone() } else { SharedSteps::default() }
    }
}

impl Door<'_> {
    /// The step as another engine has made it, its layer fetched.
    pub(super) async fn find_elsewhere(
        &self,
        build: &Build<'_>,
        state: &State,
        digest: &str,
    ) -> Option<StepRecord> {
        for cache in &self.caches {
            let Some(step) = cache.step(digest) else { continue };
            let taken = async {
                let size = match &step.layer {
                    Some(layer) => build.builder.images.cached_layer(cache, layer).await?.size,
                    None => 0,
                };
                let record = StepRecord {
                    layer: step.layer.clone(),
                    size,
                    created: step.created.clone(),
                    used_at: Timestamp::now().as_second(),
                    uses: 1,
                    description: step.description.clone(),
                    parent: Some(state.key.clone()).filter(|key| key.starts_with("sha256:")),
                };
                build.builder.images.keep_step(digest.to_owned(), record.clone()).await?;
                Ok::<_, EngineError>(record)
            };
            match taken.await {
                Ok(record) => return Some(record),
                Err(error) => tracing::warn!(%error, "A cached step is made anew"),
            }
        }
        None
    }
}
