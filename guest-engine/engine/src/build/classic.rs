//! The classic builder's door, `POST /build`: stages in order, every step an image on its parent's, and the
//! words of dockerd's builder for all of it. Steps are found again among the images; what a `RUN` runs in is
//! a container like any other.

use super::{
    BuildFailure, Builder, Progress, Workspace,
    arguments::Arguments,
    base::PullWatcher,
    buildkit::BuildClient,
    context::{self, Context},
    dockerfile::{Dockerfile, Line},
    front::{Front, Made, Named, Process, Ran, Step, StepKey, Trouble},
    instruction::{Command, Instruction, Transfer, is_of_words},
    plan::{NO_STAGE, Namesake, Plan},
    remote::Remote,
    stage::{Build, BuildRequest, State},
    tree::Tree,
};
use crate::{
    container::{CreateRequest, WaitCondition},
    error::{EngineError, Result},
    id::{random_id, short},
    image::{CacheSources, Derived, Reference, Wanted},
    ports::{AttachRequest, StreamKind},
    registry::Credentials,
};
use async_trait::async_trait;
use bollard_stubs::models::{ContainerConfig, HealthConfig};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
struct Classic {
    output: mpsc::Sender<Progress>,
    cancel: CancellationToken,
    context: Arc<Tree>,
    /// Steps that have begun, and all of them.
    number: AtomicUsize,
    total: usize,
    containers: Mutex<Containers>,
    /// Where steps are looked for instead of everywhere.
    sources: Option<tokio::sync::Mutex<CacheSources>>,
}

/// Passes on what a pull says.
#[derive(Debug)]
struct Relay(mpsc::Sender<Progress>);

impl PullWatcher for Relay {
    fn tell(&mut self, progress: crate::image::Progress) {
        // Left out when the client is behind: the next one says more.
        drop(self.0.try_send(Progress::Pull(progress)));
    }

    fn ended(self: Box<Self>, _error: Option<&EngineError>) {}
}

#[derive(Debug, Default)]
struct Containers {
    /// That exist in what is said only, to be said gone.
    unreal: Vec<String>,
    /// That were made and are still there.
    left: Vec<String>,
}

impl Builder {
    /// Builds an image and says its id. Ends early when the receiver of `output` is dropped.
    pub async fn build(
        &self,
        request: BuildRequest,
        context: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
        output: mpsc::Sender<Progress>,
    ) -> Result<String, BuildFailure> {
        let names = names(&request.tags)?;
        let cancel = CancellationToken::new();
        let watcher = {
            let (output, cancel) = (output.clone(), cancel.clone());
            tokio::spawn(async move {
                output.closed().await;
                cancel.cancel();
            })
        };
        // Layers of stages must not be swept from under a build.
        let held = self.images.hold_layers().await;
        let built = self.build_held(request, names, context, output, cancel).await;
        watcher.abort();
        drop(held);
        if let Err(error) = self.images.sweep().await {
            tracing::warn!(%error, "Layers that a build does not need are still there");
        }
        built
    }

    async fn build_held(
        &self,
        request: BuildRequest,
        names: Vec<Reference>,
        context: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
        output: mpsc::Sender<Progress>,
        cancel: CancellationToken,
    ) -> Result<String, BuildFailure> {
        let workspace = self.workspace().await?;
        let received = tokio::select! {
            () = cancel.cancelled() => return Err(Build::gone()),
            received = self.received(&workspace, context, &request, &cancel) => received?,
        };
        let dockerfile = Dockerfile::parse(&received.dockerfile).map_err(of_parsing)?;
        let mut arguments = Arguments::new(request.arguments.clone());
        let mut plan = Plan::new(&dockerfile, &mut arguments).map_err(of_parsing)?;
        only_classic(&plan)?;
        plan.stop_at(&request.target, Namesake::First)?;
        if let Some(last) = plan.stages.last_mut() {
            for (name, value) in &request.labels {
                last.instructions.push(Instruction {
                    lines: (0, 0),
                    text: format!("LABEL {name}={value}"),
                    // Values come as they are to be: nothing in them is replaced.
                    command: Command::Label(vec![(quoted(name), quoted(value))]),
                });
            }
        }
        let steps = plan.stages.iter().map(|stage| stage.instructions.len()).sum::<usize>();
        let front = Classic {
            total: plan.meta.len() + steps,
            number: AtomicUsize::new(0),
            context: Arc::new(received.tree),
            output,
            cancel,
            containers: Mutex::default(),
            sources: match request.cache_from.as_slice() {
                [] => None,
                names => Some(tokio::sync::Mutex::new(self.images.cache_sources(names).await)),
            },
        };
        let gaps: String = dockerfile.lines.iter().filter(|line| line.gaps).map(gap).collect();
        if !gaps.is_empty() {
            let text = format!(
                "{gaps}[WARNING]: Empty continuation lines will become errors in a future release.\n"
            );
            front.send(Progress::Error(text)).await?;
        }
        for instruction in &plan.meta {
            front.say(front.announcement(&instruction.text)).await?;
        }
        let build = Build::new(self, &request, &front, plan, arguments, workspace);
        let built = front.stages(&build).await;
        if built.is_err() && front.output.is_closed() {
            // dockerd keeps the container of a step that failed, for a look at it; not when nobody is there
            // to look.
            front.remove_containers(self).await;
        }
        let id = built?;
        front.say(format!("Successfully built {}\n", short_image(&id))).await?;
        for name in names {
            let familiar = name.familiar();
            self.images.give(name, &id).await?;
            front.say(format!("Successfully tagged {familiar}\n")).await?;
        }
        Ok(id)
    }
}

impl Builder {
    /// The context: what the client sends, or what it says is elsewhere.
    async fn received(
        &self,
        workspace: &Workspace,
        sent: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
        request: &BuildRequest,
        cancel: &CancellationToken,
    ) -> Result<Context> {
        let dockerfile = request.dockerfile.clone();
        if request.remote.is_empty() {
            let mut received = context::receive(workspace, sent, dockerfile).await?;
            received.tree.disown();
            return Ok(received);
        }
        match Remote::of(&request.remote)? {
            Some(remote) => {
                let mut taken = self.context_of(&remote, None, workspace, &dockerfile, cancel).await?;
                taken.tree.disown();
                Ok(taken)
            }
            None => {
                let message =
                    format!("remote URL {} could not be recognized as either http or git", request.remote);
                Err(EngineError::invalid(message))
            }
        }
    }
}

/// What is said of an instruction with empty lines in it.
fn gap(line: &Line) -> String {
    format!("[WARNING]: Empty continuation line found in: {}\n", line.text)
}

/// Words the failure to read a Dockerfile: nothing is said of a line where instructions are not looked at yet.
fn of_parsing(error: EngineError) -> EngineError {
    let text = error.to_string();
    let what = match text.strip_prefix("dockerfile parse error on line ").and_then(|t| t.split_once(": ")) {
        Some((_, what)) if !is_of_words(what) => return error,
        Some((_, what)) => what,
        None if text == NO_STAGE => return error,
        None => &text,
    };
    EngineError::invalid(format!("failed to parse Dockerfile: {what}"))
}

impl Classic {
    async fn stages(&self, build: &Build<'_>) -> Result<String, BuildFailure> {
        let mut last = None;
        for index in 0..build.plan.stages.len() {
            if let Some(name) = build.plan.repeated_name(index) {
                return Err(EngineError::invalid(format!("{name} stage name already used")).into());
            }
            last.clone_from(&build.stage(index).await?.image);
            if let Some(id) = &last {
                self.send(Progress::Image(id.clone())).await?;
            }
        }
        let unused = build.unused_arguments();
        if !unused.is_empty() {
            self.say(format!("[Warning] One or more build-args [{unused}] were not consumed\n")).await?;
        }
        last.ok_or_else(|| EngineError::invalid("No image was generated. Is your Dockerfile empty?").into())
    }

    fn announcement(&self, text: &str) -> String {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        format!("Step {number}/{} : {text}\n", self.total)
    }

    async fn say(&self, text: String) -> Result<(), BuildFailure> {
        self.send(Progress::Output(text)).await
    }

    async fn send(&self, progress: Progress) -> Result<(), BuildFailure> {
        self.output.send(progress).await.map_err(|_| Build::gone())
    }

    fn containers<T>(&self, change: impl FnOnce(&mut Containers) -> T) -> T {
        change(&mut self.containers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn remove_containers(&self, builder: &Builder) {
        for id in self.containers(|containers| std::mem::take(&mut containers.left)) {
            match builder.containers.remove(&id, true, true).await {
                Ok(()) => self.containers(|containers| containers.unreal.push(id)),
                Err(error) => tracing::warn!(%error, container = id, "A build's container stays"),
            }
        }
        for id in self.containers(|containers| std::mem::take(&mut containers.unreal)) {
            // Nobody listens any more, if it fails: the next step notices.
            drop(self.say(format!(" ---> Removed intermediate container {}\n", short(&id))).await);
        }
    }

    async fn container(
        &self,
        build: &Build<'_>,
        state: &State,
        process: Process,
    ) -> Result<String, BuildFailure> {
        let image = match &state.image {
            Some(image) => image.clone(),
            // Containers need an image, also on scratch.
            None => {
                let derived = Derived { config: state.config.clone(), ..Derived::default() };
                build.builder.images.derive(derived, async { Ok(None) }).await?
            }
        };
        let mut config = container_config(state, process)?;
        config.image = Some(image);
        let host = build.request.host.clone();
        let request = CreateRequest { config, host, ..CreateRequest::default() };
        let created = build.builder.containers.create(request).await?;
        self.containers(|containers| containers.left.push(created.id.clone()));
        build.workspace.note_container(&created.id).await?;
        for warning in created.warnings {
            self.say(format!(" ---> [Warning] {warning}\n")).await?;
        }
        Ok(created.id)
    }

    /// Runs the container to its end, or to the build's.
    async fn execute(&self, build: &Build<'_>, container: &str) -> Result<i32, BuildFailure> {
        let containers = &build.builder.containers;
        let output = AttachRequest { stdin: false, stdout: true, stderr: true };
        let attachment = containers.attach(container, output).await?;
        let waiting = containers.wait(container, WaitCondition::NextExit)?;
        containers.start(container).await?;
        let relay = async {
            let Some(mut streams) = attachment.connected().await else { return };
            while let Some(Ok(frame)) = streams.output.next().await {
                let text = String::from_utf8_lossy(&frame.data).into_owned();
                let progress = match frame.stream {
                    StreamKind::Stdout => Progress::Output(text),
                    StreamKind::Stderr => Progress::Error(text),
                };
                // A client that left is noticed below.
                if self.output.send(progress).await.is_err() {
                    break;
                }
            }
        };
        let ended = async {
            let ((), waited) = tokio::join!(relay, waiting.done());
            waited
        };
        tokio::select! {
            () = self.cancel.cancelled() => Err(Build::gone()),
            waited = ended => match waited.error {
                Some(error) => Err(EngineError::system(error).into()),
                None => Ok(waited.exit_code),
            },
        }
    }
}

#[async_trait]
impl Front for Classic {
    async fn begin(&self, _build: &Build<'_>, step: &Step) -> Result<(), BuildFailure> {
        match step.trigger {
            Some(_) => Ok(()),
            None => self.say(self.announcement(&step.text)).await,
        }
    }

    async fn cached(&self, _step: &Step) -> Result<(), BuildFailure> {
        self.say(" ---> Using cache\n".to_owned()).await
    }

    async fn end(
        &self,
        build: &Build<'_>,
        step: &Step,
        state: &State,
        failure: Option<&BuildFailure>,
    ) -> Result<(), BuildFailure> {
        if step.trigger.is_some() {
            return Ok(());
        }
        if build.request.force_remove || (build.request.remove && failure.is_none()) {
            self.remove_containers(build.builder).await;
        }
        if failure.is_some() {
            return Ok(());
        }
        let id = state.image.as_deref().map(short_image).unwrap_or_default();
        self.say(format!(" ---> {id}\n")).await
    }

    async fn note(&self, _build: &Build<'_>, _step: &Step, text: String) -> Result<(), BuildFailure> {
        self.say(text).await
    }

    async fn find(&self, build: &Build<'_>, _step: &Step, state: &mut State, key: &StepKey) -> Result<bool> {
        if state.fresh {
            return Ok(false);
        }
        let images = &build.builder.images;
        let parent = state.image.as_deref();
        let found = match &self.sources {
            None => images.find_step(parent, &key.noted, &state.architecture).await?,
            Some(sources) => {
                let (noted, config) = (&key.noted, &state.config);
                let wanted = Wanted { parent, noted, config, architecture: &state.architecture };
                images.find_in(&mut *sources.lock().await, &wanted).await?
            }
        };
        let Some(id) = found else { return Ok(false) };
        state.layers = images.get(&id).await?.layers;
        state.image = Some(id);
        Ok(true)
    }

    async fn keep(
        &self,
        build: &Build<'_>,
        _step: &Step,
        state: &mut State,
        key: StepKey,
        made: Made,
    ) -> Result<(), BuildFailure> {
        state.fresh = true;
        if made.container.is_none() && !key.transfer {
            // dockerd makes a container even for steps that run nothing, and says so.
            let id = random_id()?;
            self.say(format!(" ---> Running in {}\n", short(&id))).await?;
            if build.request.remove || build.request.force_remove {
                self.containers(|containers| containers.unreal.push(id));
            }
        }
        let derived = Derived {
            parent: state.image.clone(),
            layers: state.layers.clone(),
            config: state.config.clone(),
            created_by: key.noted.cmd.as_deref().unwrap_or_default().join(" "),
            step: key.noted,
            container: made.container,
            author: state.author.clone(),
            comment: String::new(),
            architecture: state.architecture.clone(),
            variant: state.variant.clone().unwrap_or_default(),
        };
        let images = &build.builder.images;
        let id = images.derive(derived, async { Ok(made.layer) }).await?;
        state.layers = images.get(&id).await?.layers;
        state.image = Some(id);
        Ok(())
    }

    async fn run(
        &self,
        build: &Build<'_>,
        _step: &Step,
        state: &State,
        process: Process,
    ) -> Result<Ran, BuildFailure> {
        if process.script.is_some() {
            return Err(needs_buildkit("a here-document that names its own interpreter").into());
        }
        let container = self.container(build, state, process).await?;
        self.say(format!(" ---> Running in {}\n", short(&container))).await?;
        let code = self.execute(build, &container).await?;
        let mut made = Made::default();
        if code == 0 {
            let layer = build.builder.layers.commit_rootfs(&container, build.request.remove).await?;
            made = Made { layer: Some(layer), container: Some(container) };
        }
        Ok(Ran { code, made })
    }

    async fn context(&self, _build: &Build<'_>, _step: &Step) -> Result<Arc<Tree>, BuildFailure> {
        Ok(Arc::clone(&self.context))
    }

    async fn named(&self, _build: &Build<'_>, _name: &str) -> Result<Option<Named>, BuildFailure> {
        Ok(None)
    }

    fn client(&self) -> Option<&dyn BuildClient> {
        None
    }

    async fn credentials(&self, build: &Build<'_>, domain: &str) -> Result<Credentials> {
        let known = &build.request.credentials;
        let names: &[&str] = match domain {
            "docker.io" => &["https://index.docker.io/v1/", "index.docker.io", "docker.io"],
            other => &[other],
        };
        let plain = |key: &str| {
            let host = key.trim_start_matches("https://").trim_start_matches("http://");
            host.split('/').next() == Some(domain)
        };
        let found = names.iter().find_map(|name| known.get(*name));
        let found = found.or_else(|| known.iter().find(|(key, _)| plain(key)).map(|(_, it)| it));
        Ok(found.cloned().unwrap_or_default())
    }

    fn pulling(&self, _image: &str) -> Box<dyn PullWatcher> {
        Box::new(Relay(self.output.clone()))
    }

    fn is_lenient(&self) -> bool {
        false
    }

    fn trouble(&self, trouble: Trouble<'_>) -> EngineError {
        EngineError::invalid(match trouble {
            Trouble::Exit { words, code } => {
                format!("The command '{}' returned a non-zero code: {code}", words.join(" "))
            }
            Trouble::NoImage { error, .. } => error.to_string(),
            Trouble::NoStage { from, itself: true } => {
                format!("invalid from flag value {from}: refers to current build stage")
            }
            Trouble::NoStage { from, .. } => format!("invalid from flag value {from}: index out of bounds"),
            Trouble::NoDownload { error } => format!("ADD failed: {error}"),
            Trouble::NoSource { keyword, path, context: true } => format!(
                "{keyword} failed: file not found in build context or excluded by .dockerignore: stat {path}: file \
                 does not exist"
            ),
            Trouble::NoSource { keyword, path, context: false } => {
                format!("{keyword} failed: stat {path}: file does not exist")
            }
        })
    }

    fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }
}

/// The configuration of what runs a command over a stage.
pub(super) fn container_config(state: &State, process: Process) -> Result<ContainerConfig> {
    let invalid = |e| EngineError::invalid("Invalid configuration").because(e);
    let mut config: ContainerConfig =
        serde_json::to_value(&state.config).and_then(serde_json::from_value).map_err(invalid)?;
    let env = config.env.get_or_insert_default();
    env.extend(process.arguments.iter().map(|(name, value)| format!("{name}={value}")));
    config.cmd = Some(process.words);
    // "None at all": the image's own must not stand before the command.
    config.entrypoint = Some(vec![String::new()]);
    config.healthcheck = Some(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() });
    config.attach_stdout = Some(true);
    config.attach_stderr = Some(true);
    Ok(config)
}

/// Names for the image, each once.
pub(super) fn names(tags: &[String]) -> Result<Vec<Reference>> {
    let mut names = Vec::new();
    for tag in tags {
        let name: Reference = tag.parse::<Reference>()?;
        if name.digest().is_some() {
            return Err(EngineError::invalid("build tag cannot contain a digest"));
        }
        let name = name.or_latest();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Refuses what came with BuildKit, as dockerd's builder does.
fn only_classic(plan: &Plan) -> Result<()> {
    for instruction in plan.stages.iter().flat_map(|stage| &stage.instructions) {
        let option = match &instruction.command {
            Command::Run { flags, .. } if !flags.mounts.is_empty() => Some("mount"),
            Command::Run { flags, .. } if flags.network.is_some() => Some("network"),
            Command::Run { flags, .. } if flags.security.is_some() => Some("security"),
            Command::Transfer(transfer) => newer_option(transfer),
            _ => None,
        };
        if let Some(option) = option {
            return Err(needs_buildkit(&format!("the --{option} option")));
        }
    }
    Ok(())
}

fn newer_option(transfer: &Transfer) -> Option<&'static str> {
    match transfer {
        Transfer { chmod: Some(_), .. } => Some("chmod"),
        Transfer { link: true, .. } => Some("link"),
        Transfer { keep_git_dir: true, .. } => Some("keep-git-dir"),
        Transfer { parents: true, .. } => Some("parents"),
        Transfer { exclude, .. } if !exclude.is_empty() => Some("exclude"),
        Transfer { checksum: Some(_), .. } => Some("checksum"),
        Transfer { unpack: Some(_), .. } => Some("unpack"),
        _ => None,
    }
}

fn needs_buildkit(what: &str) -> EngineError {
    EngineError::invalid(format!(
        "{what} requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images with \
         BuildKit enabled"
    ))
}

fn short_image(id: &str) -> &str {
    short(id.strip_prefix("sha256:").unwrap_or(id))
}

/// In single quotes, so that nothing is replaced.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_with_buildkit_is_refused() {
        for text in ["RUN --mount=type=cache,target=/x y", "COPY --link a b", "COPY --exclude=c a b"] {
            let dockerfile = Dockerfile::parse(&format!("FROM scratch\n{text}")).unwrap();
            let plan = Plan::new(&dockerfile, &mut Arguments::default()).unwrap();
            let error = only_classic(&plan).unwrap_err().to_string();
            assert!(error.starts_with("the --"), "{error}");
            assert!(error.contains("requires BuildKit"), "{error}");
        }
    }

    #[test]
    fn failures_of_reading_are_worded_as_dockerd_does() {
        let said = |text: &str| {
            let planned = Dockerfile::parse(text).and_then(|d| Plan::new(&d, &mut Arguments::default()));
            of_parsing(planned.unwrap_err()).to_string()
        };
        for (text, error) in [
            (
                "# escape=x\nFROM a",
                "failed to parse Dockerfile: invalid escape token 'x' does not match ` or \\",
            ),
            ("# a", "failed to parse Dockerfile: file with no instructions"),
            ("FROM a\nENV A", "failed to parse Dockerfile: ENV must have two arguments"),
            ("RUN a", "no build stage in current context"),
            ("FROM a b", "dockerfile parse error on line 1: FROM requires either one or three arguments"),
        ] {
            assert_eq!(said(text), error);
        }
    }
}
