//! Prism as the judge between those who ask and a world: it is made by others, and so are the documents by
//! which it judges.

use super::{fake::Asked, specification::Specification};
use crate::artifacts;
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, Response},
};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Mutex, OnceLock},
};

/// Where Prism tells what it found in an answer.
const VIOLATIONS: &str = "sl-violations";
/// Tells an answer of the world from one that Prism makes itself.
pub(super) const FROM_THE_WORLD: &str = "test-cloud-world";
/// What concerns one connection, or the judge only.
const NOT_PASSED_ON: [&str; 6] =
    ["connection", "keep-alive", "transfer-encoding", "content-length", VIOLATIONS, FROM_THE_WORLD];

/// A proxy before one world.
#[derive(Debug)]
pub(super) struct Judge {
    url: String,
    client: reqwest::Client,
}

impl Judge {
    pub(super) fn before(upstream: &str, specification: &Specification) -> Self {
        // Prism hangs up on those who are idle, perhaps just now: no connection is used twice.
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        Self { url: Prism::open(upstream, specification), client }
    }

    /// The world's answer, or what in it or before it was against the specification.
    pub(super) async fn pass_on(&self, asked: &Asked) -> Result<Response<Body>, Vec<String>> {
        let mut headers = asked.headers.clone();
        headers.remove("host");
        let url = format!("{}{}", self.url, asked.target);
        let request = self.client.request(asked.method.parse().unwrap(), url).headers(headers);
        let answer = request.body(asked.text.clone()).send().await.unwrap();
        let mut response = Response::builder().status(answer.status());
        let headers = answer.headers().clone();
        let passed_on = |name: &HeaderName| !NOT_PASSED_ON.contains(&name.as_str());
        for (name, value) in headers.iter().filter(|(name, _)| passed_on(name)) {
            response = response.header(name, value);
        }
        let body = answer.bytes().await.unwrap();
        match violations(&headers, &body) {
            found if found.is_empty() => Ok(response.body(Body::from(body)).unwrap()),
            found => Err(found),
        }
    }
}

/// What Prism found, in its own words.
fn violations(headers: &HeaderMap, body: &[u8]) -> Vec<String> {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let messages =
        |list: &[Value]| list.iter().map(|violation| text(violation, "message")).collect::<Vec<_>>();
    // The list in the header has warnings, too; it is cut off where it becomes too long for one.
    if let Some(told) = headers.get(VIOLATIONS) {
        let list: Option<Vec<Value>> = serde_json::from_slice(told.as_bytes()).ok();
        return list.map_or_else(|| vec![format!("{told:?}")], |list| messages(&list));
    }
    if headers.contains_key(FROM_THE_WORLD) {
        return vec![];
    }
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    match problem["validation"].as_array() {
        Some(list) => messages(list),
        None => vec![format!("{} {}", text(&problem, "detail"), String::from_utf8_lossy(body))],
    }
}

/// The one process, which every judge of this one shares; it ends when its stdin does.
#[derive(Debug)]
struct Prism {
    node: Child,
    stdout: BufReader<ChildStdout>,
}

impl Prism {
    /// The URL of another proxy.
    fn open(upstream: &str, specification: &Specification) -> String {
        static PRISM: OnceLock<Mutex<Prism>> = OnceLock::new();
        let mut prism = PRISM.get_or_init(|| Mutex::new(Self::start())).lock().unwrap();
        let stdin = prism.node.stdin.as_mut().unwrap();
        writeln!(stdin, "{}", json!({ "specification": specification.file(), "upstream": upstream }))
            .unwrap();
        let mut url = String::new();
        prism.stdout.read_line(&mut url).unwrap();
        assert!(url.starts_with("http"), "Prism opened no proxy; what it said is above");
        url.trim_end().to_owned()
    }

    fn start() -> Self {
        let mut node = Command::new("node")
            .arg(artifacts::file("src/test_cloud/prism.js"))
            .env("NODE_PATH", artifacts::prism().unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(node.stdout.take().unwrap());
        Self { node, stdout }
    }
}

#[cfg(test)]
mod tests {
    use crate::test_cloud::{Answer, Asked, Fake, TOKEN, World, hetzner::SPECIFICATION};
    use serde_json::{Value, json};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// Answers the same to everything.
    #[derive(Debug)]
    struct Says(u16, Value);

    impl World for Says {
        fn answer(&mut self, _: &Asked) -> Answer {
            Answer::json(self.0, &self.1)
        }

        fn error(&self, status: u16, code: &str) -> Answer {
            Answer::json(status, &json!({ "error": { "code": code, "message": code, "details": null } }))
        }
    }

    async fn ask(fake: &Fake<Says>, token: Option<&str>, call: &str, body: &str) -> (u16, String) {
        let (method, path) = call.split_once(' ').unwrap();
        let request = reqwest::Client::new().request(method.parse().unwrap(), fake.url(path));
        let request = token.iter().fold(request, |request, token| request.bearer_auth(token));
        let kind = (!body.is_empty()).then_some(("content-type", "application/json"));
        let request = kind.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    #[tokio::test]
    async fn what_is_against_the_specification_is_told_of_either_side() {
        let keys = json!({ "ssh_keys": [] });
        let error = json!({ "error": { "code": "not_found", "message": "no", "details": null } });
        let key = r#"{"name":"a","public_key":"b"#;
        for (call, body, status, answer, told) in [
            ("GET /v1/ssh_keys?name=a&page=2", "", 200, &keys, ""),
            ("GET /v1/ssh_keys", "", 404, &error, ""),
            ("DELETE /v1/ssh_keys/3", "", 204, &Value::Null, ""),
            ("GET /ssh_keys", "", 200, &keys, "The route /outside-of-the-api hasn't been found"),
            ("GET /v1/keys", "", 200, &keys, "The route /keys hasn't been found"),
            ("DELETE /v1/ssh_keys", "", 204, &Value::Null, r#"does not have "delete" method"#),
            ("DELETE /v1/ssh_keys/a", "", 204, &Value::Null, "path parameter id must be integer"),
            ("GET /v1/ssh_keys?naem=a", "", 200, &keys, "query parameter naem is unknown"),
            ("GET /v1/ssh_keys?page=one", "", 200, &keys, "query parameter page must be integer"),
            ("POST /v1/ssh_keys", r#"{"name":"a"}"#, 201, &keys, "must have required property 'public_key'"),
            ("POST /v1/ssh_keys", &format!("{key}\",\"l\":1}}"), 201, &keys, "unevaluated properties: 'l'"),
            ("GET /v1/ssh_keys", "", 200, &json!({ "ssh_keys": 1 }), "body property ssh_keys must be array"),
            ("GET /v1/ssh_keys", "", 200, &json!({ "servers": [] }), "unevaluated properties: 'servers'"),
            ("GET /v1/ssh_keys", "", 404, &keys, "Response body must have required property 'error'"),
            ("GET /v1/ssh_keys", "", 302, &keys, "Unable to match the returned status code"),
        ] {
            let fake = Fake::start(Says(status, answer.clone()), "/v1", Some(&SPECIFICATION));
            let (got, _) = ask(&fake, Some(TOKEN), call, body).await;
            let found = fake.take_violations();
            if told.is_empty() {
                assert!(found.is_empty() && got == status, "{call}: {got} {found:?}");
            } else {
                assert!(
                    got == 422 && found.iter().any(|what| what.contains(told)),
                    "{call}: {got} {found:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_violation_fails_its_test() {
        let fake = Fake::start(Says(200, json!({ "ssh_keys": [] })), "/v1", Some(&SPECIFICATION));
        let (status, told) = ask(&fake, None, "GET /v1/ssh_keys", "").await;
        assert!(status == 422 && told.contains("security requirements"), "{status} {told}");
        catch_unwind(AssertUnwindSafe(|| drop(fake))).unwrap_err();
    }
}
