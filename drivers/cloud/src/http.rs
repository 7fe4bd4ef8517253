//! The one HTTP client of all providers: JSON or forms, retries of what may be repeated, rate limits,
//! and errors by what can be done about them. No header, query or body is ever logged.
//!
//! | what happened | repeated |
//! |---|---|
//! | nobody accepted the connection | always: nothing was sent |
//! | 429, or a refusal the provider calls passing (`locked`, `busy`) | always: nothing was done |
//! | 500, 502, 503, 504, no answer | only calls that may be made twice |
//! | anything else | never |
//!
//! A call that may not be repeated is not broken off either: see `orders.rs`.

mod error;
mod orders;
mod wait;

pub(crate) use error::{CloudError, Refusal};
pub(crate) use orders::settled;

use reqwest::{Method, RequestBuilder, Response, StatusCode, header::HeaderMap};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// One attempt.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(40);
/// All attempts of one call together.
const CALL_LIMIT: Duration = Duration::from_secs(150);
/// A provider that wants us to wait longer than this is told of instead.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const MOST_ATTEMPTS: u32 = 7;

/// What a provider's answers mean, and how requests prove who sends them.
pub(crate) trait Dialect: Send + Sync + 'static {
    /// Adds what proves who we are. Called for every attempt: signatures are of a moment.
    fn authorize(&self, request: &mut reqwest::Request) -> Result<(), CloudError>;

    /// Reads a refusal: its code and its words.
    fn refusal(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Refusal;
}

/// A provider's API.
#[derive(Clone)]
pub(crate) struct Api {
    client: reqwest::Client,
    base: String,
    dialect: Arc<dyn Dialect>,
}

/// One call in the making.
pub(crate) struct Call {
    request: RequestBuilder,
    dialect: Arc<dyn Dialect>,
    what: String,
    repeatable: bool,
}

impl Api {
    /// The API at `base`, an URL without final slash.
    pub(crate) fn new(base: &str, dialect: impl Dialect) -> Result<Self, CloudError> {
        Ok(Self {
            client: client()?,
            base: base.trim_end_matches('/').to_owned(),
            dialect: Arc::new(dialect),
        })
    }

    /// A call of `path`, or of a whole URL of the same server (the next page).
    fn call(&self, method: Method, path: &str) -> Call {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let shown = path.split('?').next().unwrap_or(path);
        Call {
            what: format!("{method} {shown}"),
            repeatable: method == Method::GET || method == Method::DELETE,
            request: self.client.request(method, url),
            dialect: Arc::clone(&self.dialect),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    pub(crate) fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Call {
    pub(crate) fn query(self, query: &[(&str, &str)]) -> Self {
        Self { request: self.request.query(query), ..self }
    }

    pub(crate) fn header(self, name: &'static str, value: &str) -> Self {
        Self { request: self.request.header(name, value), ..self }
    }

    pub(crate) fn json(self, body: &impl Serialize) -> Self {
        Self { request: self.request.json(body), ..self }
    }

    pub(crate) fn form(self, parameters: &impl Serialize) -> Self {
        Self { request: self.request.form(parameters), ..self }
    }

    /// By this name in sentences, where the path says too little.
    pub(crate) fn called(self, name: &str) -> Self {
        Self { what: name.to_owned(), ..self }
    }

    /// Making it twice is harmless.
    pub(crate) fn repeatable(self) -> Self {
        Self { repeatable: true, ..self }
    }

    /// The answer as JSON.
    pub(crate) async fn fetch<T: DeserializeOwned>(self) -> Result<T, CloudError> {
        let what = self.what.clone();
        let body = self.send().await?;
        serde_json::from_slice(&body)
            .map_err(|error| CloudError::Nonsense { what, detail: error.to_string() })
    }

    /// The same; `None` where there is no such thing.
    pub(crate) async fn find<T: DeserializeOwned>(self) -> Result<Option<T>, CloudError> {
        match self.fetch().await {
            Err(CloudError::Refused(Refusal { status: 404, .. })) => Ok(None),
            result => result.map(Some),
        }
    }

    /// A removal: what is gone already is removed.
    pub(crate) async fn gone(self) -> Result<(), CloudError> {
        match self.send().await {
            Err(CloudError::Refused(Refusal { status: 404, .. })) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Sends it until it is answered for good; the body of the answer.
    pub(crate) async fn send(self) -> Result<Vec<u8>, CloudError> {
        let started = Instant::now();
        let mut attempt = 1;
        loop {
            let outcome = self.attempt().await;
            let (error, asked) = match outcome {
                Ok(body) => return Ok(body),
                Err(failure) => failure,
            };
            let pause = match asked {
                Some(asked) if asked > LONGEST_WAIT => return Err(CloudError::RateLimited { wait: asked }),
                Some(asked) => asked,
                None => wait::backoff(attempt),
            };
            let again = error.nothing_was_done() || (self.repeatable && error.may_pass());
            if !again || attempt >= MOST_ATTEMPTS || started.elapsed() + pause > CALL_LIMIT {
                return Err(error);
            }
            tracing::debug!(call = %self.what, %error, ?pause, "trying again");
            sleep(pause).await;
            attempt += 1;
        }
    }

    /// One attempt. A failure says how long the provider asked us to wait, if it did.
    async fn attempt(&self) -> Result<Vec<u8>, (CloudError, Option<Duration>)> {
        let plain = |error| (error, None);
        let no_answer = |source: reqwest::Error| {
            let sent = !source.is_connect();
            // The URL may hold what is nobody's business; `what` says enough.
            plain(CloudError::NoAnswer { what: self.what.clone(), sent, source: source.without_url() })
        };
        let request = self.request.try_clone().ok_or_else(|| plain(CloudError::unbuilt(&self.what)))?;
        let (client, request) = request.build_split();
        let mut request = request.map_err(no_answer)?;
        self.dialect.authorize(&mut request).map_err(plain)?;
        let started = Instant::now();
        let answer = client.execute(request);
        let answer = if self.repeatable { answer.await } else { orders::to_the_end(answer).await };
        let response = answer.map_err(no_answer)?;
        let status = response.status();
        tracing::debug!(call = %self.what, status = status.as_u16(), took = ?started.elapsed(), "answered");
        let headers = response.headers().clone();
        let body = body(response).await.map_err(no_answer)?;
        if status.is_success() {
            return Ok(body);
        }
        let mut refusal = self.dialect.refusal(status.as_u16(), &headers, &body);
        if refusal.message.is_empty() {
            refusal.message = canonical(status).to_owned();
        }
        Err((CloudError::Refused(refusal), wait::asked(status.as_u16(), &headers)))
    }
}

async fn body(response: Response) -> reqwest::Result<Vec<u8>> {
    response.bytes().await.map(Vec::from)
}

fn canonical(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("no reason given")
}

/// One for the process: it keeps connections, and reading the system's certificates takes a while.
fn client() -> Result<reqwest::Client, CloudError> {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client.clone());
    }
    let mut headers = HeaderMap::new();
    headers.insert("accept", reqwest::header::HeaderValue::from_static("application/json, text/xml"));
    let client = reqwest::Client::builder()
        .user_agent(concat!("machine/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .timeout(ATTEMPT_LIMIT)
        .connect_timeout(Duration::from_secs(10))
        // A token must not follow to another server.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|source| CloudError::NoAnswer { what: "Preparing HTTPS".to_owned(), sent: false, source })?;
    Ok(CLIENT.get_or_init(|| client).clone())
}
