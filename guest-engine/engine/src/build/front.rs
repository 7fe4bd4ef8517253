//! What differs between the builder's two doors, the classic API and BuildKit's: how progress is told, where
//! steps of earlier builds are looked for and kept, and what a `RUN` runs in.

use super::{
    BuildFailure,
    base::PullWatcher,
    buildkit::{BuildClient, Solved},
    mount::BuildMount,
    stage::{Build, State},
    tree::Tree,
};
use crate::{
    error::{EngineError, Result},
    ports::LayerInfo,
    registry::Credentials,
};
use async_trait::async_trait;
use bollard_stubs::models::ImageConfig;
use std::{fmt::Debug, sync::Arc};
use tokio_util::sync::CancellationToken;

/// A step at work, for whoever watches.
#[derive(Clone, Debug, Default)]
pub(super) struct Step {
    pub(super) stage: usize,
    /// Of its instruction in the stage.
    pub(super) index: usize,
    pub(super) text: String,
    /// First and last line in the Dockerfile.
    pub(super) lines: (usize, usize),
    /// An instruction that the base image brought along (`ONBUILD`), by its number.
    pub(super) trigger: Option<usize>,
}

/// By what a step is found again, and how it is written down.
#[derive(Clone, Debug, Default)]
pub(super) struct StepKey {
    /// The configuration of the container that the classic builder would make for it.
    pub(super) noted: ImageConfig,
    /// As BuildKit's history has it.
    pub(super) created_by: String,
    /// Everything that decides about its layer, but what is below; empty for a step that has none.
    pub(super) content: String,
    /// Its layer does not depend on what is below.
    pub(super) link: bool,
    /// It copies files.
    pub(super) transfer: bool,
}

/// What a step made.
#[derive(Clone, Debug, Default)]
pub(super) struct Made {
    pub(super) layer: Option<LayerInfo>,
    /// The container it ran in, if that is one.
    pub(super) container: Option<String>,
}

/// A command to be run over a stage.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) words: Vec<String>,
    /// Build arguments.
    pub(super) arguments: Vec<(String, String)>,
    pub(super) mounts: Vec<BuildMount>,
    /// `default`, `none` or `host`.
    pub(super) network: Option<String>,
    /// A script that is run as it is: its file's name and content.
    pub(super) script: Option<(String, String)>,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: i32,
    /// Nothing unless the code is 0.
    pub(super) made: Made,
}

/// What a client gave a name to, instead of an image or a stage.
#[derive(Clone, Debug)]
pub(super) enum Named {
    Image(String),
    Files(Arc<Tree>),
    /// What another build has made.
    Built(Arc<Solved>),
}

/// Failures that each door words in its own way.
#[derive(Clone, Debug)]
pub(super) enum Trouble<'a> {
    /// A command ended with a code other than 0.
    Exit { words: &'a [String], code: i32 },
    /// `--from` a stage that is none, or not there yet.
    NoStage { from: &'a str, itself: bool },
    /// An image that is not here, and cannot be pulled.
    NoImage { image: &'a str, full: &'a str, error: &'a EngineError },
    /// A download that did not work.
    NoDownload { error: &'a EngineError },
    /// Nothing to copy is there.
    NoSource { keyword: &'static str, path: &'a str, context: bool },
}

/// A door of the builder.
#[async_trait]
pub(super) trait Front: Debug + Send + Sync {
    /// A step begins.
    async fn begin(&self, build: &Build<'_>, step: &Step) -> Result<(), BuildFailure>;
    /// It was found, not made.
    async fn cached(&self, step: &Step) -> Result<(), BuildFailure>;
    /// It has ended.
    async fn end(
        &self,
        build: &Build<'_>,
        step: &Step,
        state: &State,
        failure: Option<&BuildFailure>,
    ) -> Result<(), BuildFailure>;
    /// Something the user ought to know.
    async fn note(&self, build: &Build<'_>, step: &Step, text: String) -> Result<(), BuildFailure>;
    /// Takes over an equal step of an earlier build; false when there is none.
    async fn find(&self, build: &Build<'_>, step: &Step, state: &mut State, key: &StepKey) -> Result<bool>;
    /// Puts what the step made onto the stage, to be found again.
    async fn keep(
        &self,
        build: &Build<'_>,
        step: &Step,
        state: &mut State,
        key: StepKey,
        made: Made,
    ) -> Result<(), BuildFailure>;
    /// Runs a command over a stage.
    async fn run(
        &self,
        build: &Build<'_>,
        step: &Step,
        state: &State,
        process: Process,
    ) -> Result<Ran, BuildFailure>;
    /// The client's files.
    async fn context(&self, build: &Build<'_>, step: &Step) -> Result<Arc<Tree>, BuildFailure>;
    /// What the client gave this name to.
    async fn named(&self, build: &Build<'_>, name: &str) -> Result<Option<Named>, BuildFailure>;
    /// Who has secrets and keys that open repositories, if anybody.
    fn client(&self) -> Option<&dyn BuildClient>;
    /// Whether it lets pass, as BuildKit does, what the classic builder refuses: patterns that match nothing,
    /// several files for one place, owners that nobody knows, downloads without a name. What is copied from
    /// archives on stdin stays whose it was, and what is made to copy into gets the owner that is asked for.
    /// Stages know the arguments of those that they stand on.
    fn is_lenient(&self) -> bool;
    /// What the client would show a registry.
    async fn credentials(&self, build: &Build<'_>, domain: &str) -> Result<Credentials>;
    /// An image is about to be pulled.
    fn pulling(&self, image: &str) -> Box<dyn PullWatcher>;
    /// Words a failure.
    fn trouble(&self, trouble: Trouble<'_>) -> EngineError;
    /// Cancelled when nobody waits for the build any more.
    fn cancel(&self) -> &CancellationToken;
}
