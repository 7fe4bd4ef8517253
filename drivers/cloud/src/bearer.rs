//! What the providers with a token have in common: an endpoint, the token in a header, refusals as JSON.

use crate::{
    http::{Api, Call, CloudError, Dialect, Refusal},
    settings::Settings,
};
use machine_drivers::DriverError;
use reqwest::{
    Request,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Where the API is and who we are.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    endpoint: String,
    token: String,
}

struct Bearer {
    token: String,
    refusal: fn(u16, &Value) -> Refusal,
}

impl Account {
    /// Reads the two options.
    pub(crate) fn of(settings: &Settings<'_>, endpoint: &str, token: &str) -> Result<Self, DriverError> {
        Ok(Self {
            endpoint: settings.required(endpoint)?.to_owned(),
            token: settings.required(token)?.to_owned(),
        })
    }

    /// The same place with another's token.
    pub(crate) fn with_token_of(&self, other: Self) -> Self {
        Self { endpoint: self.endpoint.clone(), token: other.token }
    }

    /// The API; `refusal` reads the provider's way of saying no.
    pub(crate) fn api(&self, refusal: fn(u16, &Value) -> Refusal) -> Result<Api, CloudError> {
        Api::new(&self.endpoint, Bearer { token: self.token.clone(), refusal })
    }
}

impl Dialect for Bearer {
    fn authorize(&self, request: &mut Request) -> Result<(), CloudError> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.token)).map_err(|_| {
            DriverError::InvalidSpec("The token holds characters that no token has".to_owned())
        })?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
        Ok(())
    }

    fn refusal(&self, status: u16, _headers: &HeaderMap, body: &[u8]) -> Refusal {
        (self.refusal)(status, &serde_json::from_slice(body).unwrap_or_default())
    }
}

/// The entries of a listing, of every page: `ask` calls for a page, whose entries are below `key`, and `more`
/// says whether another one follows it.
pub(crate) async fn all<T: DeserializeOwned>(
    key: &str,
    ask: impl Fn(&str) -> Call,
    more: impl Fn(&Value, u64) -> bool,
) -> Result<Vec<T>, CloudError> {
    let mut entries = Vec::new();
    let mut page = 1_u64;
    loop {
        let mut answer: Value = ask(&page.to_string()).fetch().await?;
        let some: Vec<T> = serde_json::from_value(answer[key].take()).map_err(|error| {
            CloudError::Nonsense { what: format!("The list of {key}"), detail: error.to_string() }
        })?;
        entries.extend(some);
        if !more(&answer, page) {
            return Ok(entries);
        }
        page += 1;
    }
}
