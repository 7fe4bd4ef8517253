//! What a build begins with: the Dockerfile and the ignore file, fetched and understood.

use super::{BuildClient, FolderRequest, SolveFailure, SolveRequest, progress::Teller};
use crate::{
    build::{
        BuildFailure, Builder, Workspace,
        arguments::Arguments,
        dockerfile::Dockerfile,
        instruction::is_of_words,
        plan::{Namesake, Plan},
        tree::Tree,
    },
    error::{EngineError, Result},
    platform::machine_architecture,
};
use std::{sync::Arc, time::SystemTime};
use tokio_util::sync::CancellationToken;

/// Bytes of a Dockerfile or an ignore file.
pub(super) const TEXT: u64 = 4 << 20;
/// Frontends that are the same as what is built in here.
const OWN_FRONTEND: &str = "docker/dockerfile";

/// What is there before the first stage begins.
pub(super) struct Definition {
    /// What told about its coming in.
    pub(super) vertex: String,
    pub(super) dockerfile: String,
    pub(super) ignore: Vec<String>,
    pub(super) uploaded: Option<Arc<Tree>>,
}

impl Definition {
    /// A failure with the lines that it is about.
    pub(super) fn failed(&self, request: &SolveRequest, failure: BuildFailure) -> SolveFailure {
        SolveFailure { failure, dockerfile: self.dockerfile.clone(), name: request.build.dockerfile.clone() }
    }
}

impl Builder {
    /// Fetches the Dockerfile and the ignore file.
    pub(super) async fn definition(
        &self,
        request: &SolveRequest,
        client: &dyn BuildClient,
        teller: &Teller,
        workspace: &Workspace,
        cancel: &CancellationToken,
    ) -> Result<Definition> {
        if request.upload.is_some() || (request.remote.is_some() && !request.own_dockerfile) {
            let taken = self.taken(request, client, teller, workspace, cancel).await?;
            let (dockerfile, uploaded) = (taken.dockerfile, Some(Arc::new(taken.tree)));
            return Ok(Definition { vertex: String::new(), dockerfile, ignore: Vec::new(), uploaded });
        }
        let name = crate::build::tree::clean(&request.build.dockerfile);
        let own_ignore = format!("{name}.dockerignore");
        let task = teller.begin(format!("[internal] load build definition from {name}"));
        let started = SystemTime::now();
        let wanted = FolderRequest {
            name: request.dockerfile_folder.clone(),
            follow: vec![name.clone(), own_ignore.clone()],
            exclude: Vec::new(),
        };
        let synced = self.mirrors.sync(client, wanted).await;
        let read = synced.and_then(|synced| {
            task.note("transferring dockerfile:", synced.sent, started);
            let text = synced.tree.text(&name, TEXT)?;
            let text = text.ok_or_else(|| {
                EngineError::invalid(format!(
                    "failed to read dockerfile: open {}: no such file or directory",
                    request.build.dockerfile
                ))
            })?;
            Ok((text, synced.tree.text(&own_ignore, TEXT)?))
        });
        let vertex = task.id().to_owned();
        task.ended(&read);
        let (dockerfile, ignore) = read?;
        if let Some(url) = &request.remote {
            let tree = self.elsewhere(client, teller, workspace, cancel, url).await?;
            return Ok(Definition { vertex, dockerfile, ignore: Vec::new(), uploaded: Some(tree) });
        }
        if dockerfile.trim().is_empty() {
            return Err(EngineError::invalid(format!(
                "the Dockerfile ({}) cannot be empty",
                request.build.dockerfile
            )));
        }
        let task = teller.begin("[internal] load .dockerignore");
        let started = SystemTime::now();
        let ignore = match ignore {
            Some(own) => Ok(own),
            None => {
                let wanted = FolderRequest {
                    name: request.context_folder.clone(),
                    follow: vec![".dockerignore".to_owned()],
                    exclude: Vec::new(),
                };
                // A folder of its own: it must not make the mirror of the context forget the rest.
                let synced = self.mirrors.peek(client, wanted).await;
                synced.and_then(|synced| {
                    task.note("transferring context:", synced.sent, started);
                    Ok(synced.tree.text(".dockerignore", TEXT)?.unwrap_or_default())
                })
            }
        };
        task.ended(&ignore);
        Ok(Definition { vertex, dockerfile, ignore: patterns(&ignore?), uploaded: None })
    }
}

/// Errors of reading a Dockerfile name their line in words.
pub(super) fn with_line(error: EngineError) -> BuildFailure {
    let text = error.to_string();
    let told = text.strip_prefix("dockerfile parse error on line ").and_then(|rest| rest.split_once(": "));
    let Some((line, what)) = told else { return error.into() };
    let lines = line.parse().ok().map(|line| (line, line));
    // What is wrong before instructions are looked at, BuildKit tells without the line in words.
    let error = if is_of_words(what) { EngineError::invalid(what.to_owned()) } else { error };
    BuildFailure { error, code: None, lines }
}

/// A Dockerfile as it is understood.
#[derive(Debug)]
pub(super) struct Understood {
    pub(super) dockerfile: Dockerfile,
    pub(super) plan: Plan,
    pub(super) arguments: Arguments,
}

/// Up to the target, which may be empty.
pub(super) fn plan(request: &SolveRequest, text: &str, target: &str) -> Result<Understood> {
    let dockerfile = Dockerfile::parse(text)?;
    let asked = request.build.arguments.get("BUILDKIT_SYNTAX").cloned().flatten();
    if let Some(frontend) = asked.or_else(|| dockerfile.syntax.clone()) {
        own_frontend(&frontend)?;
    }
    let mut arguments = Arguments::with_proxies(request.build.arguments.clone());
    let platform = match request.build.platform.as_str() {
        "" => format!("linux/{}", machine_architecture()),
        platform => platform.to_owned(),
    };
    arguments.set_platform(&platform, &request.build.target);
    let mut plan = Plan::new(&dockerfile, &mut arguments)?;
    plan.stop_at(target, Namesake::Last)?;
    if !request.host_network && plan.runs_on_host_network() {
        return Err(EngineError::invalid("failed to load LLB: network.host is not allowed"));
    }
    Ok(Understood { dockerfile, plan, arguments })
}

/// `SOURCE_DATE_EPOCH`: the moment that the image is to be of.
pub(super) fn epoch(request: &SolveRequest) -> Result<Option<String>> {
    let given = request.build.arguments.get("SOURCE_DATE_EPOCH").and_then(Option::as_deref);
    let Some(text) = given.filter(|text| !text.is_empty()) else { return Ok(None) };
    let moment = text.parse().ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let bad = || EngineError::invalid(format!("invalid SOURCE_DATE_EPOCH: {text}"));
    Ok(Some(moment.ok_or_else(bad)?.to_string()))
}

/// `# syntax=`: version 1 of Docker's own is what is built in; others would be programs to be run.
pub fn own_frontend(frontend: &str) -> Result<()> {
    let plain = frontend.strip_prefix("docker.io/").unwrap_or(frontend);
    let plain = plain.split('@').next().unwrap_or_default();
    let (name, tag) = plain.split_once(':').unwrap_or((plain, "latest"));
    let version = tag.split(['.', '-']).next().unwrap_or_default();
    if matches!(name, OWN_FRONTEND | "docker/dockerfile-upstream")
        && matches!(version, "1" | "latest" | "labs" | "master" | "experimental")
    {
        return Ok(());
    }
    Err(EngineError::not_implemented(format!(
        "the frontend {frontend} is not supported: this engine builds Dockerfiles itself (as {OWN_FRONTEND}:1) and \
         runs no other frontends"
    )))
}

/// Patterns as clients understand them: without comments and empty lines.
pub(super) fn patterns(text: &str) -> Vec<String> {
    text.strip_prefix('\u{feff}')
        .unwrap_or(text)
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .filter_map(|line| {
            let (mark, path) = line.strip_prefix('!').map_or(("", line), |rest| ("!", rest.trim()));
            let clean = crate::build::tree::clean(path);
            (!clean.is_empty()).then(|| format!("{mark}{clean}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dockers_own_frontend_is_built_in() {
        for own in [
            "docker/dockerfile:1",
            "docker/dockerfile:1.7-labs",
            "docker.io/docker/dockerfile",
            "docker/dockerfile:1@sha256:0",
        ] {
            assert!(own_frontend(own).is_ok(), "{own}");
        }
        for other in ["docker/dockerfile:2", "me/frontend", "docker/dockerfiles:1"] {
            let error = own_frontend(other).unwrap_err().to_string();
            assert!(error.contains("runs no other frontends"), "{error}");
        }
    }

    #[test]
    fn errors_name_their_line_as_buildkit_does() {
        for (text, told, line) in [
            ("dockerfile parse error on line 2: unknown flag: x", None, 2),
            (
                "dockerfile parse error on line 3: ENV must have two arguments",
                Some("ENV must have two arguments"),
                3,
            ),
        ] {
            let failure = with_line(EngineError::invalid(text));
            assert_eq!(failure.error.to_string(), told.unwrap_or(text));
            assert_eq!(failure.lines, Some((line, line)));
        }
        assert_eq!(with_line(EngineError::invalid("file with no instructions")).lines, None);
    }

    #[test]
    fn patterns_are_cleaned_for_the_client() {
        assert_eq!(patterns("# no\n\n /a/./b/ \n!c\n**/*.o\n/\n"), ["a/b", "!c", "**/*.o"]);
    }
}
