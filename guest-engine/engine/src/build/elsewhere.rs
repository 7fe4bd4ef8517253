//! Contexts, and sources of `ADD`, that are not the client's: see [`Remote`].

use super::{
    BuildFailure, Builder, Workspace, blocking,
    buildkit::BuildClient,
    context::{self, Context},
    front::Trouble,
    instruction::Transfer,
    remote::{Checkout, Download, Remote, Repository},
    stage::Work,
    transfer::{Manner, Picked, one},
    tree::{Kind, Node, Tree},
};
use crate::{
    error::{EngineError, Result},
    image::config::digest,
};
use futures_util::TryStreamExt;
use reqwest::Url;
use std::{collections::BTreeMap, fs::File, io, path::PathBuf, sync::Arc};
use tokio_util::{io::StreamReader, sync::CancellationToken};

/// What a file is called whose URL does not say.
const NAMELESS: &str = "download";

impl Builder {
    /// A whole context: an archive's or a repository's files, or only a Dockerfile.
    pub(super) async fn context_of(
        &self,
        remote: &Remote,
        client: Option<&dyn BuildClient>,
        workspace: &Workspace,
        dockerfile: &str,
        cancel: &CancellationToken,
    ) -> Result<Context> {
        match remote {
            Remote::Http(url) => {
                let download = self.fetcher.download(url).await?;
                let spool = workspace.0.join("context.tar");
                context::take(download.stream(), spool, dockerfile.to_owned()).await
            }
            Remote::Git(repository) => {
                let checkout = self.fetcher.checkout(repository, false, client, workspace, cancel).await?;
                let tree = Arc::try_unwrap(checkout.tree);
                let tree = tree.map_err(|_| EngineError::system("The repository's files are in use"))?;
                let dockerfile = dockerfile.to_owned();
                blocking(move || context::of_tree(tree, &dockerfile)).await
            }
        }
    }

    /// Files that a build has a name for.
    pub(super) async fn files_elsewhere(
        &self,
        remote: &Remote,
        client: Option<&dyn BuildClient>,
        workspace: &Workspace,
        cancel: &CancellationToken,
    ) -> Result<Arc<Tree>> {
        match remote {
            Remote::Http(url) => {
                let download = self.fetcher.download(url).await?;
                let spool = workspace.0.join(format!("named-{}", crate::id::random_id()?));
                let taken = context::take_files(download.stream(), spool, Download::name(url)).await?;
                Ok(Arc::new(taken))
            }
            Remote::Git(repository) => {
                Ok(self.fetcher.checkout(repository, false, client, workspace, cancel).await?.tree)
            }
        }
    }
}

impl Work<'_> {
    /// `ADD` of a URL or a repository.
    pub(super) async fn picked_from_elsewhere(
        &self,
        transfer: &Transfer,
        remote: &Remote,
        manner: Manner,
    ) -> Result<Vec<Picked>, BuildFailure> {
        if transfer.checksum.is_some() && transfer.sources.len() > 1 {
            return Err(EngineError::invalid("checksum can't be specified for multiple sources").into());
        }
        match remote {
            Remote::Http(url) => Ok(vec![self.downloaded(transfer, url, manner).await?]),
            Remote::Git(repository) => self.cloned(transfer, repository).await,
        }
    }

    async fn downloaded(
        &self,
        transfer: &Transfer,
        url: &Url,
        manner: Manner,
    ) -> Result<Picked, BuildFailure> {
        let fetch = async {
            let download = self.build.builder.fetcher.download(url).await?;
            let modified = download.modified();
            let path = self.build.spool_path();
            let (file, length) = written(download, path).await?;
            Ok::<_, EngineError>((file, length, modified))
        };
        let fetched = tokio::select! {
            () = self.build.front.cancel().cancelled() => return Err(super::stage::Build::gone()),
            fetched = fetch => {
                fetched.map_err(|error| self.build.front.trouble(Trouble::NoDownload { error: &error }))?
            }
        };
        let (file, length, modified) = fetched;
        let mut name = Download::name(url);
        if name.is_empty() {
            if transfer.destination.ends_with('/') && !self.build.front.is_lenient() {
                return Err(
                    EngineError::invalid(format!("cannot determine filename for source {url}")).into()
                );
            }
            NAMELESS.clone_into(&mut name);
        }
        let node = Node {
            kind: Kind::File { offset: 0, length },
            mode: 0o600,
            modified: (modified.unwrap_or(0), 0),
            ..Node::folder()
        };
        let checksum = transfer.checksum.clone();
        // Only where it is asked for: archives of the context are.
        let manner = Manner { unpack: transfer.unpack == Some(true), ..manner };
        let picked = blocking(move || {
            let tree = Arc::new(Tree::of(file, BTreeMap::from([(name.clone(), node)]), None));
            if let Some(wanted) = checksum {
                let actual = format!("sha256:{}", tree.content_hash(&name)?);
                if actual != wanted {
                    return Err(EngineError::invalid(format!("digest mismatch {actual}: {wanted}")));
                }
            }
            one(&tree, name.clone(), name, &manner, &manner.spool)
        });
        Ok(picked.await?)
    }

    async fn cloned(
        &self,
        transfer: &Transfer,
        repository: &Repository,
    ) -> Result<Vec<Picked>, BuildFailure> {
        let client = self.build.front.client();
        let (fetcher, workspace) = (&self.build.builder.fetcher, &self.build.workspace);
        let cancel = self.build.front.cancel();
        let keep = transfer.keep_git_dir;
        let Checkout { tree, commit } = fetcher.checkout(repository, keep, client, workspace, cancel).await?;
        if let Some(wanted) = &transfer.checksum
            && !commit.starts_with(wanted.as_str())
        {
            return Err(
                EngineError::invalid(format!("expected checksum to match {wanted}, got {commit}")).into()
            );
        }
        // The commit says it all.
        let hash = digest(format!("{commit} {} {keep}", repository.folder).as_bytes());
        let hash = format!("git:{}", hash.trim_start_matches("sha256:"));
        let (name, path) = (String::new(), String::new());
        Ok(vec![Picked { tree, name, path, folder: true, archive: None, hash }])
    }
}

/// A download as a file, as it is.
async fn written(download: Download, path: PathBuf) -> Result<(File, u64)> {
    let failed = |e: io::Error| EngineError::invalid("Could not keep a download").because(e);
    let mut file = tokio::fs::File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .await
        .map_err(failed)?;
    let mut reader = StreamReader::new(download.stream().map_err(io::Error::other));
    let length = tokio::io::copy(&mut reader, &mut file).await.map_err(failed)?;
    tokio::io::AsyncWriteExt::flush(&mut file).await.map_err(failed)?;
    Ok((file.into_std().await, length))
}
