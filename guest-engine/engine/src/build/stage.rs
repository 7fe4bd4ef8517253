//! A build from its Dockerfile to its image: stages in order, each instruction a step.

use super::{
    BuildFailure, Builder, Progress, Workspace,
    arguments::Arguments,
    context,
    dockerfile::Dockerfile,
    expand::word,
    instruction::{Command, Instruction, parse},
    run::noted,
    run_config::{DEFAULT_PATH, apply},
    steps::expanded,
    transfer::discard,
    tree::Tree,
};
use crate::{
    error::{EngineError, ErrorKind, Result},
    id::{random_id, short},
    image::{Derived, Reference, derive::machine_architecture},
    ports::LayerInfo,
};
use bollard_stubs::models::{HostConfig, ImageConfig};
use bytes::Bytes;
use futures_util::Stream;
use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};
use tokio::sync::mpsc;

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct BuildRequest {
    /// Path of the Dockerfile in the context.
    pub dockerfile: String,
    pub tags: Vec<String>,
    /// Stage to stop at; empty for the last one.
    pub target: String,
    /// `None` takes the value from nowhere: the argument stays unset.
    pub arguments: BTreeMap<String, Option<String>>,
    pub labels: BTreeMap<String, String>,
    pub no_cache: bool,
    /// Fetch base images even if they are here.
    pub pull: bool,
    /// Remove the containers of steps that worked.
    pub remove: bool,
    /// Remove those of steps that failed as well.
    pub force_remove: bool,
    /// `os/arch`; empty for this machine's.
    pub platform: String,
    /// Limits and network of the containers.
    pub host: HostConfig,
}

/// A build in progress.
pub(super) struct Build<'a> {
    pub(super) builder: &'a Builder,
    pub(super) request: BuildRequest,
    pub(super) output: mpsc::Sender<Progress>,
    pub(super) context: Arc<Tree>,
    pub(super) arguments: Arguments,
    /// Containers that exist in what is said only, to be said gone.
    unreal: Vec<String>,
    /// Containers that were made and are still there.
    pub(super) left: Vec<String>,
    workspace: Workspace,
    spooled: usize,
    escape: char,
    stages: Vec<Stage>,
    /// No step of this stage has been new yet.
    cache_holds: bool,
}

/// A finished stage.
struct Stage {
    name: Option<String>,
    state: State,
}

/// A stage at work.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) config: ImageConfig,
    /// `None` before the first step on scratch.
    pub(super) image: Option<String>,
    pub(super) layers: Vec<String>,
    author: String,
    cmd_set: bool,
}

impl Builder {
    /// Builds an image and says its id. Ends early when the receiver of `output` is dropped.
    pub async fn build(
        &self,
        request: BuildRequest,
        context: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
        output: mpsc::Sender<Progress>,
    ) -> Result<String, BuildFailure> {
        let mut names = Vec::new();
        for tag in &request.tags {
            let name: Reference = tag.parse::<Reference>().map_err(EngineError::from)?;
            if name.digest().is_some() {
                return Err(EngineError::invalid("build tag cannot contain a digest").into());
            }
            let name = name.or_latest();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        // Layers of stages must not be swept from under a build.
        let held = self.images.hold_layers().await;
        let built = self.build_held(request, names, context, output).await;
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
    ) -> Result<String, BuildFailure> {
        let workspace = self.workspace().await?;
        let received = tokio::select! {
            () = output.closed() => return Err(Build::gone()),
            received = context::receive(&workspace, context, request.dockerfile.clone()) => received?,
        };
        let dockerfile = Dockerfile::parse(&received.dockerfile)?;
        let instructions = parse(&dockerfile)?;
        let mut build = Build {
            builder: self,
            arguments: Arguments::new(request.arguments.clone()),
            request,
            output,
            context: Arc::new(received.tree),
            left: Vec::new(),
            unreal: Vec::new(),
            workspace,
            spooled: 0,
            escape: dockerfile.escape,
            stages: Vec::new(),
            cache_holds: true,
        };
        let built = build.stages(instructions).await;
        if built.is_err() {
            build.clean_up_failure().await;
        }
        let id = built?;
        build.say(format!("Successfully built {}\n", short_image(&id))).await?;
        for name in names {
            let familiar = name.familiar();
            self.images.give(name, &id).await?;
            build.say(format!("Successfully tagged {familiar}\n")).await?;
        }
        Ok(id)
    }
}

impl Build<'_> {
    async fn stages(&mut self, instructions: Vec<Instruction>) -> Result<String, BuildFailure> {
        let (meta, mut stages) = grouped(instructions)?;
        if !self.request.target.is_empty() {
            let target = self.request.target.to_ascii_lowercase();
            let found = stages.iter().position(|stage| {
                matches!(&stage[0].command, Command::From { name: Some(name), .. } if *name == target)
            });
            let index = found.or_else(|| target.parse().ok().filter(|index| *index < stages.len()));
            let Some(index) = index else {
                let message = format!("failed to reach build target {} in Dockerfile", self.request.target);
                return Err(EngineError::invalid(message).into());
            };
            stages.truncate(index + 1);
        }
        if let Some(last) = stages.last_mut() {
            for (name, value) in &self.request.labels {
                last.push(Instruction {
                    line: 0,
                    text: format!("LABEL {name}={value}"),
                    // Values come as they are to be: nothing in them is replaced.
                    command: Command::Label(vec![(quoted(name), quoted(value))]),
                });
            }
        }
        let total = meta.len() + stages.iter().map(Vec::len).sum::<usize>();
        let mut number = 0;
        for instruction in &meta {
            number += 1;
            self.say(format!("Step {number}/{total} : {}\n", instruction.text)).await?;
            let env = self.arguments.for_from();
            let command = self.expand(instruction, &env)?;
            if let Command::Arg(args) = command {
                for (name, value) in args {
                    self.arguments.declare_meta(&name, value);
                }
            }
        }
        for stage in stages {
            self.cache_holds = true;
            self.arguments.leave_stage();
            let mut state = State::default();
            let mut stage_name = None;
            for instruction in &stage {
                number += 1;
                self.say(format!("Step {number}/{total} : {}\n", instruction.text)).await?;
                if let Command::From { name, .. } = &instruction.command {
                    stage_name.clone_from(name);
                }
                self.step(&mut state, instruction).await?;
                let id = state.image.as_deref().map(short_image).unwrap_or_default();
                self.say(format!(" ---> {id}\n")).await?;
            }
            if let Some(id) = &state.image {
                self.send(Progress::Image(id.clone())).await?;
            }
            self.stages.push(Stage { name: stage_name, state });
        }
        let unused = self.arguments.unused().join(" ");
        if !unused.is_empty() {
            self.say(format!("[Warning] One or more build-args [{unused}] were not consumed\n")).await?;
        }
        let image = self.stages.last().and_then(|stage| stage.state.image.clone());
        image.ok_or_else(|| EngineError::invalid("No image was generated. Is your Dockerfile empty?").into())
    }

    async fn step(&mut self, state: &mut State, instruction: &Instruction) -> Result<(), BuildFailure> {
        if self.output.is_closed() {
            return Err(Self::gone());
        }
        let result = self.dispatch(state, instruction).await;
        if self.request.force_remove || (self.request.remove && result.is_ok()) {
            self.remove_containers().await;
        }
        result
    }

    async fn dispatch(&mut self, state: &mut State, instruction: &Instruction) -> Result<(), BuildFailure> {
        let environment = state.config.env.clone().unwrap_or_default();
        let mut env = self.arguments.in_sight(&environment);
        env.extend(environment.iter().filter_map(|entry| {
            entry.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        }));
        let command = match &instruction.command {
            Command::From { image, platform, .. } => {
                return self.from(state, image, platform.as_deref()).await;
            }
            _ => self.expand(instruction, &env)?,
        };
        match &command {
            Command::Run { .. } => return self.run(state, &command).await,
            Command::Transfer(transfer) => return self.transfer(state, transfer).await,
            Command::Arg(args) => {
                for (name, value) in args {
                    self.arguments.declare(name, value.clone());
                }
            }
            Command::Maintainer(name) => state.author.clone_from(name),
            _ => {}
        }
        let said = apply(&mut state.config, &command, &mut state.cmd_set)?;
        if matches!(command, Command::Workdir(_)) {
            return self.workdir(state, &said).await;
        }
        let step = noted(&state.config, &said, true);
        if self.cached(state, &step).await? {
            return Ok(());
        }
        self.keep(state, step, None, async { Ok(None) }).await
    }

    fn expand(&self, instruction: &Instruction, env: &[(String, String)]) -> Result<Command> {
        expanded(&instruction.command, self.escape, env).map_err(|error| {
            EngineError::invalid(format!("failed to process {:?}: {error}", instruction.text))
        })
    }

    /// The folder is there from now on.
    async fn workdir(&mut self, state: &mut State, said: &str) -> Result<(), BuildFailure> {
        let step = noted(&state.config, said, false);
        if self.cached(state, &step).await? {
            return Ok(());
        }
        let (store, layers) = (Arc::clone(&self.builder.layers), state.layers.clone());
        let path = state.config.working_dir.clone().unwrap_or_default();
        let layer = async move {
            let id = random_id()?;
            store.create_rootfs(&id, &layers).await?;
            let made = async {
                store.mount_rootfs(&id).await?;
                let located = store.locate(&id, &path).await?;
                if located.kind.is_some() {
                    return Ok(None);
                }
                let mut tar = Vec::new();
                let mut writer = super::tree_tar::TreeWriter::new(&mut tar, super::tree_tar::Look::default());
                writer
                    .folder(&located.path, 0o755)
                    .and_then(|()| writer.finish())
                    .map_err(|e| EngineError::system("Could not make the working folder").because(e))?;
                store.unpack_into(&id, Box::new(io::Cursor::new(tar))).await?;
                store.commit_rootfs(&id, true).await.map(Some)
            }
            .await;
            discard(&*store, &id).await;
            made
        };
        self.keep(state, step, None, layer).await
    }

    async fn from(
        &mut self,
        state: &mut State,
        image: &str,
        platform: Option<&str>,
    ) -> Result<(), BuildFailure> {
        let env = self.arguments.for_from();
        let expand = |text: &str| word(text, self.escape, env.as_slice()).map_err(EngineError::invalid);
        let image = expand(image)?;
        let platform = match platform {
            Some(platform) => expand(platform)?,
            None => self.request.platform.clone(),
        };
        if image.is_empty() {
            return Err(EngineError::invalid("base name should not be blank").into());
        }
        if image == "scratch" {
            state.config.env = Some(vec![DEFAULT_PATH.to_owned()]);
            return Ok(());
        }
        if let Some(stage) = self.stage(&image, false) {
            state.clone_from(&stage.state);
            state.cmd_set = false;
        } else {
            let found = self.local_or_fetched(&image, &platform).await?;
            state.layers.clone_from(&found.layers);
            state.config = found.config.config.clone().unwrap_or_default();
            state.image = Some(found.id);
        }
        let env = state.config.env.get_or_insert_default();
        if !env.iter().any(|entry| entry.starts_with("PATH=")) {
            env.push(DEFAULT_PATH.to_owned());
        }
        let triggers = state.config.on_build.take().unwrap_or_default();
        if triggers.is_empty() {
            return Ok(());
        }
        let plural = if triggers.len() > 1 { "s" } else { "" };
        self.say(format!("# Executing {} build trigger{plural}\n", triggers.len())).await?;
        for trigger in triggers {
            for instruction in parse(&Dockerfile::parse(&trigger)?)? {
                if matches!(instruction.command, Command::From { .. } | Command::OnBuild(_)) {
                    return Err(EngineError::invalid(format!(
                        "{trigger} isn't allowed as an ONBUILD trigger"
                    ))
                    .into());
                }
                // Not recursive in fact: a trigger is never a FROM.
                Box::pin(self.dispatch(state, &instruction)).await?;
            }
        }
        Ok(())
    }

    async fn local_or_fetched(&self, image: &str, platform: &str) -> Result<crate::image::Image> {
        let local = self.builder.images.get(image).await;
        let found = match (local, self.builder.source.get()) {
            (Ok(found), None) if self.request.pull => {
                self.say(" ---> [Warning] this engine cannot pull yet; the local image is used\n".to_owned())
                    .await
                    .map_err(|failure| failure.error)?;
                found
            }
            (Ok(found), _) if !self.request.pull => found,
            (Err(error), _) if error.kind() != ErrorKind::NotFound => return Err(error),
            (_, Some(source)) => {
                source.fetch(image, platform).await?;
                self.builder.images.get(image).await?
            }
            (Err(_), None) => {
                return Err(EngineError::not_implemented(format!(
                    "{image} is not here, and this engine cannot pull images yet. Bring it with \"docker load -i \
                     FILE\""
                )));
            }
            (Ok(found), None) => found,
        };
        let mut wanted = platform.split('/');
        let (os, architecture) = (wanted.next().unwrap_or_default(), wanted.next().unwrap_or_default());
        let actual = match found.config.architecture.as_str() {
            "" => machine_architecture(),
            architecture => architecture,
        };
        if (!os.is_empty() && os != "linux") || (!architecture.is_empty() && architecture != actual) {
            return Err(EngineError::not_found(format!(
                "image with reference {image} was found but does not match the specified platform: wanted \
                 {platform}, actual: linux/{actual}"
            )));
        }
        Ok(found)
    }

    /// A stage before this one, by name or, for `COPY --from`, also by number.
    fn stage(&self, name: &str, numbers: bool) -> Option<&Stage> {
        let lower = name.to_ascii_lowercase();
        let by_name = self.stages.iter().rev().find(|stage| stage.name.as_deref() == Some(&lower));
        by_name.or_else(|| if numbers { self.stages.get(name.parse::<usize>().ok()?) } else { None })
    }

    /// Layers of a stage or an image to copy from.
    pub(super) async fn layers_of(&self, from: &str) -> Result<Vec<String>> {
        if let Some(stage) = self.stage(from, true) {
            return Ok(stage.state.layers.clone());
        }
        if from.parse::<usize>().is_ok() {
            return Err(EngineError::invalid(format!(
                "invalid from flag value {from}: invalid stage index {from}"
            )));
        }
        Ok(self.local_or_fetched(from, "").await?.layers)
    }

    /// Takes over the image of an equal step of an earlier build, if the cache may be used.
    pub(super) async fn cached(
        &mut self,
        state: &mut State,
        step: &ImageConfig,
    ) -> Result<bool, BuildFailure> {
        if self.request.no_cache || !self.cache_holds {
            return Ok(false);
        }
        let Some(id) = self.builder.images.find_step(state.image.as_deref(), step).await? else {
            self.cache_holds = false;
            return Ok(false);
        };
        self.say(" ---> Using cache\n".to_owned()).await?;
        state.layers = self.builder.images.get(&id).await?.layers;
        state.image = Some(id);
        Ok(true)
    }

    /// Makes the step's image.
    pub(super) async fn keep(
        &mut self,
        state: &mut State,
        step: ImageConfig,
        container: Option<String>,
        layer: impl Future<Output = Result<Option<LayerInfo>>> + Send,
    ) -> Result<(), BuildFailure> {
        if container.is_none() && !step.cmd.as_ref().is_some_and(|cmd| is_transfer(cmd)) {
            // dockerd makes a container even for steps that run nothing, and says so.
            let id = random_id()?;
            self.say(format!(" ---> Running in {}\n", short(&id))).await?;
            if self.request.remove || self.request.force_remove {
                self.unreal.push(id);
            }
        }
        let derived = Derived {
            parent: state.image.clone(),
            layers: state.layers.clone(),
            config: state.config.clone(),
            created_by: step.cmd.as_deref().unwrap_or_default().join(" "),
            step,
            container,
            author: state.author.clone(),
            comment: String::new(),
            architecture: String::new(),
        };
        let id = self.builder.images.derive(derived, layer).await?;
        state.layers = self.builder.images.get(&id).await?.layers;
        state.image = Some(id);
        Ok(())
    }

    /// Containers need an image, also on scratch.
    pub(super) async fn image_to_run(&self, state: &State) -> Result<String> {
        if let Some(image) = &state.image {
            return Ok(image.clone());
        }
        let derived = Derived { config: state.config.clone(), ..Derived::default() };
        self.builder.images.derive(derived, async { Ok(None) }).await
    }

    /// Where something of this build may be kept.
    pub(super) fn spool_path(&mut self) -> Result<PathBuf> {
        self.spooled += 1;
        Ok(self.workspace.0.join(format!("spool-{}.tar", self.spooled)))
    }

    pub(super) async fn say(&self, text: String) -> Result<(), BuildFailure> {
        self.send(Progress::Output(text)).await
    }

    async fn send(&self, progress: Progress) -> Result<(), BuildFailure> {
        self.output.send(progress).await.map_err(|_| Self::gone())
    }

    /// Returns when the client has gone.
    pub(super) async fn cancelled(&self) {
        self.output.closed().await;
    }

    pub(super) fn gone() -> BuildFailure {
        EngineError::new(ErrorKind::Unavailable, "the build was cancelled").into()
    }

    async fn remove_containers(&mut self) {
        for id in std::mem::take(&mut self.left).into_iter() {
            match self.builder.containers.remove(&id, true, true).await {
                Ok(()) => self.unreal.push(id),
                Err(error) => tracing::warn!(%error, container = id, "A build's container stays"),
            }
        }
        for id in std::mem::take(&mut self.unreal) {
            // Nobody listens any more, if it fails: the next step notices.
            drop(self.say(format!(" ---> Removed intermediate container {}\n", short(&id))).await);
        }
    }

    /// dockerd keeps the container of a step that failed, for a look at it; not when nobody is there to look.
    async fn clean_up_failure(&mut self) {
        if self.output.is_closed() {
            self.remove_containers().await;
        }
    }
}

/// `ARG`s before the first stage, and the stages.
fn grouped(instructions: Vec<Instruction>) -> Result<(Vec<Instruction>, Vec<Vec<Instruction>>)> {
    let (mut meta, mut stages) = (Vec::new(), Vec::<Vec<Instruction>>::new());
    if instructions.is_empty() {
        return Err(EngineError::invalid("file with no instructions"));
    }
    for instruction in instructions {
        match (&instruction.command, stages.last_mut()) {
            (Command::From { .. }, _) => stages.push(vec![instruction]),
            (Command::Arg(_), None) => meta.push(instruction),
            (_, None) => {
                return Err(super::dockerfile::at_line(
                    instruction.line,
                    "no build stage in current context",
                ));
            }
            (_, Some(stage)) => stage.push(instruction),
        }
    }
    match stages.is_empty() {
        true => Err(EngineError::invalid("no build stage in current context")),
        false => Ok((meta, stages)),
    }
}

fn short_image(id: &str) -> &str {
    short(id.strip_prefix("sha256:").unwrap_or(id))
}

fn is_transfer(cmd: &[String]) -> bool {
    cmd.last().is_some_and(|last| last.starts_with("#(nop) COPY ") || last.starts_with("#(nop) ADD "))
}

/// In single quotes, so that nothing is replaced.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}
