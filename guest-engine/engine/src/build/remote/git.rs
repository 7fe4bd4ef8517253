//! A git repository's files at one commit, fetched without its history and never as files on disk: blobs go one
//! after the other into a pack that copies are made from. Submodules are fetched in the same way.

use super::{
    Checkout, Repository,
    git_entries::Entries,
    git_http::Wire,
    git_ssh::{Conversation, Line, Place},
};
use crate::{
    build::{buildkit::BuildClient, tree::Tree},
    error::{EngineError, Result},
};
use gix::{
    ObjectId, ThreadSafeRepository,
    bstr::{BString, ByteSlice},
    progress::Discard,
    protocol::transport::Protocol,
    remote::{
        Direction,
        fetch::{Shallow, Tags},
    },
};
use gix_transport::client::blocking_io::{Transport as AnyTransport, http::Transport};
use reqwest::{Client, Url, header::HeaderValue};
use std::{
    collections::BTreeMap,
    fmt::Display,
    num::NonZeroU32,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};
use tokio::runtime::Handle;

/// Submodules of submodules.
const DEPTH: usize = 8;
/// What is fetched is called.
const FETCHED: &str = "refs/machine/fetched";

/// Secrets that open repositories: a token, or a whole header. Those of one host have its name behind theirs.
const TOKEN: &str = "GIT_AUTH_TOKEN";
const HEADER: &str = "GIT_AUTH_HEADER";

/// What opens private repositories of one server, by its origin: the value of an `Authorization` header.
#[derive(Clone)]
pub(super) struct GitToken(String, HeaderValue);

impl std::fmt::Debug for GitToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GitToken")
    }
}

impl GitToken {
    /// What the client has for the server of a repository.
    pub(super) async fn of_client(
        client: Option<&dyn BuildClient>,
        repository: &Repository,
    ) -> Result<Option<Self>> {
        let url = repository.url.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let (Some(client), Some(url)) = (client, url) else { return Ok(None) };
        let origin = url.origin().ascii_serialization();
        for suffix in [format!(".{}", url.host_str().unwrap_or_default()), String::new()] {
            if let Some(header) = client.secret(&format!("{HEADER}{suffix}")).await? {
                return Self::of_header(origin, &String::from_utf8_lossy(&header)).map(Some);
            }
            if let Some(token) = client.secret(&format!("{TOKEN}{suffix}")).await? {
                return Self::of_token(origin, String::from_utf8_lossy(&token).trim()).map(Some);
            }
        }
        Ok(None)
    }

    /// Of a token, as the large hosts take one.
    fn of_token(origin: String, token: &str) -> Result<Self> {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{token}"));
        Self::of_header(origin, &format!("basic {text}"))
    }

    /// Of a whole header.
    fn of_header(origin: String, text: &str) -> Result<Self> {
        let mut value = HeaderValue::from_str(text.trim())
            .map_err(|_| EngineError::invalid("the secret for git is no value of a header"))?;
        value.set_sensitive(true);
        Ok(Self(origin, value))
    }
}

/// How to fetch.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) client: Client,
    pub(super) runtime: Handle,
    pub(super) token: Option<GitToken>,
    /// To whom SSH connections are asked for.
    pub(super) line: Line,
    /// `.git` is among the files.
    pub(super) keep: bool,
    pub(super) stopped: Arc<AtomicBool>,
}

impl Fetch {
    /// Fetches and reads everything. Blocking. `folder` is the repository's for as long as that takes.
    pub(super) fn checkout(&self, source: &Repository, folder: &Path) -> Result<Checkout> {
        let mut entries = Entries::new(&folder.with_extension("pack"))?;
        let revision = source.revision.as_deref();
        let commit = self.fetch(&source.url, revision, folder, "", 0, &mut entries)?;
        let (pack, mut nodes) = entries.finish();
        if !source.folder.is_empty() {
            let prefix = format!("{}/", source.folder);
            nodes = nodes
                .into_iter()
                .filter_map(|(path, node)| Some((path.strip_prefix(&prefix)?.to_owned(), node)))
                .collect::<BTreeMap<_, _>>();
            if nodes.is_empty() {
                return Err(EngineError::invalid(format!(
                    "{}: the repository has no folder {:?}",
                    shown(&source.url),
                    source.folder
                )));
            }
        }
        Ok(Checkout { tree: Arc::new(Tree::of(pack, nodes, None)), commit: commit.to_string() })
    }

    /// One repository, below `prefix`.
    fn fetch(
        &self,
        url: &str,
        revision: Option<&str>,
        folder: &Path,
        prefix: &str,
        depth: usize,
        entries: &mut Entries,
    ) -> Result<ObjectId> {
        let failed = |error: &dyn Display| {
            EngineError::invalid(format!("failed to fetch remote {}: {error}", shown(url)))
        };
        let of_gix = |error: gix::Error| failed(&causes(&error));
        let options = gix::open::Options::isolated();
        let repository = ThreadSafeRepository::init_opts(
            folder,
            gix::create::Kind::Bare,
            gix::create::Options::default(),
            options,
        );
        let repository = repository.map_err(of_gix)?.to_thread_local();
        let wanted = revision.unwrap_or("HEAD");
        let remote = repository
            .remote_at(url)
            .and_then(|remote| {
                remote.with_refspecs([format!("+{wanted}:{FETCHED}").as_str()], Direction::Fetch)
            })
            .map_err(of_gix)?
            .with_fetch_tags(Tags::None);
        let address = remote.url(Direction::Fetch).cloned();
        let address = address.ok_or_else(|| failed(&"it has no URL"))?;
        let id = match url.parse::<Url>() {
            Ok(http) if matches!(http.scheme(), "http" | "https") => {
                // Submodules may be anybody's, and the token is not for them.
                let token = self.token.clone().map(|GitToken(origin, value)| (origin, value));
                let wire = Wire::new(self.client.clone(), self.runtime.clone(), token);
                self.receive(&remote, Transport::new_http(wire, address, Protocol::V2, false))
            }
            Ok(other) if other.scheme() == "git" => {
                let (_, version) = remote.sanitized_url_and_version(Direction::Fetch).map_err(of_gix)?;
                let options =
                    gix_transport::client::blocking_io::connect::Options { version, ..Default::default() };
                gix_transport::client::blocking_io::connect::connect(address, options)
                    .and_then(|transport| self.receive(&remote, transport))
            }
            _ => match Place::of(url) {
                Some(place) => {
                    let conversation = Conversation::begin(&self.line, place).map_err(|e| failed(&e))?;
                    let complaining = conversation.complaining();
                    let received = self.receive(&remote, conversation.transport(&address));
                    let complaints = Conversation::complaints(&complaining);
                    match received {
                        // The program at the other end knows better why it hung up.
                        Err(_) if !complaints.is_empty() => return Err(failed(&complaints)),
                        received => received,
                    }
                }
                None => return Err(failed(&"only http, https, ssh and git are spoken here")),
            },
        };
        let missing = || failed(&format!("couldn't find remote ref {wanted}"));
        let id = match id {
            Ok(id) => id.ok_or_else(missing)?,
            // The only words for it that the library has.
            Err(error) if error.to_string().contains("None of the refspec") => return Err(missing()),
            Err(error) => return Err(of_gix(error)),
        };
        let commit = repository.find_object(id).and_then(|object| object.peel_to_commit()).map_err(of_gix)?;
        let time = commit.time().map_err(of_gix)?.seconds;
        let tree = commit.tree().map_err(of_gix)?;
        let links = entries.add_tree(&tree, prefix, time)?;
        if self.keep && depth == 0 {
            let index = repository.index_from_tree(&tree.id).map_err(of_gix)?;
            entries.add_repository(&repository, index, commit.id, url, time)?;
        }
        if !links.is_empty() {
            if depth == DEPTH {
                return Err(failed(&"its submodules have submodules without end"));
            }
            for (number, link) in links.into_iter().enumerate() {
                let Some(place) = submodule(&tree, &link.path[prefix.len()..]).map_err(of_gix)? else {
                    continue;
                };
                let url = resolved(url, &place);
                let folder = folder.join(format!("module-{number}"));
                let below = format!("{}/", link.path);
                self.fetch(&url, Some(&link.commit.to_string()), &folder, &below, depth + 1, entries)?;
            }
        }
        Ok(commit.id)
    }

    fn receive<T: AnyTransport>(
        &self,
        remote: &gix::Remote<'_>,
        transport: T,
    ) -> std::result::Result<Option<ObjectId>, gix::Error> {
        let outcome = remote
            .to_connection_with_transport(transport)
            // Nobody is asked for a password.
            .with_credentials(|_| Ok(None))
            .prepare_fetch(Discard, gix::remote::ref_map::Options::default())?
            .with_shallow(Shallow::DepthAtRemote(NonZeroU32::MIN))
            .receive(Discard, &self.stopped)?;
        Ok(outcome.ref_map.mappings.iter().find_map(|mapping| mapping.remote.as_id().map(gix::oid::to_owned)))
    }
}

/// Where `.gitmodules` says that a submodule comes from; `None` when it says nothing: git leaves that out, too.
fn submodule(tree: &gix::Tree<'_>, path: &str) -> std::result::Result<Option<String>, gix::Error> {
    let Some(entry) = tree.lookup_entry_by_path(".gitmodules")? else { return Ok(None) };
    let data = entry.object()?.data.clone();
    let Ok(config) = gix::config::File::try_from(BString::from(data).as_bstr()) else { return Ok(None) };
    let sections = config.sections_by_name("submodule").into_iter().flatten();
    let found = sections
        .filter(|section| section.value("path").is_some_and(|value| value.as_bytes() == path.as_bytes()));
    Ok(found.filter_map(|section| Some(section.value("url")?.to_string())).next())
}

/// A submodule's URL, which may be relative to its repository's.
fn resolved(parent: &str, url: &str) -> String {
    if !url.starts_with("./") && !url.starts_with("../") {
        return url.to_owned();
    }
    let (mut base, mut rest, mut between) = (parent.trim_end_matches('/'), url, '/');
    loop {
        if let Some(more) = rest.strip_prefix("../") {
            rest = more;
            if let Some((up, _)) = base.rsplit_once('/') {
                base = up;
            } else if let Some((host, _)) = base.rsplit_once(':') {
                // `git@host:repository` lies in the folder that it has no name for.
                (base, between) = (host, ':');
            }
        } else if let Some(more) = rest.strip_prefix("./") {
            rest = more;
        } else {
            return format!("{base}{between}{rest}");
        }
    }
}

fn shown(url: &str) -> String {
    url.parse().map_or_else(|_| url.to_owned(), |url: Url| super::download::without_password(&url))
}

/// The innermost cause says what happened.
fn causes(error: &gix::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        texts.push(cause.to_string());
        next = cause.source();
    }
    texts.dedup();
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submodules_may_be_relative() {
        for (url, expected) in [
            ("https://b/c.git", "https://b/c.git"),
            ("./c.git", "https://a/x/y.git/c.git"),
            ("../c.git", "https://a/x/c.git"),
            ("../../c/d.git", "https://a/c/d.git"),
        ] {
            assert_eq!(resolved("https://a/x/y.git", url), expected);
        }
        assert_eq!(resolved("git@a:x/y.git", "../c.git"), "git@a:x/c.git");
        assert_eq!(resolved("git@a:y.git", "../c.git"), "git@a:c.git");
    }
}
