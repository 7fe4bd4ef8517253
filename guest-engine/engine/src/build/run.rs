//! `RUN`: the command in a container, its output on the way, its changes as the step's layer.

use super::{
    BuildFailure, Progress,
    instruction::{Command, CommandLine},
    run_config::{resolved, shell},
    stage::{Build, State},
};
use crate::{
    container::{CreateRequest, WaitCondition},
    error::EngineError,
    id::short,
    ports::{AttachRequest, StreamKind},
};
use bollard_stubs::models::{ContainerConfig, HealthConfig, ImageConfig};
use futures_util::StreamExt;

impl Build<'_> {
    pub(super) async fn run(&mut self, state: &mut State, command: &Command) -> Result<(), BuildFailure> {
        let Command::Run { command, heredocs } = command else { return Ok(()) };
        let mut line = command.clone();
        if !heredocs.is_empty() {
            line = with_documents(&line, heredocs)?;
        }
        let words = resolved(&line, &state.config);
        let arguments = self.arguments.in_sight(state.config.env.as_deref().unwrap_or_default());
        let counted: Vec<String> = arguments
            .iter()
            .filter(|(name, _)| self.arguments.counts(name))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        // The history and the cache see which arguments were in sight.
        let noted = if arguments.is_empty() {
            words.clone()
        } else {
            let count = format!("|{}", counted.len());
            [count].into_iter().chain(counted).chain(words.clone()).collect()
        };
        let step = ImageConfig { cmd: Some(noted), ..state.config.clone() };
        if self.cached(state, &step).await? {
            return Ok(());
        }
        let container = self.container(state, words.clone(), &arguments).await?;
        self.say(format!(" ---> Running in {}\n", short(&container))).await?;
        let code = self.execute(&container).await?;
        if code != 0 {
            let message = format!("The command '{}' returned a non-zero code: {code}", words.join(" "));
            return Err(BuildFailure { error: EngineError::invalid(message), code: Some(code) });
        }
        let (layers, consume) = (std::sync::Arc::clone(&self.builder.layers), self.request.remove);
        let id = container.clone();
        let layer = async move { layers.commit_rootfs(&id, consume).await.map(Some) };
        self.keep(state, step, Some(container), layer).await?;
        Ok(())
    }

    async fn container(
        &mut self,
        state: &State,
        words: Vec<String>,
        arguments: &[(String, String)],
    ) -> Result<String, BuildFailure> {
        let image = self.image_to_run(state).await?;
        let invalid = |e| EngineError::invalid("Invalid configuration").because(e);
        let mut config: ContainerConfig =
            serde_json::to_value(&state.config).and_then(serde_json::from_value).map_err(invalid)?;
        let env = config.env.get_or_insert_default();
        env.extend(arguments.iter().map(|(name, value)| format!("{name}={value}")));
        config.image = Some(image);
        config.cmd = Some(words);
        // "None at all": the image's own must not stand before the command.
        config.entrypoint = Some(vec![String::new()]);
        config.healthcheck =
            Some(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() });
        config.attach_stdout = Some(true);
        config.attach_stderr = Some(true);
        let request = CreateRequest { config, host: self.request.host.clone(), ..CreateRequest::default() };
        let created = self.builder.containers.create(request).await?;
        self.left.push(created.id.clone());
        for warning in created.warnings {
            self.say(format!(" ---> [Warning] {warning}\n")).await?;
        }
        Ok(created.id)
    }

    /// Runs the container to its end, or to the build's.
    async fn execute(&self, container: &str) -> Result<i32, BuildFailure> {
        let containers = &self.builder.containers;
        let output = AttachRequest { stdin: false, stdout: true, stderr: true };
        let attachment = containers.attach(container, output).await?;
        let waiting = containers.wait(container, WaitCondition::NextExit)?;
        containers.start(container).await?;
        let relay = async {
            let Some(mut streams) = attachment.connected().await else { return };
            while let Some(frame) = streams.output.next().await {
                let Ok(frame) = frame else { break };
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
            () = self.cancelled() => Err(Self::gone()),
            waited = ended => match waited.error {
                Some(error) => Err(EngineError::system(error).into()),
                None => Ok(waited.exit_code),
            },
        }
    }
}

/// A script, or a command that reads documents, as one text for the shell.
fn with_documents(
    line: &CommandLine,
    heredocs: &[super::dockerfile::Heredoc],
) -> Result<CommandLine, EngineError> {
    if !line.shell {
        return Err(EngineError::invalid("a here-document cannot be used with RUN in exec form"));
    }
    let text = line.words.concat();
    let alone = text.trim_start_matches(['<', '-']).trim_matches(['"', '\'']);
    if let [only] = heredocs
        && alone == only.name
    {
        if only.content.starts_with("#!") {
            return Err(EngineError::invalid(
                "a here-document that names its own interpreter requires BuildKit, which this engine does not \
                 serve yet; the classic builder cannot do it",
            ));
        }
        return Ok(CommandLine { words: vec![only.content.clone()], shell: true });
    }
    let mut script = text;
    script.push('\n');
    for heredoc in heredocs {
        script.push_str(&heredoc.content);
        script.push_str(&heredoc.name);
        script.push('\n');
    }
    Ok(CommandLine { words: vec![script], shell: true })
}

/// `/bin/sh -c #(nop) `: how a step that runs nothing is noted.
pub(super) fn noted(config: &ImageConfig, comment: &str, spaced: bool) -> ImageConfig {
    let mut words = shell(config);
    if spaced {
        words.extend(["#(nop) ".to_owned(), comment.to_owned()]);
    } else {
        words.push(format!("#(nop) {comment}"));
    }
    ImageConfig { cmd: Some(words), ..config.clone() }
}
