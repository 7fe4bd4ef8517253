//! BuildKit's door: stages side by side, steps in a cache of their own, and one image at the end.
//!
//! ```text
//!  solve ─▶ Dockerfile and .dockerignore from the client ─▶ plan ─▶ needed stages, each when what it stands on
//!        is done ─▶ Solved ─▶ export: an image, or files for the client
//! ```

mod caches;
mod client;
mod definition;
mod exchange;
mod export;
mod mirror;
mod passing;
mod progress;
mod pull;
mod questions;
mod remote;
mod run;
mod shared_work;
mod usage;
mod usage_filter;

pub use caches::CacheFolder;
pub(super) use caches::Caches;
pub use client::{BuildClient, Duplex, EntryKind, FileEntry, FileSink, FolderRequest};
pub use definition::own_frontend;
pub use export::Files;
pub(super) use mirror::Mirrors;
pub use progress::{Event, Excerpt, Notice, Vertex, VertexStatus, Watcher};
pub use questions::Told;
pub(super) use shared_work::SharedWork;
pub use usage::{PruneRequest, Usage, UsageKind};
pub use usage_filter::UsageFilter;

use super::{
    BuildFailure, Builder,
    base::PullWatcher,
    front::{Front, Made, Named, Process, Ran, Step, StepKey, Trouble},
    plan::Base,
    remote::Remote,
    stage::{Build, BuildRequest, State},
    tree::Tree,
};
use crate::{
    error::{EngineError, Result},
    image::{
        SharedCache, SharedStep, SharedSteps,
        build_steps::StepRecord,
        config::{EMPTY_LAYER, HistoryEntry, digest},
    },
    registry::Credentials,
};
use async_trait::async_trait;
use definition::{TEXT, Understood, patterns, plan, with_line};
use futures_util::future::join_all;
use jiff::Timestamp;
use progress::{Task, Teller};
use pull::{Pulling, credentials};
use shared_work::Making;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

const COMMENT: &str = "buildkit.dockerfile.v0";

/// What a client of BuildKit asks for.
#[derive(Clone, Debug, Default)]
pub struct SolveRequest {
    /// The build's name.
    pub id: String,
    pub build: BuildRequest,
    /// An archive or Dockerfile to be fetched from the client's stdin, instead of its folder.
    pub upload: Option<String>,
    /// The URL of a context that is not the client's.
    pub remote: Option<String>,
    /// The Dockerfile is the client's even so.
    pub own_dockerfile: bool,
    /// `--build-context`: `docker-image://…` or `local:…` by name.
    pub contexts: BTreeMap<String, String>,
    /// Finished builds that contexts mean, by name.
    pub inputs: BTreeMap<String, Arc<Solved>>,
    /// What the client calls its folders.
    pub context_folder: String,
    pub dockerfile_folder: String,
    /// Commands may ask for the host's network.
    pub host_network: bool,
    /// Names in registries under which steps may be found.
    pub cache_from: Vec<String>,
    /// Things that are asked for and not done, each a sentence for the user.
    pub warnings: Vec<String>,
}

/// A finished build that is not exported yet.
#[derive(Debug)]
pub struct Solved {
    state: State,
    /// Of all stages.
    steps: SharedSteps,
    teller: Teller,
}

#[derive(Debug)]
struct Door<'a> {
    request: &'a SolveRequest,
    client: &'a dyn BuildClient,
    teller: Teller,
    cancel: CancellationToken,
    /// Patterns of the ignore file.
    ignore: Vec<String>,
    /// What the Dockerfile may want of the context; `None` is everything.
    wanted: Option<Vec<String>>,
    uploaded: Option<Arc<Tree>>,
    context: OnceCell<Arc<Tree>>,
    whole_context: OnceCell<Arc<Tree>>,
    named: tokio::sync::Mutex<HashMap<String, Arc<Tree>>>,
    /// Steps that are being worked on.
    tasks: Mutex<HashMap<Place, Task>>,
    /// Steps that were found.
    used: Mutex<BTreeSet<String>>,
    /// Rights to make steps, until they are made.
    making: Mutex<HashMap<Place, Making>>,
    /// Caches in registries.
    caches: Vec<SharedCache>,
    /// When everything is to have happened, if the client says so.
    epoch: Option<String>,
    /// Images that stages stand on, by the first stage that does.
    bases: Mutex<HashMap<String, usize>>,
}

/// Stage, instruction and trigger.
type Place = (usize, usize, Option<usize>);

impl Builder {
    /// Builds up to the target. A failure carries its lines and, in `text`, the Dockerfile.
    pub async fn solve(
        &self,
        request: &SolveRequest,
        client: &dyn BuildClient,
        watcher: Arc<dyn Watcher>,
        cancel: CancellationToken,
    ) -> Result<Solved, SolveFailure> {
        let teller = Teller::new(watcher, &request.id);
        // Layers of stages must not be swept from under a build.
        let held = self.images.hold_layers().await;
        let solved = self.solve_held(request, client, &teller, cancel).await;
        drop(held);
        if let Err(error) = self.collect_garbage().await {
            tracing::warn!(%error, "The build cache is larger than it should be");
        }
        let (state, steps) = solved?;
        Ok(Solved { state, steps, teller })
    }

    async fn solve_held(
        &self,
        request: &SolveRequest,
        client: &dyn BuildClient,
        teller: &Teller,
        cancel: CancellationToken,
    ) -> Result<(State, SharedSteps), SolveFailure> {
        let workspace = self.workspace().await?;
        let definition = self.definition(request, client, teller, &workspace, &cancel).await?;
        let located = |failure| definition.failed(request, failure);
        let epoch = definition::epoch(request)?;
        let planned = plan(request, &definition.dockerfile, &request.build.target);
        let understood = planned.map_err(|error| located(with_line(error)))?;
        self.lint(request, &definition, &understood, teller).await.map_err(located)?;
        let Understood { plan, arguments, .. } = understood;
        let door = Door {
            request,
            client,
            teller: teller.clone(),
            cancel,
            ignore: definition.ignore.clone(),
            epoch,
            wanted: plan.wanted(),
            uploaded: definition.uploaded.clone(),
            context: OnceCell::new(),
            whole_context: OnceCell::new(),
            named: tokio::sync::Mutex::default(),
            tasks: Mutex::default(),
            used: Mutex::default(),
            bases: Mutex::default(),
            making: Mutex::default(),
            caches: self.shared_caches(request, client, teller).await,
        };
        let build = Build::new(self, &request.build, &door, plan, arguments, workspace);
        let built = door.stages(&build).await;
        let used = std::mem::take(&mut *door.used.lock().unwrap_or_else(PoisonError::into_inner));
        self.images.touch_steps(&used).await;
        let mut state = built.map_err(located)?;
        for (name, value) in &request.build.labels {
            state.config.labels.get_or_insert_default().insert(name.clone(), value.clone());
        }
        let steps = build.finished().flat_map(|state| state.steps.clone()).collect();
        Ok((state, steps))
    }
}

/// A build that failed, with what there is to show of its Dockerfile.
#[derive(Debug)]
pub struct SolveFailure {
    pub failure: BuildFailure,
    /// Empty when it was not read.
    pub dockerfile: String,
    pub name: String,
}

impl From<EngineError> for SolveFailure {
    fn from(error: EngineError) -> Self {
        Self { failure: error.into(), dockerfile: String::new(), name: String::new() }
    }
}

impl Door<'_> {
    /// Builds what the target needs, side by side; the first failure ends it all.
    async fn stages(&self, build: &Build<'_>) -> Result<State, BuildFailure> {
        for warning in &self.request.warnings {
            let task = self.teller.begin("[internal] checking what was asked for");
            task.warn(warning);
            task.done();
        }
        let needed = build.plan.needed();
        let first = Mutex::new(None);
        let stages = (0..needed.len()).filter(|index| needed[*index]).map(|index| {
            let first = &first;
            async move {
                if let Err(failure) = build.stage(index).await {
                    // Those that fail because of it come later.
                    first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
                    self.cancel.cancel();
                }
            }
        });
        join_all(stages).await;
        if let Some(failure) = first.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(failure);
        }
        build.stage(build.plan.target()).await.cloned()
    }

    /// A build argument that the client gave, which is for the builder itself.
    fn argument(&self, name: &str) -> Option<&str> {
        self.request.build.arguments.get(name)?.as_deref()
    }

    fn tasks<T>(&self, change: impl FnOnce(&mut HashMap<Place, Task>) -> T) -> T {
        change(&mut self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn with_task(&self, step: &Step, work: impl FnOnce(&mut Task)) {
        self.tasks(|tasks| tasks.get_mut(&key_of(step)).map(work));
    }

    /// Whether the stage is the first that stands on its image: what is told about that is told once.
    fn is_first_on(&self, image: &str, stage: usize) -> bool {
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        *bases.entry(image.to_owned()).or_insert(stage) == stage
    }

    /// `[builder 2/5] RUN make`; `None` for what makes no layer.
    fn title(&self, build: &Build<'_>, step: &Step) -> Option<String> {
        let stage = &build.plan.stages[step.stage];
        let name = match (&stage.name, build.plan.names.len()) {
            (_, 1) => String::new(),
            (Some(name), _) => format!("{name} "),
            (None, _) => format!("stage-{} ", step.stage),
        };
        let text = uniform(&step.text);
        if step.trigger.is_some() {
            return Some(format!("[{name}ONBUILD] {text}"));
        }
        let (number, total) = build.plan.place(step.stage, step.index)?;
        let width = total.to_string().len();
        let text = match (&stage.base, step.index) {
            (Base::Image(image), 0) => format!("FROM {}", full_name(image)),
            _ => text,
        };
        Some(format!("[{name}{number:width$}/{total}] {text}"))
    }

    /// Puts a step on the stage.
    fn advance(&self, state: &mut State, key: &StepKey, digest: &str, record: &StepRecord) {
        state.history.push(HistoryEntry {
            created: Some(self.epoch.clone().unwrap_or_else(|| record.created.clone())),
            created_by: Some(key.created_by.clone()),
            comment: Some(COMMENT.to_owned()),
            empty_layer: record.layer.is_none(),
            ..HistoryEntry::default()
        });
        state.layers.extend(record.layer.clone());
        let step = SharedStep {
            layer: record.layer.clone(),
            created: record.created.clone(),
            description: record.description.clone(),
        };
        state.steps.insert(digest.to_owned(), step);
        state.key = match key.link {
            true => named_digest(&format!("{} {digest}", state.key)),
            false => digest.to_owned(),
        };
    }

    async fn sync(&self, build: &Build<'_>, follow: Vec<String>) -> Result<Arc<Tree>> {
        let task = self.teller.begin("[internal] load build context");
        let started = SystemTime::now();
        let wanted =
            FolderRequest { name: self.request.context_folder.clone(), follow, exclude: self.ignore.clone() };
        let synced = tokio::select! {
            () = self.cancel.cancelled() => Err(Build::gone().error),
            synced = build.builder.mirrors.sync(self.client, wanted) => synced,
        };
        if let Ok(synced) = &synced {
            task.note("transferring context:", synced.sent, started);
        }
        task.ended(&synced);
        Ok(synced?.tree)
    }

    async fn files_called(&self, build: &Build<'_>, name: &str, folder: &str) -> Result<Arc<Tree>> {
        let mut known = self.named.lock().await;
        if let Some(tree) = known.get(name) {
            return Ok(Arc::clone(tree));
        }
        let task = self.teller.begin(format!("[context {name}] load from client"));
        let started = SystemTime::now();
        let mirrors = &build.builder.mirrors;
        let wanted = FolderRequest { name: folder.to_owned(), ..FolderRequest::default() };
        let ignore = FolderRequest { follow: vec![".dockerignore".to_owned()], ..wanted.clone() };
        let synced = async {
            let ignore = mirrors.peek(self.client, ignore).await?;
            let exclude = patterns(&ignore.tree.text(".dockerignore", TEXT)?.unwrap_or_default());
            mirrors.sync(self.client, FolderRequest { exclude, ..wanted }).await
        }
        .await;
        if let Ok(synced) = &synced {
            task.note(format!("transferring {name}:"), synced.sent, started);
        }
        task.ended(&synced);
        let tree = synced?.tree;
        known.insert(name.to_owned(), Arc::clone(&tree));
        Ok(tree)
    }
}

#[async_trait]
impl Front for Door<'_> {
    async fn begin(&self, build: &Build<'_>, step: &Step) -> Result<(), BuildFailure> {
        let stage = &build.plan.stages[step.stage];
        let title = match (&stage.base, step.index, step.trigger) {
            // What comes first is to find out what the image is.
            (Base::Image(image), 0, None) => self
                .is_first_on(image, step.stage)
                .then(|| format!("[internal] load metadata for {}", full_name(image))),
            _ => self.title(build, step),
        };
        if let Some(title) = title {
            let task = self.teller.begin(title);
            self.tasks(|tasks| tasks.insert(key_of(step), task));
        }
        Ok(())
    }

    async fn cached(&self, step: &Step) -> Result<(), BuildFailure> {
        self.with_task(step, Task::cached);
        Ok(())
    }

    async fn end(
        &self,
        build: &Build<'_>,
        step: &Step,
        _state: &State,
        failure: Option<&BuildFailure>,
    ) -> Result<(), BuildFailure> {
        drop(self.making.lock().unwrap_or_else(PoisonError::into_inner).remove(&key_of(step)));
        let Some(task) = self.tasks(|tasks| tasks.remove(&key_of(step))) else { return Ok(()) };
        match failure {
            Some(failure) => task.failed(&failure.error),
            None => task.done(),
        }
        if let (Base::Image(_), 0, None, None) =
            (&build.plan.stages[step.stage].base, step.index, step.trigger, failure)
            && let Some(title) = self.title(build, step)
        {
            self.teller.begin(title).done();
        }
        Ok(())
    }

    async fn note(&self, build: &Build<'_>, step: &Step, _text: String) -> Result<(), BuildFailure> {
        // What the image wants to have done comes after it.
        self.end(build, step, &State::default(), None).await
    }

    async fn find(&self, build: &Build<'_>, step: &Step, state: &mut State, key: &StepKey) -> Result<bool> {
        if key.content.is_empty() {
            return Ok(false);
        }
        let digest = step_digest(state, key);
        let mut found = build.builder.images.step(&digest);
        if found.is_none() {
            let (making, waited) = tokio::select! {
                () = self.cancel.cancelled() => return Err(Build::gone().error),
                claimed = build.builder.shared_work.claim(&digest) => claimed,
            };
            if waited {
                found = build.builder.images.step(&digest);
            }
            if found.is_none() {
                found = self.find_elsewhere(build, state, &digest).await;
            }
            if found.is_none() {
                let mut all = self.making.lock().unwrap_or_else(PoisonError::into_inner);
                all.insert(key_of(step), making);
            }
        }
        let Some(record) = found else { return Ok(false) };
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.clone());
        self.advance(state, key, &digest, &record);
        Ok(true)
    }

    async fn keep(
        &self,
        build: &Build<'_>,
        step: &Step,
        state: &mut State,
        key: StepKey,
        made: Made,
    ) -> Result<(), BuildFailure> {
        if key.created_by.is_empty() {
            return Ok(());
        }
        if key.content.is_empty() {
            state.history.push(HistoryEntry {
                created: self.epoch.clone(),
                created_by: Some(key.created_by),
                comment: Some(COMMENT.to_owned()),
                empty_layer: true,
                ..HistoryEntry::default()
            });
            return Ok(());
        }
        let digest = step_digest(state, &key);
        let layer = made.layer.filter(|layer| layer.diff_id != EMPTY_LAYER);
        let record = StepRecord {
            size: layer.as_ref().map_or(0, |layer| layer.size),
            layer: layer.map(|layer| layer.diff_id),
            created: Timestamp::now().to_string(),
            used_at: Timestamp::now().as_second(),
            uses: 1,
            description: step.text.clone(),
            parent: Some(state.key.clone()).filter(|key| key.starts_with("sha256:")),
        };
        self.advance(state, &key, &digest, &record);
        state.fresh = true;
        build.builder.images.keep_step(digest, record).await?;
        Ok(())
    }

    async fn run(
        &self,
        build: &Build<'_>,
        step: &Step,
        state: &State,
        process: Process,
    ) -> Result<Ran, BuildFailure> {
        self.run_process(build, step, state, process).await
    }

    async fn context(&self, build: &Build<'_>, step: &Step) -> Result<Arc<Tree>, BuildFailure> {
        if let Some(tree) = &self.uploaded {
            return Ok(Arc::clone(tree));
        }
        // What images want to have done by those who build on them is not in the Dockerfile.
        let tree = match (&self.wanted, step.trigger) {
            (Some(wanted), None) => self.context.get_or_try_init(|| self.sync(build, wanted.clone())).await?,
            _ => self.whole_context.get_or_try_init(|| self.sync(build, Vec::new())).await?,
        };
        Ok(Arc::clone(tree))
    }

    async fn named(&self, build: &Build<'_>, name: &str) -> Result<Option<Named>, BuildFailure> {
        let contexts = &self.request.contexts;
        let lower = name.to_ascii_lowercase();
        let Some(source) = contexts.get(name).or_else(|| contexts.get(&lower)) else { return Ok(None) };
        if let Some(image) = source.strip_prefix("docker-image://") {
            return Ok(Some(Named::Image(image.to_owned())));
        }
        if let Some(name) = source.strip_prefix("input:") {
            let found = self.request.inputs.get(name).cloned();
            let missing = || EngineError::invalid(format!("the build context {name} was not handed over"));
            return Ok(Some(Named::Built(found.ok_or_else(missing)?)));
        }
        if let Some(folder) = source.strip_prefix("local:") {
            return Ok(Some(Named::Files(self.files_called(build, name, folder).await?)));
        }
        if let Ok(Some(_)) = Remote::of(source) {
            return Ok(Some(Named::Files(self.files_at(build, name, source).await?)));
        }
        Err(EngineError::not_implemented(format!(
            "the build context {name}={source} is not supported by this engine: folders of the client, \
             docker-image://, archives and git repositories by their URLs are"
        ))
        .into())
    }

    fn client(&self) -> Option<&dyn BuildClient> {
        Some(self.client)
    }

    async fn credentials(&self, _build: &Build<'_>, domain: &str) -> Result<Credentials> {
        credentials(self.client, domain).await
    }

    fn pulling(&self, image: &str) -> Box<dyn PullWatcher> {
        Box::new(Pulling::new(self.teller.begin(format!("[internal] pull {image}"))))
    }

    fn is_lenient(&self) -> bool {
        true
    }

    fn trouble(&self, trouble: Trouble<'_>) -> EngineError {
        EngineError::invalid(match trouble {
            Trouble::Exit { words, code } => {
                format!("process {:?} did not complete successfully: exit code: {code}", words.join(" "))
            }
            Trouble::NoImage { image, full, error } => {
                format!("{image}: failed to resolve source metadata for {full}: {error}")
            }
            Trouble::NoStage { from, itself: true } => {
                let number = from.parse::<usize>().map_or("", |_| "stage-");
                format!("circular dependency detected on stage: {number}{from}")
            }
            Trouble::NoStage { from, .. } => format!("invalid stage index {from}"),
            Trouble::NoDownload { error } => format!("failed to load cache key: {error}"),
            Trouble::NoSource { path, .. } => format!(
                "failed to compute cache key: failed to calculate checksum of ref {}: {:?}: not found",
                self.request.id,
                format!("/{}", super::tree::clean(path))
            ),
        })
    }

    fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }
}

/// With its keyword in capitals.
fn uniform(text: &str) -> String {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    format!("{}{}", text[..end].to_ascii_uppercase(), &text[end..])
}

/// What a step is found by: everything below it, unless its layer does not depend on that.
fn step_digest(state: &State, key: &StepKey) -> String {
    let below = if key.link { "link" } else { state.key.as_str() };
    named_digest(&format!("{below}\n{}", key.content))
}

fn named_digest(text: &str) -> String {
    digest(text.as_bytes())
}

fn key_of(step: &Step) -> Place {
    (step.stage, step.index, step.trigger)
}

/// `docker.io/library/busybox:latest`
fn full_name(image: &str) -> String {
    match image.parse::<crate::image::Reference>() {
        Ok(reference) => reference.or_latest().to_string(),
        Err(_) => image.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_does_not_depend_on_what_is_below() {
        let key = |link| StepKey { content: "COPY x".into(), link, ..StepKey::default() };
        let (one, two) =
            (State { key: "a".into(), ..State::default() }, State { key: "b".into(), ..State::default() });
        assert_eq!(step_digest(&one, &key(true)), step_digest(&two, &key(true)));
        assert_ne!(step_digest(&one, &key(false)), step_digest(&two, &key(false)));
    }
}
