//! A server of tokens that Debian's `docker-registry` believes: signed JWTs, for whoever has the password.

use crate::{Authority, Network, authority::Identity, run::run_with_input};
use anyhow::{Context, Result};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

pub const ISSUER: &str = "a test's issuer";
pub const SERVICE: &str = "a test's registry";

/// Serves until the test's process ends.
#[derive(Clone, Debug)]
pub struct TokenServer {
    signer: Identity,
    /// Of the signer's certificate, in base64.
    chain: String,
    user: (String, String),
    /// Scopes asked for.
    asked: Arc<Mutex<Vec<String>>>,
}

impl TokenServer {
    /// Gives `name` everything and anybody else what is under `public/`.
    pub fn start(
        network: &Network,
        address: &str,
        authority: &Authority,
        (name, password): (&str, &str),
    ) -> Result<Self> {
        let listener = network.listen(address)?;
        let signer = authority.issue("signer", "")?;
        let text = fs::read_to_string(&signer.certificate)?;
        let chain = text.lines().filter(|line| !line.starts_with("-----")).collect();
        let user = (name.to_owned(), password.to_owned());
        let server = Self { signer, chain, user, asked: Arc::default() };
        let serving = server.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let server = serving.clone();
                thread::spawn(move || server.serve(connection));
            }
        });
        Ok(server)
    }

    /// Scopes that tokens were asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn serve(&self, mut connection: TcpStream) -> Result<()> {
        let mut reader = BufReader::new(connection.try_clone()?);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let mut given = None;
            loop {
                let mut header = String::new();
                reader.read_line(&mut header)?;
                let Some((key, value)) = header.trim().split_once(':') else { break };
                if key.eq_ignore_ascii_case("authorization") {
                    given = Some(value.trim().to_owned());
                }
            }
            let target = line.split(' ').nth(1).context("a target")?.to_owned();
            let (status, body) = self.answer(&target, given.as_deref())?;
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
            connection.write_all(head.as_bytes())?;
            connection.write_all(body.as_bytes())?;
        }
    }

    fn answer(&self, target: &str, given: Option<&str>) -> Result<(u16, String)> {
        let (name, password) = &self.user;
        let proof = format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")));
        if given.is_some_and(|given| given != proof) {
            return Ok((401, json!({ "details": "incorrect username or password" }).to_string()));
        }
        let mut access = Vec::new();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        for scope in query.split('&').filter_map(|pair| pair.strip_prefix("scope=")) {
            let scope = scope.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(scope.clone());
            let mut parts = scope.split(':');
            let (kind, path, actions) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
            let actions: Vec<&str> = match given {
                Some(_) => actions.split(',').collect(),
                None if path.is_some_and(|path| path.starts_with("public/")) => vec!["pull"],
                None => Vec::new(),
            };
            access.push(json!({ "type": kind, "name": path, "actions": actions }));
        }
        Ok((200, json!({ "token": self.sign(&json!(access))?, "expires_in": 300 }).to_string()))
    }

    fn sign(&self, access: &Value) -> Result<String> {
        let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [self.chain] });
        let now = SystemTime::UNIX_EPOCH.elapsed()?;
        let claims = json!({
            "iss": ISSUER, "sub": self.user.0, "aud": SERVICE, "jti": "1", "access": access,
            "nbf": (now - Duration::from_secs(60)).as_secs(), "iat": now.as_secs(),
            "exp": (now + Duration::from_secs(300)).as_secs(),
        });
        let encoded = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encoded(&header), encoded(&claims));
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("signature");
        let mut command = Command::new("openssl");
        command.args(["dgst", "-sha256", "-sign"]).arg(&self.signer.key).arg("-out").arg(&file);
        run_with_input(&mut command, signed.as_bytes())?.ok()?;
        let signature = BASE64_URL_SAFE_NO_PAD.encode(numbers(&fs::read(&file)?).context("a signature")?);
        Ok(format!("{signed}.{signature}"))
    }
}

/// The two numbers of a signature, 32 bytes each, out of their DER.
fn numbers(der: &[u8]) -> Option<Vec<u8>> {
    let mut rest = der.get(2..)?;
    let mut both = Vec::new();
    for _ in 0..2 {
        let length = usize::from(*rest.get(1)?);
        let number = rest.get(2..2 + length)?;
        let number: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        both.extend(vec![0; 32_usize.checked_sub(number.len())?]);
        both.extend(number);
        rest = &rest[2 + length..];
    }
    Some(both)
}
