//! What a build takes from elsewhere: files of HTTP servers and git repositories, told apart by their names as
//! Docker's clients and builders do.

mod download;
mod git;
mod git_entries;
mod git_http;
mod git_ssh;
mod known_hosts;

pub(super) use download::Download;

use super::{Workspace, blocking, buildkit::BuildClient, tree::Tree};
use crate::error::{EngineError, Result};
use reqwest::{Client, Url};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

const CONNECT: Duration = Duration::from_secs(30);
/// How long a server may say nothing.
const PATIENCE: Duration = Duration::from_secs(120);

/// Something elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Remote {
    Http(Url),
    Git(Repository),
}

/// A repository, or part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repository {
    /// Without its fragment.
    pub(super) url: String,
    /// A branch, a tag or a commit; the default branch when there is none.
    pub(super) revision: Option<String>,
    /// Which folder of it; everything when empty.
    pub(super) folder: String,
}

/// A repository's files at one commit.
#[derive(Debug)]
pub(super) struct Checkout {
    pub(super) tree: Arc<Tree>,
    pub(super) commit: String,
}

impl Remote {
    /// What `text` names; `None` for what is not elsewhere.
    pub(super) fn of(text: &str) -> Result<Option<Self>> {
        let (place, fragment) = text.split_once('#').map_or((text, None), |(a, b)| (a, Some(b)));
        let web = ["http://", "https://"].iter().any(|scheme| place.starts_with(scheme));
        let path = place.split('?').next().unwrap_or_default();
        let url = match place {
            _ if place.starts_with("git@") || place.starts_with("ssh://") || is_scp(place) => {
                place.to_owned()
            }
            _ if place.starts_with("git://") => place.to_owned(),
            _ if place.starts_with("github.com/") => format!("https://{place}"),
            _ if web && path.ends_with(".git") => place.to_owned(),
            _ if web => {
                let url = place
                    .parse()
                    .map_err(|e| EngineError::invalid(format!("invalid URL {text:?}")).because(e))?;
                return Ok(Some(Self::Http(url)));
            }
            _ => return Ok(None),
        };
        let (revision, folder) =
            fragment.unwrap_or_default().split_once(':').unwrap_or((fragment.unwrap_or_default(), ""));
        Ok(Some(Self::Git(Repository {
            url,
            revision: Some(revision).filter(|revision| !revision.is_empty()).map(str::to_owned),
            folder: super::tree::clean(folder),
        })))
    }
}

/// `git@host:path` of any user.
fn is_scp(place: &str) -> bool {
    let Some((user, rest)) = place.split_once('@') else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    user.chars().all(plain)
        && rest.split_once(':').is_some_and(|(host, path)| {
            !path.starts_with("//") && host.chars().all(plain) && path.ends_with(".git")
        })
}

/// Whoever fetches.
#[derive(Debug)]
pub(super) struct Fetcher(std::sync::OnceLock<Client>);

impl Fetcher {
    pub(super) fn new() -> Self {
        Self(std::sync::OnceLock::new())
    }

    fn client(&self) -> Result<Client> {
        if let Some(client) = self.0.get() {
            return Ok(client.clone());
        }
        let client = Client::builder()
            .user_agent(concat!("machine-engine/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(PATIENCE)
            .referer(false)
            .build()
            .map_err(|e| EngineError::system("Could not set up TLS").because(e))?;
        Ok(self.0.get_or_init(|| client).clone())
    }

    /// Begins to download a file.
    pub(super) async fn download(&self, url: &Url) -> Result<Download> {
        Download::begin(&self.client()?, url).await
    }

    /// Fetches a repository's files, `.git` with them if that is to be kept. `client` has what opens those that
    /// are not everybody's.
    pub(super) async fn checkout(
        &self,
        repository: &Repository,
        keep: bool,
        client: Option<&dyn BuildClient>,
        workspace: &Workspace,
        cancel: &CancellationToken,
    ) -> Result<Checkout> {
        let folder: PathBuf = workspace.0.join(format!("git-{}", crate::id::random_id()?));
        let token = git::GitToken::of_client(client, repository).await?;
        let stopped = Arc::new(AtomicBool::new(false));
        let (line, calls) = tokio::sync::mpsc::channel(1);
        let fetch = git::Fetch {
            client: self.client()?,
            runtime: tokio::runtime::Handle::current(),
            token,
            line,
            keep,
            stopped: Arc::clone(&stopped),
        };
        let repository = repository.clone();
        let work = blocking(move || fetch.checkout(&repository, &folder));
        tokio::select! {
            () = cancel.cancelled() => {
                stopped.store(true, Ordering::Relaxed);
                Err(super::stage::Build::gone().error)
            }
            checkout = work => checkout,
            () = git_ssh::serve(client, calls) => Err(super::stage::Build::gone().error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_and_files_are_told_apart() {
        let git = |text: &str| match Remote::of(text).unwrap() {
            Some(Remote::Git(it)) => (it.url, it.revision.unwrap_or_default(), it.folder),
            other => panic!("{text}: {other:?}"),
        };
        let parts = |url: &str, revision: &str, folder: &str| (url.into(), revision.into(), folder.into());
        assert_eq!(git("https://a/b.git"), parts("https://a/b.git", "", ""));
        assert_eq!(git("https://u:p@a/b.git#main:/d/./e"), parts("https://u:p@a/b.git", "main", "d/e"));
        assert_eq!(git("git://a/b#v1"), parts("git://a/b", "v1", ""));
        assert_eq!(git("github.com/a/b#:d"), parts("https://github.com/a/b", "", "d"));
        assert_eq!(git("git@a:b/c#v1:d"), parts("git@a:b/c", "v1", "d"));
        assert_eq!(git("ssh://me@a:22/b.git#main"), parts("ssh://me@a:22/b.git", "main", ""));
        assert_eq!(git("me@host:b.git"), parts("me@host:b.git", "", ""));
        assert!(matches!(Remote::of("http://a/b.tar.gz"), Ok(Some(Remote::Http(_)))));
        assert!(matches!(Remote::of("https://a/Dockerfile?x=.git"), Ok(Some(Remote::Http(_)))));
        for local in ["a", "./a.git", "a@b", "c:d", "a@b:c"] {
            assert_eq!(Remote::of(local).unwrap(), None, "{local}");
        }
    }
}
