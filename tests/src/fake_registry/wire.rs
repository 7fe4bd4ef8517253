//! HTTP as a fake registry speaks it: requests read whole, over TCP or TLS.

use crate::authority::Identity;
use anyhow::{Context, Result, bail};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

/// A connection that nothing comes from for so long is closed.
const IDLE: Duration = Duration::from_secs(120);

/// A client's, whatever it is made of.
pub(super) trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

pub(super) type Connection = BufReader<Box<dyn Stream>>;

/// One request, its body read.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: BTreeMap<String, String>,
}

/// Over TCP, or TLS if there is a configuration for it.
pub(super) fn accept(connection: TcpStream, tls: Option<&Arc<ServerConfig>>) -> Result<Connection> {
    connection.set_read_timeout(Some(IDLE))?;
    let stream: Box<dyn Stream> = match tls {
        None => Box::new(connection),
        Some(tls) => Box::new(StreamOwned::new(ServerConnection::new(Arc::clone(tls))?, connection)),
    };
    Ok(BufReader::new(stream))
}

/// For a server that proves itself.
pub(super) fn tls(identity: &Identity) -> Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(&identity.certificate)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&identity.key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

/// The head of the next request; `None` when the client has had enough.
pub(super) fn read_head(from: &mut Connection) -> Result<Option<Request>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        from.read_line(&mut header)?;
        let Some((key, value)) = header.trim().split_once(':') else { break };
        headers.insert(key.to_lowercase(), value.trim().to_owned());
    }
    let mut words = line.split(' ');
    let (method, target) = (words.next().context("a method")?, words.next().context("a target")?);
    // As a proxy passes it on.
    let target = match target.strip_prefix("http://") {
        Some(whole) => whole.find('/').map_or("/", |at| &whole[at..]),
        None => target,
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request =
        Request { method: method.to_owned(), path: path.to_owned(), query: query.to_owned(), headers };
    Ok(Some(request))
}

/// The body of a request, at most `limit` bytes of it.
pub(super) fn read_body(from: &mut Connection, request: &Request, limit: usize) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    let header = |name: &str| request.headers.get(name).map(String::as_str);
    if header("transfer-encoding") == Some("chunked") {
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                bail!("The body ended early");
            }
            let length = usize::from_str_radix(line.trim(), 16)?;
            let mut chunk = vec![0; length];
            from.read_exact(&mut chunk)?;
            body.extend(chunk);
            from.read_line(&mut String::new())?;
            if length == 0 || body.len() >= limit {
                break;
            }
        }
    } else if let Some(length) = header("content-length") {
        from.by_ref().take(length.parse::<u64>()?.min(limit as u64)).read_to_end(&mut body)?;
    }
    Ok(body)
}

/// A whole answer.
pub(super) fn respond(
    to: &mut Connection,
    method: &str,
    status: u16,
    headers: &str,
    body: &[u8],
) -> Result<bool> {
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    let to = to.get_mut();
    to.write_all(head.as_bytes())?;
    if method != "HEAD" {
        to.write_all(body)?;
    }
    to.flush()?;
    Ok(true)
}
