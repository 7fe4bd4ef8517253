//! Keys of the role that a container or an instance has, from the endpoint that AWS gives it.

use super::{Credentials, Surroundings};
use jiff::Timestamp;
use machine_drivers::DriverError;
use serde::Deserialize;
use std::{fs, time::Duration};

/// Elsewhere than at AWS nobody answers.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// A program may ask its user something.
pub(super) const PROCESS_LIMIT: Duration = Duration::from_secs(120);

const INSTANCE: &str = "http://169.254.169.254";
const CONTAINER: &str = "http://169.254.170.2";

/// As all of AWS's endpoints and programs print them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    #[serde(alias = "SessionToken")]
    token: Option<String>,
    expiration: Option<String>,
}

/// Reads what they print.
pub(super) fn read(text: &[u8]) -> Option<Credentials> {
    let answer: Answer = serde_json::from_slice(text).ok()?;
    Some(Credentials {
        access_key: answer.access_key_id,
        secret_key: answer.secret_access_key,
        session_token: answer.token,
        expires: answer.expiration.and_then(|at| at.parse::<Timestamp>().ok()).map(Into::into),
    })
}

/// The container's role; `None` where the environment names no endpoint.
pub(super) async fn container(surroundings: &Surroundings) -> Result<Option<Credentials>, DriverError> {
    let url = match surroundings.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        Some(path) => format!("{CONTAINER}{path}"),
        None => match surroundings.get("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
            Some(url) => url,
            None => return Ok(None),
        },
    };
    let file = surroundings.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    let token = file
        .and_then(|file| fs::read_to_string(file).ok())
        .map(|token| token.trim().to_owned())
        .or_else(|| surroundings.get("AWS_CONTAINER_AUTHORIZATION_TOKEN"));
    let headers: Vec<(&str, &str)> = token.iter().map(|token| ("authorization", token.as_str())).collect();
    let text = ask(reqwest::Method::GET, &url, &headers).await;
    let found = text.and_then(|text| read(text.as_bytes()));
    found.map(Some).ok_or_else(|| DriverError::Prerequisite {
        what: "The endpoint that AWS_CONTAINER_CREDENTIALS_… names gives no credentials".to_owned(),
        hint: "The task or pod may have no role".to_owned(),
    })
}

/// The instance's role, by the second version of the metadata service; `None` when this is no instance or
/// it has none.
pub(super) async fn instance(surroundings: &Surroundings) -> Option<Credentials> {
    let disabled = surroundings.get("AWS_EC2_METADATA_DISABLED");
    if disabled.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    let base = surroundings.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| INSTANCE.to_owned());
    let base = format!("{}/latest", base.trim_end_matches('/'));
    let lifetime = [("x-aws-ec2-metadata-token-ttl-seconds", "300")];
    let token = ask(reqwest::Method::PUT, &format!("{base}/api/token"), &lifetime).await?;
    let headers = [("x-aws-ec2-metadata-token", token.as_str())];
    let roles = format!("{base}/meta-data/iam/security-credentials/");
    let role = ask(reqwest::Method::GET, &roles, &headers).await?;
    let role = role.lines().next()?.trim().to_owned();
    let text = ask(reqwest::Method::GET, &format!("{roles}{role}"), &headers).await?;
    read(text.as_bytes())
}

async fn ask(method: reqwest::Method, url: &str, headers: &[(&str, &str)]) -> Option<String> {
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        .timeout(CALL_LIMIT)
        // It is on this computer's own link; a proxy's would be another's.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .ok()?;
    let request =
        headers.iter().fold(client.request(method, url), |r, (name, value)| r.header(*name, *value));
    request.send().await.ok()?.error_for_status().ok()?.text().await.ok()
}

#[cfg(test)]
mod tests {
    use super::{super::find, *};
    use axum::{Router, http::HeaderMap, routing};
    use std::{collections::BTreeMap, sync::Arc};

    const KEYS: &str = r#"{"Code":"Success","AccessKeyId":"ASIA","SecretAccessKey":"S","Token":"T",
                          "Expiration":"2030-01-02T03:04:05Z"}"#;

    /// Keys for whoever shows the token that `PUT` gave, or the container's.
    async fn serve() -> String {
        let shows = |headers: &HeaderMap, name: &str| headers.get(name).is_some_and(|token| token == "tok");
        let if_shown = move |headers: HeaderMap, text: &'static str| async move {
            if shows(&headers, "x-aws-ec2-metadata-token") || shows(&headers, "authorization") {
                Ok(text)
            } else {
                Err(axum::http::StatusCode::UNAUTHORIZED)
            }
        };
        let roles = "/latest/meta-data/iam/security-credentials/";
        let router = Router::new()
            .route("/latest/api/token", routing::put(|| async { "tok" }))
            .route(roles, routing::get(move |headers| if_shown(headers, "ci-role\n")))
            .route(&format!("{roles}ci-role"), routing::get(move |headers| if_shown(headers, KEYS)))
            .route("/container", routing::get(move |headers| if_shown(headers, KEYS)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn surroundings(variables: &[(&str, String)]) -> Surroundings {
        let variables: Arc<BTreeMap<String, String>> =
            Arc::new(variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect());
        Surroundings { variable: Box::new(move |name| variables.get(name).cloned()), home: None }
    }

    #[tokio::test]
    async fn an_instance_has_the_keys_of_its_role() {
        let at = surroundings(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", serve().await)]);
        let keys = find(None, &at).await.unwrap();
        assert_eq!((keys.access_key.as_str(), keys.session_token.as_deref()), ("ASIA", Some("T")));
        assert!(keys.expires.is_some());
        assert!(!format!("{keys:?}").contains("ASIA"), "keys are not shown");
    }

    #[tokio::test]
    async fn a_container_has_the_keys_of_its_own() {
        let url = serve().await;
        let variables = [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{url}/container")),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "tok".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        assert_eq!(find(None, &surroundings(&variables)).await.unwrap().access_key, "ASIA");
        let none = surroundings(&[("AWS_EC2_METADATA_DISABLED", "true".to_owned())]);
        let error = find(None, &none).await.unwrap_err().to_string();
        assert_eq!(error, "There are no credentials of AWS");
    }
}
