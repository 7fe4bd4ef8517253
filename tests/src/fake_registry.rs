//! A registry that misbehaves on purpose, in the test's own process: it cuts, stalls, lies about digests and
//! lengths, is overloaded, wants tokens. It only gives; for taking there are real ones.

use crate::network::Network;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// What goes wrong with one answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// Nothing comes any more after so many bytes.
    Stall(usize),
    /// Another status, perhaps with `Retry-After`.
    Status(u16, Option<u32>),
    /// One bit of the content is another.
    Flip,
    /// There is less than there should be, and the length says so.
    Shorter,
}

#[derive(Debug, Default)]
struct State {
    /// By path, with their media type.
    content: HashMap<String, (String, Vec<u8>)>,
    /// By a part of the path; each serves once, in order.
    faults: Vec<(String, Fault)>,
    requests: Vec<String>,
    /// Name and password.
    user: Option<(String, String)>,
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
        let listener = network.listen(address)?;
        let registry = Self { host: address.to_owned(), state: Arc::default() };
        let serving = registry.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let registry = serving.clone();
                // A client that goes away ends its thread.
                thread::spawn(move || registry.serve(connection));
            }
        });
        Ok(registry)
    }

    /// Makes the next answers for paths with `part` in them go wrong.
    pub fn fail(&self, part: &str, faults: &[Fault]) {
        let mut state = self.state();
        state.faults.extend(faults.iter().map(|fault| (part.to_owned(), fault.clone())));
    }

    /// From now on only who has a token for this user gets anything.
    pub fn require(&self, name: &str, password: &str) {
        self.state().user = Some((name.to_owned(), password.to_owned()));
    }

    /// What was asked for: `GET /path` and, in brackets, a range.
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

    fn serve(&self, connection: TcpStream) -> Result<()> {
        let mut reader = BufReader::new(connection.try_clone()?);
        let mut writer = connection;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let mut headers = BTreeMap::new();
            loop {
                let mut header = String::new();
                reader.read_line(&mut header)?;
                let Some((key, value)) = header.trim().split_once(':') else { break };
                headers.insert(key.to_lowercase(), value.trim().to_owned());
            }
            let mut words = line.split(' ');
            let (method, path) = (words.next().context("a method")?, words.next().context("a path")?);
            if !self.answer(method, path, &headers, &mut writer)? {
                return Ok(());
            }
        }
    }

    /// Says whether the connection goes on.
    fn answer(
        &self,
        method: &str,
        path: &str,
        headers: &BTreeMap<String, String>,
        to: &mut TcpStream,
    ) -> Result<bool> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let range = headers.get("range");
        let (found, fault) = {
            let mut state = self.state();
            let shown = range.map(|range| format!(" [{range}]")).unwrap_or_default();
            state.requests.push(format!("{method} {path}{shown}"));
            let fault = state.faults.iter().position(|(part, _)| path.contains(part.as_str()));
            let fault = fault.map(|at| state.faults.remove(at).1);
            (state.content.get(path).cloned(), fault)
        };
        if path == "/token" {
            return self.token(query, headers, to);
        }
        if !self.admits(path, headers) {
            let challenge =
                format!("WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"fake\"\r\n", self.host);
            let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
            return respond(to, 401, &challenge, body);
        }
        if path == "/v2/" {
            return respond(to, 200, "", b"{}");
        }
        let Some((media_type, mut body)) = found else {
            return respond(
                to,
                404,
                "",
                br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
            );
        };
        let mut status = 200;
        let mut more = format!("Content-Type: {media_type}\r\n");
        if let Some(from) = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')) {
            let (from, all) = (from.parse::<usize>()?, body.len());
            status = 206;
            more.push_str(&format!("Content-Range: bytes {from}-{}/{all}\r\n", all - 1));
            body.drain(..from);
        }
        let mut sent = body.len();
        match fault {
            None => {}
            Some(Fault::Status(code, retry)) => {
                let retry = retry.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
                return respond(to, code, &retry, b"");
            }
            Some(Fault::Flip) => {
                let middle = body.len() / 2;
                body[middle] ^= 1;
            }
            Some(Fault::Shorter) => {
                sent -= 1;
                body.truncate(sent);
            }
            Some(Fault::Cut(after) | Fault::Stall(after)) => sent = after.min(sent),
        }
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{more}\r\n", body.len());
        to.write_all(head.as_bytes())?;
        to.write_all(&body[..sent])?;
        match fault {
            Some(Fault::Cut(_)) => Ok(false),
            Some(Fault::Stall(_)) => {
                // Until the client has had enough.
                to.set_read_timeout(Some(Duration::from_secs(120)))?;
                let _ended = to.read(&mut [0]);
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    /// A token is the scope it is for.
    fn admits(&self, path: &str, headers: &BTreeMap<String, String>) -> bool {
        if self.state().user.is_none() || path.starts_with("/v1/") {
            return true;
        }
        let Some(token) = headers.get("authorization").and_then(|value| value.strip_prefix("Bearer ")) else {
            return false;
        };
        let name = path
            .strip_prefix("/v2/")
            .and_then(|rest| Some(rest.split_once("/manifests/").or(rest.split_once("/blobs/"))?.0));
        name.is_none_or(|name| token == format!("repository.{}.pull", name.replace('/', ".")))
    }

    fn token(&self, query: &str, headers: &BTreeMap<String, String>, to: &mut TcpStream) -> Result<bool> {
        let scope = query.split('&').find_map(|pair| pair.strip_prefix("scope=")).unwrap_or_default();
        let scope = if scope.is_empty() { "nothing" } else { scope };
        let token = scope.replace("%3A", ".").replace("%2F", ".").replace([':', '/'], ".");
        let user = self.state().user.clone().unwrap_or_default();
        // curl prints the same: name:password in base64.
        let wanted = format!("Basic {}", base64(format!("{}:{}", user.0, user.1).as_bytes()));
        if headers.get("authorization") != Some(&wanted) {
            return respond(to, 401, "", br#"{"details":"incorrect username or password"}"#);
        }
        respond(to, 200, "", format!("{{\"token\":\"{token}\",\"expires_in\":300}}").as_bytes())
    }
}

fn respond(to: &mut TcpStream, status: u16, headers: &str, body: &[u8]) -> Result<bool> {
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    to.write_all(head.as_bytes())?;
    to.write_all(body)?;
    Ok(true)
}

/// `sha256:…` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let number = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for digit in 0..4_usize {
            let index = (number >> (18 - 6 * digit)) & 63;
            text.push(if digit <= chunk.len() { char::from(DIGITS[index as usize]) } else { '=' });
        }
    }
    text
}
