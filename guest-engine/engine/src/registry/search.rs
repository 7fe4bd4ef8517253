//! `docker search`: the old index protocol, which the Hub still speaks.

use super::{
    Credentials, Endpoint, Failure, Registries,
    session::{describe, whole_body},
};
use crate::error::{EngineError, Result};
use serde::Deserialize;

/// Where names without a registry are looked for.
const INDEX: &str = "https://index.docker.io";
const MOST: usize = 100;
/// Bytes of an answer.
const BODY: usize = 4 << 20;

/// One repository.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct SearchResult {
    pub name: String,
    pub description: String,
    pub star_count: u64,
    pub is_official: bool,
    pub is_automated: bool,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<SearchResult>,
}

impl Registries {
    /// Repositories that an index finds for `term`, which may begin with the index's host.
    pub async fn search(
        &self,
        term: &str,
        limit: Option<usize>,
        credentials: &Credentials,
    ) -> Result<Vec<SearchResult>> {
        let limit = limit.unwrap_or(25);
        if limit == 0 || limit > MOST {
            return Err(EngineError::invalid(format!("limit {limit} is outside the range of [1, {MOST}]")));
        }
        if term.contains("://") {
            return Err(EngineError::invalid(format!(
                "invalid repository name: repository name ({term}) should not have a scheme"
            )));
        }
        let (index, term) = match term.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), rest),
            _ => (None, term),
        };
        let endpoints = match index {
            Some(host) if host != "docker.io" && host != "index.docker.io" => {
                self.endpoints(host, true).await?
            }
            _ => {
                let base = INDEX.parse().map_err(|e| EngineError::system("the index").because(e))?;
                vec![Endpoint { base, verified: true, mirror: false }]
            }
        };
        let mut last = EngineError::system("no index");
        for endpoint in endpoints {
            match self.search_at(&endpoint, term, limit, credentials).await {
                Ok(found) => return Ok(found),
                Err(failure) => last = failure.into(),
            }
        }
        Err(last)
    }

    async fn search_at(
        &self,
        endpoint: &Endpoint,
        term: &str,
        limit: usize,
        credentials: &Credentials,
    ) -> Result<Vec<SearchResult>, Failure> {
        let mut url = endpoint.base.clone();
        url.set_path("/v1/search");
        // Official repositories are found without the name of their folder.
        let term = term.strip_prefix("library/").unwrap_or(term);
        url.query_pairs_mut().append_pair("q", term).append_pair("n", &limit.to_string());
        let what = describe("Get", &url);
        let mut request = self.client(endpoint).await?.get(url).timeout(self.patience());
        if let Some((username, password)) = credentials.basic() {
            request = request.basic_auth(username, Some(password));
        }
        let response = request.send().await.map_err(|error| Failure::of_request(&what, &error))?;
        if !response.status().is_success() {
            let status = response.status();
            return Err(Failure::Content(format!("Unexpected status code {}", status.as_u16())));
        }
        let body = whole_body(response, BODY, self.patience(), &what).await?;
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|e| Failure::Content(format!("{what}: not understood: {e}")))?;
        Ok(answer.results)
    }
}
