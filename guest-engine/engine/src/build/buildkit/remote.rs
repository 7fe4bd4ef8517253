//! Contexts that the client does not send as a folder: its stdin, URLs and git repositories.

use super::{BuildClient, Door, SolveRequest, Teller};
use crate::{
    build::{
        Builder, Workspace,
        context::{self, Context},
        remote::{GitToken, Remote},
        stage::Build,
        tree::Tree,
    },
    error::{EngineError, Result},
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Secrets that open repositories: a token, or a whole header. Those of one host have its name behind theirs.
const TOKEN: &str = "GIT_AUTH_TOKEN";
const HEADER: &str = "GIT_AUTH_HEADER";

impl Builder {
    /// The whole context with its Dockerfile, from stdin or from elsewhere.
    pub(super) async fn taken(
        &self,
        request: &SolveRequest,
        client: &dyn BuildClient,
        teller: &Teller,
        workspace: &Workspace,
        cancel: &CancellationToken,
    ) -> Result<Context> {
        let name = request.build.dockerfile.clone();
        if let Some(path) = &request.upload {
            let task = teller.begin("[internal] load remote build context");
            let taken = async {
                let stream = client.upload(path).await?;
                context::take(stream, workspace.0.join("upload"), name).await
            }
            .await;
            task.ended(&taken);
            return taken;
        }
        let url = request.remote.as_deref().unwrap_or_default();
        let (remote, title) = known(url)?;
        let task = teller.begin(title);
        let taken = async {
            let token = token_for(client, &remote).await?;
            self.context_of(&remote, token, workspace, &name, cancel).await
        }
        .await;
        task.ended(&taken);
        taken
    }

    /// Only its files.
    pub(super) async fn elsewhere(
        &self,
        client: &dyn BuildClient,
        teller: &Teller,
        workspace: &Workspace,
        cancel: &CancellationToken,
        url: &str,
    ) -> Result<Arc<Tree>> {
        let (remote, title) = known(url)?;
        let task = teller.begin(title);
        let taken = async {
            let token = token_for(client, &remote).await?;
            self.files_elsewhere(&remote, token, workspace, cancel).await
        }
        .await;
        task.ended(&taken);
        taken
    }
}

impl Door<'_> {
    /// The files of a named context that is a URL.
    pub(super) async fn files_at(&self, build: &Build<'_>, name: &str, url: &str) -> Result<Arc<Tree>> {
        let mut known = self.named.lock().await;
        if let Some(tree) = known.get(name) {
            return Ok(Arc::clone(tree));
        }
        let (builder, workspace) = (build.builder, &build.workspace);
        let tree = builder.elsewhere(self.client, &self.teller, workspace, &self.cancel, url).await?;
        known.insert(name.to_owned(), Arc::clone(&tree));
        Ok(tree)
    }
}

/// What opens the repositories of a host, if the client has it.
pub(super) async fn git_token(client: &dyn BuildClient, host: &str) -> Result<Option<GitToken>> {
    for suffix in [format!(".{host}"), String::new()] {
        if let Some(header) = client.secret(&format!("{HEADER}{suffix}")).await? {
            return GitToken::of_header(&String::from_utf8_lossy(&header)).map(Some);
        }
        if let Some(token) = client.secret(&format!("{TOKEN}{suffix}")).await? {
            return GitToken::of_token(String::from_utf8_lossy(&token).trim()).map(Some);
        }
    }
    Ok(None)
}

async fn token_for(client: &dyn BuildClient, remote: &Remote) -> Result<Option<GitToken>> {
    match remote {
        Remote::Git(repository) => git_token(client, &repository.host()).await,
        Remote::Http(_) => Ok(None),
    }
}

fn known(url: &str) -> Result<(Remote, String)> {
    match Remote::of(url)? {
        Some(remote @ Remote::Git(_)) => Ok((remote, format!("[internal] load git source {}", shown(url)))),
        Some(remote) => Ok((remote, "[internal] load remote build context".to_owned())),
        None => Err(EngineError::invalid(format!("{url}: this is neither a URL nor a git repository"))),
    }
}

/// Without a password.
fn shown(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) if !rest.contains("://") => format!("{scheme}://xxxxx@{rest}"),
        _ => url.to_owned(),
    }
}
