//! A stage of a build from its `FROM` to its last instruction, whichever door the build came through.

use super::{
    BuildFailure, Builder, Workspace,
    arguments::Arguments,
    base::Pulls,
    dockerfile::Dockerfile,
    front::{Front, Made, Named, Step, StepKey, Trouble},
    instruction::{Command, Instruction, parse},
    owner::{self, Names},
    placing::missing_above,
    plan::{Base, Plan},
    run::noted,
    run_config::{DEFAULT_PATH, apply, exposed_in_history},
    steps::{expanded, title},
    transfer::{discard, layer_of},
};
use crate::{
    error::{EngineError, ErrorKind, Result},
    id::random_id,
    image::{SharedSteps, config::HistoryEntry},
    platform::Platform,
    ports::{LayerInfo, PathKind},
    registry::Credentials,
};
use bollard_stubs::models::{HostConfig, ImageConfig};
use futures_util::future::BoxFuture;
use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::OnceCell;

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct BuildRequest {
    /// Where the context is, when the client does not send it: a URL.
    pub remote: String,
    /// Path of the Dockerfile in the context.
    pub dockerfile: String,
    pub tags: Vec<String>,
    /// Stage to stop at; empty for the last one.
    pub target: String,
    /// `None`, when the client has no value for it, is as if it were not there.
    pub arguments: BTreeMap<String, Option<String>>,
    pub labels: BTreeMap<String, String>,
    pub no_cache: bool,
    /// Images whose steps stand in for those of this build, and no others.
    pub cache_from: Vec<String>,
    /// Stages that do not use the cache, when not all are.
    pub no_cache_stages: Vec<String>,
    /// What registries are to be shown, by their names in the client's configuration.
    pub credentials: BTreeMap<String, Credentials>,
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

/// What all stages of a build share.
#[derive(Debug)]
pub(super) struct Build<'a> {
    pub(super) builder: &'a Builder,
    pub(super) request: &'a BuildRequest,
    pub(super) front: &'a dyn Front,
    pub(super) plan: Plan,
    pub(super) workspace: Workspace,
    spooled: AtomicUsize,
    pub(super) pulls: Pulls,
    done: Vec<OnceCell<State>>,
    /// As they are before the first stage; learns what the stages use.
    arguments: Mutex<Arguments>,
}

/// What a stage has become.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) config: ImageConfig,
    /// Of the classic builder: `None` before the first step on scratch.
    pub(super) image: Option<String>,
    /// A step was made anew: the classic builder looks for nothing that follows.
    pub(super) fresh: bool,
    /// Of BuildKit's door: everything that led here.
    pub(super) key: String,
    pub(super) layers: Vec<String>,
    pub(super) history: Vec<HistoryEntry>,
    /// Of BuildKit's door: the steps that led here, as others may find them.
    pub(super) steps: SharedSteps,
    /// As Go calls it; empty for this machine's.
    pub(super) architecture: String,
    pub(super) variant: Option<String>,
    pub(super) author: String,
    pub(super) arguments: Arguments,
    pub(super) cmd_set: bool,
}

/// A stage at work.
pub(super) struct Work<'a> {
    pub(super) build: &'a Build<'a>,
    pub(super) state: State,
    pub(super) step: Step,
}

impl<'a> Build<'a> {
    pub(super) fn new(
        builder: &'a Builder,
        request: &'a BuildRequest,
        front: &'a dyn Front,
        plan: Plan,
        arguments: Arguments,
        workspace: Workspace,
    ) -> Self {
        let done = plan.stages.iter().map(|_| OnceCell::new()).collect();
        let arguments = Mutex::new(arguments);
        let (spooled, pulls) = (AtomicUsize::new(0), Pulls::default());
        Self { builder, request, front, plan, workspace, spooled, pulls, done, arguments }
    }

    /// The finished stage: whoever needs it first builds it, the others wait.
    pub(super) fn stage(&self, index: usize) -> BoxFuture<'_, Result<&State, BuildFailure>> {
        Box::pin(self.done[index].get_or_try_init(move || self.build_stage(index)))
    }

    async fn build_stage(&self, index: usize) -> Result<State, BuildFailure> {
        let arguments = self.arguments.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let state = State { arguments, ..State::default() };
        let mut work = Work { build: self, state, step: Step { stage: index, ..Step::default() } };
        for (number, instruction) in self.plan.stages[index].instructions.iter().enumerate() {
            work.step = Step {
                stage: index,
                index: number,
                text: instruction.text.clone(),
                lines: instruction.lines,
                trigger: None,
            };
            work.take(instruction).await?;
        }
        self.arguments.lock().unwrap_or_else(PoisonError::into_inner).learn(&work.state.arguments);
        Ok(work.state)
    }

    /// What all stages that are done have become.
    pub(super) fn finished(&self) -> impl Iterator<Item = &State> {
        self.done.iter().filter_map(OnceCell::get)
    }

    /// Given arguments that nothing used.
    pub(super) fn unused_arguments(&self) -> String {
        self.arguments.lock().unwrap_or_else(PoisonError::into_inner).unused().join(" ")
    }

    /// Where something of this build may be kept.
    pub(super) fn spool_path(&self) -> PathBuf {
        let number = self.spooled.fetch_add(1, Ordering::Relaxed);
        self.workspace.0.join(format!("spool-{number}.tar"))
    }

    /// Whether steps of earlier builds may stand in for those of this stage.
    pub(super) fn may_reuse(&self, stage: usize) -> bool {
        let name = self.plan.stages[stage].name.as_deref();
        !self.request.no_cache && !self.request.no_cache_stages.iter().any(|no| Some(no.as_str()) == name)
    }

    pub(super) fn gone() -> BuildFailure {
        EngineError::new(ErrorKind::Unavailable, "the build was cancelled").into()
    }

    /// Layers of a stage or an image to copy from, or files that have a name.
    pub(super) async fn source_of(&self, stage: usize, from: &str) -> Result<Source, BuildFailure> {
        if let Some(named) = self.front.named(self, from).await? {
            return match named {
                Named::Files(tree) => Ok(Source::Files(tree)),
                Named::Built(solved) => Ok(Source::Layers(solved.state().layers.clone())),
                Named::Image(image) => Ok(Source::Layers(self.image(&image, "").await?.layers)),
            };
        }
        if let Some(stage) = self.plan.from(stage, from) {
            return Ok(Source::Layers(self.stage(stage).await?.layers.clone()));
        }
        let own = self.plan.stages[stage].name.as_deref();
        let itself = from == stage.to_string()
            || (self.front.is_lenient() && own.is_some_and(|own| own.eq_ignore_ascii_case(from)));
        if itself || from.parse::<usize>().is_ok() {
            return Err(self.front.trouble(Trouble::NoStage { from, itself }).into());
        }
        if from == "scratch" {
            return Ok(Source::Layers(Vec::new()));
        }
        // Nobody means an image of that name, from wherever.
        if self.front.is_lenient() && self.plan.is_later(stage, from) {
            let own = own.map_or_else(|| format!("stage-{stage}"), str::to_owned);
            return Err(EngineError::invalid(format!(
                "cannot copy from stage {from:?}, it needs to be defined before current stage {own:?}"
            ))
            .into());
        }
        Ok(Source::Layers(self.image(from, "").await?.layers))
    }

    /// A layer of a folder that is missing so far; `None` when it is there.
    async fn folder_layer(
        &self,
        layers: &[String],
        path: &str,
        user: Option<&str>,
    ) -> Result<Option<LayerInfo>> {
        let (store, id) = (&self.builder.layers, random_id()?);
        store.create_rootfs(&id, layers).await?;
        let made = async {
            store.mount_rootfs(&id).await?;
            let located = store.locate(&id, path).await?;
            match located.kind {
                Some(PathKind::Folder) => return Ok(None),
                Some(PathKind::File) => {
                    return Err(EngineError::invalid(format!("Cannot mkdir: {path} is not a directory")));
                }
                None => {}
            }
            let owner = match user {
                Some(user) => Some(owner::as_buildkit(user, &Names::of(&**store, &id).await?)),
                None => None,
            };
            let mut folders = missing_above(&**store, &id, &located.path).await?;
            folders.push(located.path);
            let mut tar = Vec::new();
            let mut writer = super::tree_tar::TreeWriter::new(&mut tar);
            folders
                .iter()
                .try_for_each(|folder| writer.folder(folder, owner, None))
                .and_then(|()| writer.finish())
                .map_err(|e| EngineError::system("Could not make the working folder").because(e))?;
            store.unpack_into(&id, Box::new(io::Cursor::new(tar)), false).await?;
            store.commit_rootfs(&id, true).await.map(Some)
        }
        .await;
        discard(&**store, &id).await;
        made
    }
}

impl Work<'_> {
    /// One instruction, with what is told about it.
    async fn take(&mut self, instruction: &Instruction) -> Result<(), BuildFailure> {
        let front = self.build.front;
        if front.cancel().is_cancelled() {
            return Err(Build::gone());
        }
        if front.is_lenient() {
            self.step.text = title(instruction, self.build.plan.escape, self.environment().as_slice());
        }
        front.begin(self.build, &self.step).await?;
        let taken = self.dispatch(instruction).await.map_err(|mut failure| {
            if instruction.lines.0 > 0 {
                failure.lines.get_or_insert(instruction.lines);
            }
            failure
        });
        front.end(self.build, &self.step, &self.state, taken.as_ref().err()).await?;
        taken
    }

    /// What variables stand for here.
    fn environment(&self) -> Vec<(String, String)> {
        let environment = self.state.config.env.clone().unwrap_or_default();
        let mut env = self.state.arguments.in_sight(&environment);
        env.extend(environment.iter().filter_map(|entry| {
            entry.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        }));
        env
    }

    async fn dispatch(&mut self, instruction: &Instruction) -> Result<(), BuildFailure> {
        let env = self.environment();
        if matches!(instruction.command, Command::From { .. }) {
            return self.from().await;
        }
        let command = expanded(&instruction.command, self.build.plan.escape, env.as_slice())
            .map_err(EngineError::invalid)?;
        match &command {
            Command::Run { .. } => return self.run(&command).await,
            Command::Transfer(transfer) => return self.transfer(transfer).await,
            Command::Arg(args) => {
                for (name, value) in args {
                    self.state.arguments.declare(name, value.clone());
                }
            }
            Command::Maintainer(name) => self.state.author.clone_from(name),
            Command::Workdir(path) if path.is_empty() && !self.build.front.is_lenient() => {
                return Err(EngineError::invalid("cannot normalize nothing").into());
            }
            _ => {}
        }
        let said = apply(&mut self.state.config, &command, &mut self.state.cmd_set)?;
        if matches!(command, Command::Cmd(_)) && self.build.front.is_lenient() {
            self.state.config.args_escaped = Some(true);
            self.state.config.cmd = self.state.config.cmd.take().filter(|words| !words.is_empty());
        }
        let folder = matches!(command, Command::Workdir(_));
        // BuildKit makes a folder the user's, the classic builder root's.
        let user =
            self.state.config.user.clone().filter(|user| !user.is_empty() && self.build.front.is_lenient());
        let key = StepKey {
            noted: noted(&self.state.config, &said, !folder),
            content: match &user {
                Some(user) if folder => format!("{said} for {user}"),
                None if folder => said.clone(),
                _ => String::new(),
            },
            created_by: match &command {
                // Nothing is said about what is to happen later.
                Command::OnBuild(_) => String::new(),
                Command::Expose(ports) => exposed_in_history(ports)?,
                _ => said,
            },
            ..StepKey::default()
        };
        // BuildKit never makes a folder anew whose ground is the same.
        let reusable = folder && self.build.front.is_lenient() && !self.state.fresh;
        if self.found_if(reusable, &key).await? {
            return Ok(());
        }
        let mut made = Made::default();
        if folder {
            let path = self.state.config.working_dir.clone().unwrap_or_default();
            made.layer = self.build.folder_layer(&self.state.layers, &path, user.as_deref()).await?;
        }
        self.keep(key, made).await
    }

    async fn from(&mut self) -> Result<(), BuildFailure> {
        let stage = &self.build.plan.stages[self.step.stage];
        let platform = stage.platform.as_deref().unwrap_or(&self.build.request.platform);
        match &stage.base {
            Base::Scratch => {
                if !platform.is_empty() {
                    let Platform { architecture, variant, .. } = platform.parse()?;
                    self.state.architecture = architecture;
                    self.state.variant = Some(variant).filter(|variant| !variant.is_empty());
                }
                if self.build.front.is_lenient() {
                    self.state.config.working_dir = Some("/".to_owned());
                }
                self.state.config.env = Some(vec![DEFAULT_PATH.to_owned()]);
                return Ok(());
            }
            Base::Stage(base) => {
                let base = self.build.stage(*base).await?;
                let mut arguments = std::mem::take(&mut self.state.arguments);
                // To the classic builder each stage is a world of its own.
                if self.build.front.is_lenient() {
                    arguments.inherit(&base.arguments);
                }
                let fresh = self.build.front.is_lenient() && base.fresh;
                self.state = State { arguments, cmd_set: false, fresh, ..base.clone() };
            }
            Base::Image(image) => {
                let named = self.build.front.named(self.build, image).await?;
                let image = match &named {
                    Some(Named::Files(tree)) => {
                        let layer = layer_of(self.build, tree).await?;
                        self.state.config.env = Some(vec![DEFAULT_PATH.to_owned()]);
                        self.state.key = format!("files {}", layer.diff_id);
                        self.state.layers = vec![layer.diff_id];
                        return Ok(());
                    }
                    Some(Named::Built(solved)) => {
                        let arguments = std::mem::take(&mut self.state.arguments);
                        self.state = State { arguments, cmd_set: false, ..solved.state().clone() };
                        return self.triggers().await;
                    }
                    Some(Named::Image(image)) => image,
                    None => image,
                };
                let found = self.build.image(image, platform).await?;
                self.state.layers.clone_from(&found.layers);
                self.state.key = format!("image {}", found.layers.join(" "));
                self.state.config = found.config.config.clone().unwrap_or_default();
                self.state.history = found.config.history.clone().unwrap_or_default();
                self.state.architecture.clone_from(&found.config.architecture);
                self.state.variant.clone_from(&found.config.variant);
                self.state.image = Some(found.id);
            }
        }
        let env = self.state.config.env.get_or_insert_default();
        if !env.iter().any(|entry| entry.starts_with("PATH=")) {
            env.push(DEFAULT_PATH.to_owned());
        }
        self.triggers().await
    }

    /// What the base image wants to have done (`ONBUILD`).
    async fn triggers(&mut self) -> Result<(), BuildFailure> {
        let triggers = self.state.config.on_build.take().unwrap_or_default();
        if triggers.is_empty() {
            return Ok(());
        }
        let plural = if triggers.len() > 1 { "s" } else { "" };
        let note = format!("# Executing {} build trigger{plural}\n", triggers.len());
        self.build.front.note(self.build, &self.step, note).await?;
        let from = self.step.clone();
        for (number, trigger) in triggers.into_iter().enumerate() {
            for instruction in parse(&Dockerfile::parse(&trigger)?)? {
                if matches!(instruction.command, Command::From { .. } | Command::OnBuild(_)) {
                    return Err(EngineError::invalid(format!(
                        "{trigger} isn't allowed as an ONBUILD trigger"
                    ))
                    .into());
                }
                let instruction = Instruction { lines: from.lines, ..instruction };
                self.step = Step { text: instruction.text.clone(), trigger: Some(number), ..from.clone() };
                // Not recursive in fact: a trigger is never a FROM.
                Box::pin(self.take(&instruction)).await?;
            }
        }
        self.step = from;
        Ok(())
    }

    /// Takes over an equal step of an earlier build, if the cache may be used.
    pub(super) async fn found(&mut self, key: &StepKey) -> Result<bool, BuildFailure> {
        self.found_if(false, key).await
    }

    /// The same, even if the cache may not be used.
    async fn found_if(&mut self, reusable: bool, key: &StepKey) -> Result<bool, BuildFailure> {
        if !(reusable || self.build.may_reuse(self.step.stage))
            || !self.build.front.find(self.build, &self.step, &mut self.state, key).await?
        {
            return Ok(false);
        }
        self.build.front.cached(&self.step).await?;
        Ok(true)
    }

    pub(super) async fn keep(&mut self, key: StepKey, made: Made) -> Result<(), BuildFailure> {
        self.build.front.keep(self.build, &self.step, &mut self.state, key, made).await
    }
}

/// Where files to copy are.
#[derive(Debug)]
pub(super) enum Source {
    Layers(Vec<String>),
    Files(Arc<super::tree::Tree>),
}
