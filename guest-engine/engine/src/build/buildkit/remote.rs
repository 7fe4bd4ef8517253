//! Contexts that the client does not send as a folder: its stdin, URLs and git repositories.

use super::{BuildClient, Door, SolveRequest, Teller};
use crate::{
    build::{
        Builder, Workspace,
        context::{self, Context},
        remote::Remote,
        stage::Build,
        tree::Tree,
    },
    error::{EngineError, Result},
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

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
        let taken = async { self.context_of(&remote, Some(client), workspace, &name, cancel).await }.await;
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
        let taken = async { self.files_elsewhere(&remote, Some(client), workspace, cancel).await }.await;
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
