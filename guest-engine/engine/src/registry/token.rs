//! Bearer tokens: got from the server that a registry's challenge names, for as long as they last.

use super::{
    Credentials, Failure,
    session::{describe, whole_body},
};
use reqwest::{Client, Url, header};
use serde::Deserialize;
use std::time::{Duration, Instant};

/// What a token lasts when its server does not say (the specification's minimum).
const DEFAULT_LIFE: u64 = 60;
/// A token that is about to expire is not begun with.
const MARGIN: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(30);
/// Bytes of an answer: tokens of large companies are long.
const BODY: usize = 1 << 20;
/// Docker's answer to who we are.
const CLIENT: &str = "docker";

/// Given out by a token server.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) text: String,
    /// Gets further tokens; only when asked for.
    pub(super) refresh: Option<String>,
    until: Instant,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    refresh_token: Option<String>,
    expires_in: Option<u64>,
}

impl Token {
    pub(super) fn is_fresh(&self) -> bool {
        Instant::now() + MARGIN < self.until
    }

    /// Asks for one. `offline` also asks for a refresh token.
    pub(super) async fn fetch(
        client: &Client,
        realm: &str,
        service: Option<&str>,
        scopes: &[String],
        credentials: &Credentials,
        offline: bool,
    ) -> Result<Self, Failure> {
        let mut url: Url =
            realm.parse().map_err(|e| Failure::Content(format!("invalid token server {realm:?}: {e}")))?;
        let what = describe("Get", &url);
        let request = if credentials.identitytoken.is_empty() {
            let mut query = url.query_pairs_mut();
            if let Some((username, _)) = credentials.basic() {
                query.append_pair("account", username);
            }
            if offline {
                query.append_pair("offline_token", "true").append_pair("client_id", CLIENT);
            }
            for scope in scopes {
                query.append_pair("scope", scope);
            }
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            drop(query);
            let request = client.get(url);
            match credentials.basic() {
                Some((username, password)) => request.basic_auth(username, Some(password)),
                None => request,
            }
        } else {
            // Any URL encodes a form as well.
            let mut form = url.clone();
            form.set_query(None);
            form.query_pairs_mut()
                .append_pair("grant_type", "refresh_token")
                .append_pair("refresh_token", &credentials.identitytoken)
                .append_pair("client_id", CLIENT)
                .append_pair("scope", &scopes.join(" "))
                .append_pair("service", service.unwrap_or_default());
            let body = form.query().unwrap_or_default().to_owned();
            let form_type = "application/x-www-form-urlencoded";
            client.post(url).header(header::CONTENT_TYPE, form_type).body(body)
        };
        let response =
            request.timeout(LIMIT).send().await.map_err(|error| Failure::of_request(&what, &error))?;
        if !response.status().is_success() {
            return Err(Failure::of_answer(response).await);
        }
        let body = whole_body(response, BODY, LIMIT, &what).await?;
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|e| Failure::Content(format!("{what}: the token is not understood: {e}")))?;
        let text = if answer.token.is_empty() { answer.access_token } else { answer.token };
        if text.is_empty() {
            return Err(Failure::Content(
                "authorization server did not include a token in the response".into(),
            ));
        }
        let life = answer.expires_in.unwrap_or(DEFAULT_LIFE).max(DEFAULT_LIFE);
        Ok(Self { text, refresh: answer.refresh_token, until: Instant::now() + Duration::from_secs(life) })
    }
}
