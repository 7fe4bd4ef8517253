//! One operation's conversation with one registry: authentication, retries and limits of time around every
//! request.

use super::{
    Credentials, Endpoint, Failure, Registries, backoff::Backoff, challenge::Challenge, token::Token,
};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, header};
use std::{collections::HashMap, time::Duration};
use tokio::sync::Mutex;

/// What a request may do to a repository, in the words of token servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Pull(String),
    Push(String),
    /// Push to the first, mount from the second.
    Mount(String, String),
    /// To see who is there.
    Nothing,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    base: Url,
    credentials: Credentials,
    pub(super) patience: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    challenge: Option<Challenge>,
    tokens: HashMap<Vec<String>, Token>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Tokens are secrets.
        f.debug_struct("State").field("challenge", &self.challenge).finish_non_exhaustive()
    }
}

impl Registries {
    /// Finds out whether a registry is there and how it wants to be asked.
    pub(crate) async fn connect(
        &self,
        endpoint: &Endpoint,
        credentials: &Credentials,
    ) -> Result<Session, Failure> {
        let session = Session {
            client: self.client(endpoint).await?,
            base: endpoint.base.clone(),
            // What is meant for the Hub is nothing for its mirrors.
            credentials: if endpoint.mirror { Credentials::default() } else { credentials.clone() },
            patience: self.patience(),
            state: Mutex::default(),
        };
        let url = session.url("")?;
        let what = describe("Get", &url);
        let answer = tokio::time::timeout(session.patience, session.client.get(url).send()).await;
        let answer = answer
            .map_err(|_| Failure::Stalled { what: what.clone() })?
            .map_err(|error| Failure::of_request(&what, &error))?;
        match answer.status() {
            StatusCode::UNAUTHORIZED => session.learn(&answer).await,
            StatusCode::NOT_FOUND => {
                return Err(Failure::Content(format!("{what}: this is not a registry")));
            }
            status if status.is_success() || status == StatusCode::TOO_MANY_REQUESTS => {}
            // Perhaps a bad moment only: what is asked for next will tell.
            status if status.is_server_error() => {}
            _ => return Err(Failure::of_answer(answer).await),
        }
        Ok(session)
    }
}

impl Session {
    /// `…/v2/PATH`, the path being made of checked names.
    pub(super) fn url(&self, path: &str) -> Result<Url, Failure> {
        let text = format!("{}/v2/{path}", self.base.as_str().trim_end_matches('/'));
        text.parse().map_err(|e| Failure::Content(format!("invalid registry URL {text:?}: {e}")))
    }

    /// A location the registry gave, relative to a request's or whole.
    pub(super) fn location(&self, response: &Response) -> Result<Url, Failure> {
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        location
            .and_then(|location| response.url().join(location).ok())
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| Failure::Content("the registry did not say where to upload to".to_owned()))
    }

    /// Sends a request until it succeeds or there is no point in going on. Only for what may be repeated.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &Url,
        access: &Access,
        add: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Failure> {
        let mut backoff = Backoff::default();
        loop {
            match self.send_once(method.clone(), url, access, &add).await {
                Ok(response) => return Ok(response),
                Err(failure) => match backoff.after(&failure) {
                    Some(delay) => {
                        tracing::debug!(%failure, ?delay, "The registry is asked again");
                        tokio::time::sleep(delay).await;
                    }
                    None => return Err(failure),
                },
            }
        }
    }

    /// Sends a request; a second time when the registry wants another token.
    pub(super) async fn send_once(
        &self,
        method: Method,
        url: &Url,
        access: &Access,
        add: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Failure> {
        let what = describe(&in_words(&method), url);
        let mut renewed = false;
        loop {
            let request = add(self.client.request(method.clone(), url.clone()));
            let request = self.authorize(request, url, access).await?;
            let response = tokio::time::timeout(self.patience, request.send())
                .await
                .map_err(|_| Failure::Stalled { what: what.clone() })?
                .map_err(|error| Failure::of_request(&what, &error))?;
            if response.status() == StatusCode::UNAUTHORIZED && !renewed {
                renewed = true;
                self.learn(&response).await;
                self.state.lock().await.tokens.clear();
                continue;
            }
            if response.status().is_success() {
                return Ok(response);
            }
            return Err(Failure::of_answer(response).await);
        }
    }

    /// A request whose body can be sent once only; nothing is retried, time is the caller's business.
    pub(super) async fn send_body(
        &self,
        request: impl FnOnce(&Client) -> RequestBuilder,
        url: &Url,
        access: &Access,
    ) -> Result<Response, Failure> {
        let request = self.authorize(request(&self.client), url, access).await?;
        let what = describe("Patch", url);
        let response = request.send().await.map_err(|error| Failure::of_request(&what, &error))?;
        if response.status().is_success() { Ok(response) } else { Err(Failure::of_answer(response).await) }
    }

    /// A token that proves the credentials, or nothing where none is asked for.
    pub(super) async fn prove(&self) -> Result<Option<String>, Failure> {
        let challenge = self.state.lock().await.challenge.clone();
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => {
                let url = self.url("")?;
                self.send_once(Method::GET, &url, &Access::Nothing, |request| request).await?;
                Ok(None)
            }
            Some(Challenge::Bearer { realm, service, .. }) => {
                self.check_realm(&realm)?;
                let service = service.as_deref();
                let token = Token::fetch(&self.client, &realm, service, &[], &self.credentials, true).await?;
                let url = self.url("")?;
                let answer = self.client.get(url.clone()).bearer_auth(&token.text).timeout(self.patience);
                let answer = answer.send().await;
                let answer = answer.map_err(|e| Failure::of_request(&describe("Get", &url), &e))?;
                if !answer.status().is_success() {
                    return Err(Failure::of_answer(answer).await);
                }
                Ok(token.refresh)
            }
        }
    }

    /// Whether a token server decides who gets in.
    pub(super) async fn wants_tokens(&self) -> bool {
        matches!(self.state.lock().await.challenge, Some(Challenge::Bearer { .. }))
    }

    async fn learn(&self, response: &Response) {
        // Where the registry sent us on to has no say in where our password goes.
        if response.url().origin() != self.base.origin() {
            return;
        }
        let headers = response.headers().get_all(header::WWW_AUTHENTICATE);
        let challenge = Challenge::of(headers.iter().filter_map(|value| value.to_str().ok()));
        if challenge.is_some() {
            self.state.lock().await.challenge = challenge;
        }
    }

    async fn authorize(
        &self,
        request: RequestBuilder,
        url: &Url,
        access: &Access,
    ) -> Result<RequestBuilder, Failure> {
        // Uploads may go elsewhere; what proves us to the registry is not for others.
        if url.origin() != self.base.origin() {
            return Ok(request);
        }
        let mut state = self.state.lock().await;
        let (realm, service, scope) = match state.challenge.clone() {
            None => return Ok(request),
            Some(Challenge::Basic) => {
                let (username, password) = self.credentials.basic().ok_or(Failure::NoCredentials)?;
                return Ok(request.basic_auth(username, Some(password)));
            }
            Some(Challenge::Bearer { realm, service, scope }) => (realm, service, scope),
        };
        if !self.credentials.registrytoken.is_empty() {
            return Ok(request.bearer_auth(&self.credentials.registrytoken));
        }
        let mut scopes = access.scopes();
        if scopes.is_empty() {
            scopes.extend(scope);
        }
        if let Some(token) = state.tokens.get(&scopes).filter(|token| token.is_fresh()) {
            return Ok(request.bearer_auth(&token.text));
        }
        self.check_realm(&realm)?;
        // Under the lock: whoever comes next needs the same token.
        let token =
            Token::fetch(&self.client, &realm, service.as_deref(), &scopes, &self.credentials, false).await?;
        let request = request.bearer_auth(&token.text);
        state.tokens.insert(scopes, token);
        Ok(request)
    }

    /// A registry that proves itself must not make us send a password in the clear.
    fn check_realm(&self, realm: &str) -> Result<(), Failure> {
        if self.base.scheme() == "https" && !realm.starts_with("https://") {
            return Err(Failure::Content(format!("token server {realm:?} is not reached over TLS")));
        }
        Ok(())
    }
}

impl Access {
    fn scopes(&self) -> Vec<String> {
        match self {
            Self::Pull(name) => vec![format!("repository:{name}:pull")],
            Self::Push(name) => vec![format!("repository:{name}:pull,push")],
            Self::Mount(to, from) => {
                vec![format!("repository:{to}:pull,push"), format!("repository:{from}:pull")]
            }
            Self::Nothing => Vec::new(),
        }
    }
}

/// The rest of an answer, which must not be longer than `limit`.
pub(super) async fn whole_body(
    mut response: Response,
    limit: usize,
    patience: Duration,
    what: &str,
) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(piece) = tokio::time::timeout(patience, response.chunk())
        .await
        .map_err(|_| Failure::Stalled { what: what.to_owned() })?
        .map_err(|error| Failure::of_request(what, &error))?
    {
        bytes.extend_from_slice(&piece);
        if bytes.len() > limit {
            return Err(Failure::Content(format!("{what}: the answer is larger than {limit} bytes")));
        }
    }
    Ok(bytes)
}

/// As Go's HTTP client says it: `Get "https://host/v2/"`. Without the query, which may be signed.
pub(crate) fn describe(verb: &str, url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    format!("{verb} \"{shown}\"")
}

fn in_words(method: &Method) -> String {
    let (first, rest) = method.as_str().split_at(1);
    format!("{first}{}", rest.to_lowercase())
}
