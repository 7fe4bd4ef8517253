//! A registry that misbehaves on purpose, in the test's own process: it cuts, stalls, lies about digests and
//! lengths, is overloaded, sends on to others, wants tokens.

mod uploads;
mod wire;

use crate::{authority::Identity, network::Network};
use anyhow::Result;
use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::ServerConfig;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    io::{Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};
use wire::{Connection, Request, respond};

/// What goes wrong with one answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// Nothing comes any more after so many bytes.
    Stall(usize),
    /// Another status, perhaps with `Retry-After`.
    Status(u16, Option<u32>),
    /// Another status, with the registry's own words.
    Says(u16, &'static str),
    /// A status whose body is announced and never comes.
    Mute(u16),
    /// One bit of the content is another.
    Flip,
    /// There is less than there should be, and the length says so.
    Shorter,
    /// It goes on for ever, without a length.
    Endless,
    /// In small pieces, with pauses.
    Slow,
    /// All of it, whatever part was asked for, after a cut.
    WholeAgain,
    /// It is elsewhere.
    Moved(String),
    /// It is said to be something else.
    Type(&'static str),
    /// The header says another digest.
    Digest(String),
}

#[derive(Debug, Default)]
struct State {
    /// By path, with their media type.
    content: HashMap<String, (String, Vec<u8>)>,
    /// By a part of method and path; each serves once, in order.
    faults: Vec<(String, Fault)>,
    requests: Vec<String>,
    /// Name and password.
    user: Option<(String, String)>,
    /// Whether tokens to read are for anybody.
    open: bool,
    /// Where tokens are given out, and what for.
    realm: Option<(String, String)>,
    uploads: HashMap<String, Vec<u8>>,
    uploads_begun: usize,
    /// Headers of every answer with content.
    more: String,
}

/// Serves until the test's process ends.
#[derive(Clone, Debug)]
pub struct FakeRegistry {
    host: String,
    state: Arc<Mutex<State>>,
}

impl FakeRegistry {
    /// Listens in `network` at `address` (`127.0.0.1:5000`).
    pub fn start(network: &Network, address: &str) -> Result<Self> {
        Ok(Self::serve_at(network.listen(address)?, address, None))
    }

    /// The same over TLS.
    pub fn start_with_tls(network: &Network, address: &str, identity: &Identity) -> Result<Self> {
        Ok(Self::serve_at(network.listen(address)?, address, Some(wire::tls(identity)?)))
    }

    fn serve_at(listener: TcpListener, address: &str, tls: Option<Arc<ServerConfig>>) -> Self {
        let registry = Self { host: address.to_owned(), state: Arc::default() };
        let serving = registry.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (registry, tls) = (serving.clone(), tls.clone());
                // A client that goes away ends its thread.
                thread::spawn(move || registry.serve(&mut wire::accept(connection, tls.as_ref())?));
            }
        });
        registry
    }

    /// Makes the next answers for requests (`GET /path`) with `part` in them go wrong.
    pub fn fail(&self, part: &str, faults: &[Fault]) {
        let mut state = self.state();
        state.faults.extend(faults.iter().map(|fault| (part.to_owned(), fault.clone())));
    }

    /// From now on only who has a token for this user gets anything.
    pub fn require(&self, name: &str, password: &str) {
        self.state().user = Some((name.to_owned(), password.to_owned()));
    }

    /// As [`Self::require`], but what is not below `name/` may be read by anybody, with a token from `realm`.
    pub fn require_as_the_hub_does(&self, name: &str, password: &str, realm: &str, service: &str) {
        self.require(name, password);
        let mut state = self.state();
        (state.open, state.realm) = (true, Some((realm.to_owned(), service.to_owned())));
    }

    /// Headers of everything from now on, each with its line's end.
    pub fn add_headers(&self, headers: &str) {
        self.state().more = headers.to_owned();
    }

    /// What was asked for: `GET /path` and, in brackets, a range; `+auth` behind it when it came with a proof.
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// How often a path with `part` in it was asked for.
    pub fn count(&self, part: &str) -> usize {
        self.requests().iter().filter(|request| request.contains(part)).count()
    }

    /// Adds something at a path.
    pub fn put(&self, path: &str, media_type: &str, bytes: &[u8]) {
        self.state().content.insert(path.to_owned(), (media_type.to_owned(), bytes.to_vec()));
    }

    /// What is at a path, and its media type.
    pub fn content(&self, path: &str) -> Option<(String, Vec<u8>)> {
        self.state().content.get(path).cloned()
    }

    /// Adds a blob and gives its descriptor.
    pub fn blob(&self, name: &str, media_type: &str, bytes: &[u8]) -> serde_json::Value {
        let digest = digest(bytes);
        self.put(&format!("/v2/{name}/blobs/{digest}"), "application/octet-stream", bytes);
        serde_json::json!({ "mediaType": media_type, "size": bytes.len(), "digest": digest })
    }

    /// Adds a manifest under its digest and `tag`, and gives its descriptor.
    pub fn manifest(&self, name: &str, tag: &str, manifest: &serde_json::Value) -> serde_json::Value {
        let (bytes, media_type) = (manifest.to_string(), manifest["mediaType"].as_str().unwrap_or_default());
        let digest = digest(bytes.as_bytes());
        for reference in [tag, &digest] {
            self.put(&format!("/v2/{name}/manifests/{reference}"), media_type, bytes.as_bytes());
        }
        serde_json::json!({ "mediaType": media_type, "size": bytes.len(), "digest": digest })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_upload(&self) -> String {
        let mut state = self.state();
        state.uploads_begun += 1;
        let number = state.uploads_begun.to_string();
        state.uploads.insert(number.clone(), Vec::new());
        number
    }

    fn add_to_upload(&self, number: &str, bytes: &[u8]) {
        if let Some(upload) = self.state().uploads.get_mut(number) {
            upload.extend_from_slice(bytes);
        }
    }

    fn uploaded(&self, number: &str) -> usize {
        self.state().uploads.get(number).map_or(0, Vec::len)
    }

    fn end_upload(&self, number: &str) -> Vec<u8> {
        self.state().uploads.remove(number).unwrap_or_default()
    }

    fn serve(&self, connection: &mut Connection) -> Result<()> {
        loop {
            match wire::read_head(connection) {
                Ok(Some(request)) if self.answer(&request, connection)? => {}
                Ok(_) => return Ok(()),
                // TLS, to a server that has none.
                Err(_) => return respond(connection, "GET", 400, "", b"").map(drop),
            }
        }
    }

    /// Says whether the connection goes on.
    fn answer(&self, request: &Request, to: &mut Connection) -> Result<bool> {
        let (method, path) = (request.method.as_str(), request.path.as_str());
        let range = request.headers.get("range");
        let (found, fault, headers) = {
            let mut state = self.state();
            let mut shown = format!("{method} {path}");
            let fault = state.faults.iter().position(|(part, _)| shown.contains(part.as_str()));
            let fault = fault.map(|at| state.faults.remove(at).1);
            if let Some(range) = range {
                shown += &format!(" [{range}]");
            }
            if request.headers.contains_key("authorization") {
                shown += " +auth";
            }
            state.requests.push(shown);
            (state.content.get(path).cloned(), fault, state.more.clone())
        };
        if path == "/token" {
            return self.token(request, to);
        }
        if !self.admits(request) {
            let challenge = self.challenge();
            let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
            // What was not let in is not read either.
            respond(to, method, 401, &format!("{challenge}Connection: close\r\n"), body)?;
            return Ok(false);
        }
        let found =
            if path == "/v2/" { Some(("application/json".to_owned(), b"{}".to_vec())) } else { found };
        if let Some(goes_on) = self.take(request, fault.as_ref(), to)? {
            return Ok(goes_on);
        }
        let Some((media_type, body)) = found else {
            let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
            return respond(to, method, 404, "", body);
        };
        give(request, to, &media_type, body, fault.as_ref(), &headers)
    }

    fn challenge(&self) -> String {
        let own = || (format!("http://{}/token", self.host), "fake".to_owned());
        let (realm, service) = self.state().realm.clone().unwrap_or_else(own);
        format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"{service}\"\r\n")
    }

    /// A token is the scopes it is for.
    fn admits(&self, request: &Request) -> bool {
        let path = request.path.as_str();
        if self.state().user.is_none() || path.starts_with("/v1/") {
            return true;
        }
        let given = request.headers.get("authorization");
        let Some(token) = given.and_then(|value| value.strip_prefix("Bearer ")) else { return false };
        let name = path.strip_prefix("/v2/").and_then(|rest| {
            Some(
                rest.split_once("/manifests/")
                    .or(rest.split_once("/blobs/"))
                    .or(rest.split_once("/tags/"))?
                    .0,
            )
        });
        let wanted = if matches!(request.method.as_str(), "GET" | "HEAD") { "pull" } else { "pull.push" };
        name.is_none_or(|name| {
            let scope = format!("repository.{}.{wanted}", name.replace('/', "."));
            token.split('~').any(|part| part.starts_with(&scope))
        })
    }

    fn token(&self, request: &Request, to: &mut Connection) -> Result<bool> {
        let (user, open) = {
            let state = self.state();
            (state.user.clone().unwrap_or_default(), state.open)
        };
        let wanted = format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", user.0, user.1)));
        let given = request.headers.get("authorization");
        if given.is_some_and(|given| *given != wanted) || (given.is_none() && !open) {
            return respond(to, "GET", 401, "", br#"{"details":"incorrect username or password"}"#);
        }
        let mut scopes = Vec::new();
        for scope in request.query.split('&').filter_map(|pair| pair.strip_prefix("scope=")) {
            let scope = scope.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
            let own = scope.starts_with(&format!("repository:{}/", user.0));
            match given {
                None if own => {}
                None => scopes.push(scope.replace(",push", "").replace([':', '/', ','], ".")),
                Some(_) => scopes.push(scope.replace([':', '/', ','], ".")),
            }
        }
        let token = if scopes.is_empty() { "nothing".to_owned() } else { scopes.join("~") };
        respond(to, "GET", 200, "", format!("{{\"token\":\"{token}\",\"expires_in\":300}}").as_bytes())
    }
}

/// Gives content, or what has become of it.
fn give(
    request: &Request,
    to: &mut Connection,
    media_type: &str,
    mut body: Vec<u8>,
    fault: Option<&Fault>,
    more: &str,
) -> Result<bool> {
    let method = request.method.as_str();
    let mut status = 200;
    let mut headers = format!("Content-Type: {media_type}\r\n{more}");
    let from = request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    if let Some(from) = from.filter(|_| !matches!(fault, Some(Fault::WholeAgain))) {
        let (from, all) = (from.parse::<usize>()?, body.len());
        status = 206;
        headers += &format!("Content-Range: bytes {from}-{}/{all}\r\n", all - 1);
        body.drain(..from);
    }
    let mut sent = body.len();
    match fault {
        None | Some(Fault::WholeAgain | Fault::Slow) => {}
        Some(Fault::Status(code, retry)) => {
            let retry = retry.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
            return respond(to, method, *code, &retry, b"");
        }
        Some(Fault::Says(code, words)) => return respond(to, method, *code, more, words.as_bytes()),
        Some(Fault::Moved(location)) => {
            return respond(to, method, 307, &format!("Location: {location}\r\n"), b"");
        }
        Some(Fault::Type(other)) => headers = format!("Content-Type: {other}\r\n"),
        Some(Fault::Digest(other)) => headers += &format!("Docker-Content-Digest: {other}\r\n"),
        Some(Fault::Flip) => {
            let middle = body.len() / 2;
            body[middle] ^= 1;
        }
        Some(Fault::Shorter) => {
            sent -= 1;
            body.truncate(sent);
        }
        Some(Fault::Cut(after) | Fault::Stall(after)) => sent = (*after).min(sent),
        Some(Fault::Mute(code)) => (status, sent) = (*code, 0),
        Some(Fault::Endless) => {
            let stream = to.get_mut();
            stream.write_all(format!("HTTP/1.1 200 X\r\n{headers}Connection: close\r\n\r\n").as_bytes())?;
            // Until the client has had enough.
            loop {
                stream.write_all(&[b' '; 8192])?;
            }
        }
    }
    let stream = to.get_mut();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    if method == "HEAD" {
        stream.flush()?;
        return Ok(true);
    }
    if matches!(fault, Some(Fault::Slow)) {
        for piece in body.chunks(body.len().div_ceil(10).max(1)) {
            stream.write_all(piece)?;
            stream.flush()?;
            thread::sleep(Duration::from_millis(50));
        }
        return Ok(true);
    }
    stream.write_all(&body[..sent])?;
    stream.flush()?;
    match fault {
        Some(Fault::Cut(_)) => Ok(false),
        Some(Fault::Stall(_) | Fault::Mute(_)) => {
            // Until the client has had enough.
            let _ended = to.read(&mut [0]);
            Ok(false)
        }
        _ => Ok(true),
    }
}

/// `sha256:…` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
