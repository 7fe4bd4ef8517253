//! `RUN`: what is run, and by what it is found again.

use super::{
    BuildFailure,
    dockerfile::Heredoc,
    front::{Process, StepKey, Trouble},
    instruction::{Command, CommandLine},
    mount::{self, MountKind},
    run_config::{absolute, resolved, shell},
    stage::Work,
};
use crate::error::EngineError;
use bollard_stubs::models::ImageConfig;

impl Work<'_> {
    pub(super) async fn run(&mut self, command: &Command) -> Result<(), BuildFailure> {
        let Command::Run { command, flags, heredocs } = command else { return Ok(()) };
        let (line, script) = with_documents(command, heredocs)?;
        let words = match &script {
            // Its place is one that only this process sees.
            Some((name, _)) => {
                let line = CommandLine { words: vec![format!("/dev/pipes/{name}")], shell: true };
                resolved(&line, &self.state.config)
            }
            None => resolved(&line, &self.state.config),
        };
        let mut mounts = Vec::new();
        let folder = self.state.config.working_dir.clone().unwrap_or_default();
        for text in &flags.mounts {
            let mut mount = mount::parse(text)?;
            if !mount.target.is_empty() {
                mount.target = absolute(&folder, &mount.target);
            }
            mounts.push(mount);
        }
        if flags.security.as_deref().is_some_and(|security| security != "sandbox") {
            return Err(EngineError::invalid("granting entitlement security.insecure is not allowed").into());
        }
        let key = self.run_key(&words, &mounts, script.as_ref(), flags.network.as_deref()).await?;
        if self.found(&key).await? {
            return Ok(());
        }
        let process = Process {
            words: words.clone(),
            arguments: self.arguments_in_sight(),
            mounts,
            network: flags.network.clone(),
            script,
        };
        let ran = self.build.front.run(self.build, &self.step, &self.state, process).await?;
        if ran.code != 0 {
            let error = self.build.front.trouble(Trouble::Exit { words: &words, code: ran.code });
            return Err(BuildFailure { error, code: Some(ran.code), lines: None });
        }
        self.keep(key, ran.made).await
    }

    fn arguments_in_sight(&self) -> Vec<(String, String)> {
        self.state.arguments.in_sight(self.state.config.env.as_deref().unwrap_or_default())
    }

    async fn run_key(
        &mut self,
        words: &[String],
        mounts: &[mount::BuildMount],
        script: Option<&(String, String)>,
        network: Option<&str>,
    ) -> Result<StepKey, BuildFailure> {
        let arguments = self.arguments_in_sight();
        let counted: Vec<String> = arguments
            .iter()
            .filter(|(name, _)| self.state.arguments.counts(name))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        // The history and the cache see which arguments were in sight.
        let with = |told: &[String]| -> Vec<String> {
            let count = format!("|{}", told.len());
            [count].into_iter().chain(told.to_vec()).chain(words.to_vec()).collect()
        };
        let noted = if arguments.is_empty() { words.to_vec() } else { with(&counted) };
        let told = self.state.arguments.told(self.state.config.env.as_deref().unwrap_or_default());
        let created_by = if told.is_empty() { words.to_vec() } else { with(&told) };
        let mut content = format!(
            "RUN {words:?} {counted:?} {:?} {:?} {:?} {network:?} {script:?} {:?}",
            self.state.config.env,
            self.state.config.working_dir,
            self.state.config.user,
            self.build.request.host.network_mode
        );
        let host = &self.build.request.host;
        if host.extra_hosts.is_some()
            || host.shm_size.is_some()
            || host.ulimits.is_some()
            || host.cgroup_parent.is_some()
        {
            let around = (&host.extra_hosts, host.shm_size, &host.ulimits, &host.cgroup_parent);
            content.push_str(&format!(" {around:?}"));
        }
        for mount in mounts {
            content.push_str(&format!(" {mount:?}"));
            // What is in a secret, a cache or an agent does not count; the files of others do.
            if let MountKind::Bind { from, source, .. } = &mount.kind {
                let hash = self.hash_of(from.as_deref(), source).await?;
                content.push_str(&hash);
            }
        }
        Ok(StepKey {
            created_by: format!("RUN {} # buildkit", created_by.join(" ")),
            noted: ImageConfig { cmd: Some(noted), ..self.state.config.clone() },
            content,
            ..StepKey::default()
        })
    }
}

/// A script, or a command that reads documents, as one text for the shell; or a script that names its own
/// interpreter, with its file's name.
fn with_documents(
    line: &CommandLine,
    heredocs: &[Heredoc],
) -> Result<(CommandLine, Option<(String, String)>), EngineError> {
    if heredocs.is_empty() {
        return Ok((line.clone(), None));
    }
    if !line.shell {
        return Err(EngineError::invalid("a here-document cannot be used with RUN in exec form"));
    }
    let text = line.words.concat();
    let alone = text.trim_start_matches(['<', '-']).trim_matches(['"', '\'']);
    if let [only] = heredocs
        && alone == only.name
    {
        if only.content.starts_with("#!") {
            return Ok((line.clone(), Some((only.name.clone(), only.content.clone()))));
        }
        return Ok((CommandLine { words: vec![only.content.clone()], shell: true }, None));
    }
    let documents = heredocs.iter().map(Heredoc::lines).collect::<String>();
    let script = format!("{text}{documents}");
    Ok((CommandLine { words: vec![script], shell: true }, None))
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
