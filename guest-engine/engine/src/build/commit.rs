//! `docker commit`: an image of what a container has become.

use super::{Builder, dockerfile::Dockerfile, instruction::parse, run_config::apply};
use crate::{
    container::Status,
    error::{EngineError, Result},
    image::{Derived, Reference},
};
use bollard_stubs::models::{ContainerConfig, ImageConfig};

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct CommitRequest {
    pub container: String,
    /// Empty for an image without a name.
    pub repository: String,
    pub tag: String,
    pub comment: String,
    pub author: String,
    /// Freeze the container meanwhile.
    pub pause: bool,
    /// Lines of a Dockerfile.
    pub changes: Vec<String>,
    /// Takes precedence over the container's configuration; `None` when the client sent nothing.
    pub config: Option<ContainerConfig>,
}

impl Builder {
    /// Makes the image and says its id.
    pub async fn commit(&self, request: CommitRequest) -> Result<String> {
        let name = target(&request.repository, &request.tag)?;
        let snapshot = self.containers.inspect(&request.container)?;
        let record = &snapshot.record;
        if matches!(record.state.status, Status::Dead | Status::Removing) {
            let what = if record.state.status == Status::Dead { "dead" } else { "being removed" };
            return Err(EngineError::conflict(format!(
                "You cannot commit container {} which is {what}",
                record.id
            )));
        }
        let own = image_config(&record.config)?;
        let mut config = match &request.config {
            Some(config) => image_config(config)?,
            None => own.clone(),
        };
        changed(&mut config, &request.changes)?;
        inherit(&mut config, &own);
        let parent = self.images.get(&record.image_id).await.ok().map(|image| image.id);
        // One that has just ended, or is paused already, holds still anyway.
        let frozen = request.pause
            && record.state.status == Status::Running
            && self.containers.pause(&record.id).await.is_ok();
        let derived = Derived {
            parent,
            layers: record.layers.clone(),
            config,
            created_by: record.config.cmd.as_deref().unwrap_or_default().join(" "),
            step: own,
            container: Some(record.id.clone()),
            author: request.author,
            comment: request.comment.clone(),
            architecture: String::new(),
            variant: String::new(),
        };
        let layer = async { self.layers.commit_rootfs(&record.id, false).await.map(Some) };
        let made = async {
            let id = self.images.derive(derived, layer).await?;
            let reference = name.as_ref().map(Reference::familiar).unwrap_or_default();
            if let Some(name) = name {
                self.images.give(name, &id).await?;
            }
            self.containers.committed(&record.id, &request.comment, &id, &reference);
            Ok(id)
        };
        let made = made.await;
        if frozen {
            // Removed meanwhile, if it fails: the image is what was asked for.
            if let Err(error) = self.containers.unpause(&record.id).await {
                tracing::warn!(%error, container = record.id, "A committed container could not be resumed");
            }
        }
        made
    }
}

/// The name that the new image is to have.
pub(super) fn target(repository: &str, tag: &str) -> Result<Option<Reference>> {
    if repository.is_empty() {
        return Ok(None);
    }
    let name: Reference = repository.parse()?;
    if name.digest().is_some() {
        return Err(EngineError::invalid("cannot import digest reference"));
    }
    name.check_name()?;
    Ok(Some(if tag.is_empty() { name.or_latest() } else { name.with_tag(tag)? }))
}

/// The part of a container's configuration that images have.
pub(super) fn image_config(config: &ContainerConfig) -> Result<ImageConfig> {
    serde_json::to_value(config)
        .and_then(serde_json::from_value)
        .map_err(|e| EngineError::invalid("Invalid configuration").because(e))
}

/// What can be changed; the rest needs a build.
const CHANGES: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Changes are no Dockerfile whose lines one could look at.
fn without_line(error: EngineError) -> EngineError {
    let text = error.to_string();
    match text.strip_prefix("dockerfile parse error on line ").and_then(|rest| rest.split_once(": ")) {
        Some((_, what)) => EngineError::invalid(what.to_owned()),
        None => error,
    }
}

/// Applies `--change`.
pub(super) fn changed(config: &mut ImageConfig, changes: &[String]) -> Result<()> {
    let dockerfile = Dockerfile::parse(&changes.join("\n"))?;
    let mut cmd_set = false;
    for line in &dockerfile.lines {
        let word = line.text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        if !CHANGES.contains(&word.as_str()) {
            return Err(EngineError::invalid(format!("{word} is not a valid change command")));
        }
    }
    for instruction in parse(&dockerfile).map_err(without_line)? {
        let unquoted = super::steps::expanded(&instruction.command, dockerfile.escape, [].as_slice())
            .map_err(EngineError::invalid)?;
        apply(config, &unquoted, &mut cmd_set)?;
    }
    Ok(())
}

/// What the new configuration leaves open comes from the container's.
fn inherit(config: &mut ImageConfig, own: &ImageConfig) {
    let blank = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
    let none = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    if blank(&config.user) {
        config.user.clone_from(&own.user);
    }
    for (mine, theirs) in
        [(&mut config.exposed_ports, &own.exposed_ports), (&mut config.volumes, &own.volumes)]
    {
        let mut all: Vec<String> = mine.iter().chain(theirs).flatten().cloned().collect();
        all.sort();
        all.dedup();
        *mine = Some(all).filter(|all| !all.is_empty());
    }
    let key = |entry: &str| entry.split_once('=').map_or(entry.to_owned(), |(key, _)| key.to_owned());
    let mut env = config.env.take().unwrap_or_default();
    for entry in own.env.iter().flatten() {
        if !env.iter().any(|mine| key(mine) == key(entry)) {
            env.push(entry.clone());
        }
    }
    config.env = Some(env);
    for (name, value) in own.labels.iter().flatten() {
        config.labels.get_or_insert_default().entry(name.clone()).or_insert_with(|| value.clone());
    }
    if none(&config.entrypoint) {
        if none(&config.cmd) {
            config.cmd.clone_from(&own.cmd);
        }
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&own.entrypoint);
        }
    }
    if config.healthcheck.is_none() {
        config.healthcheck.clone_from(&own.healthcheck);
    }
    if blank(&config.working_dir) {
        config.working_dir.clone_from(&own.working_dir);
    }
    if blank(&config.stop_signal) {
        config.stop_signal.clone_from(&own.stop_signal);
    }
    if none(&config.shell) {
        config.shell.clone_from(&own.shell);
    }
    if none(&config.on_build) {
        config.on_build.clone_from(&own.on_build);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_before_the_containers_configuration() {
        let own = ImageConfig {
            env: Some(vec!["A=own".into(), "B=own".into()]),
            cmd: Some(vec!["sh".into()]),
            user: Some("me".into()),
            ..ImageConfig::default()
        };
        let mut config = ImageConfig::default();
        changed(&mut config, &["ENV A=\"new one\"".into(), "CMD [\"x\"]".into()]).unwrap();
        inherit(&mut config, &own);
        assert_eq!(config.env.unwrap(), ["A=new one", "B=own"]);
        assert_eq!((config.cmd.unwrap(), config.user.unwrap()), (vec!["x".to_owned()], "me".to_owned()));
        let refused = changed(&mut ImageConfig::default(), &["RUN x".into()]).unwrap_err().to_string();
        assert_eq!(refused, "RUN is not a valid change command");
    }
}
