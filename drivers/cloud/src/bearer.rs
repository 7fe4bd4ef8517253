//! What the providers with a token have in common: an endpoint, the token in a header, refusals as JSON.

use crate::{
    http::{Api, CloudError, Dialect, Refusal},
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

/// The entries of a listing.
pub(crate) fn entries<T: DeserializeOwned>(path: &str, value: Value) -> Result<Vec<T>, CloudError> {
    serde_json::from_value(value)
        .map_err(|error| CloudError::Nonsense { what: format!("GET {path}"), detail: error.to_string() })
}
