//! A provider on this computer: an HTTP server with a world behind it, switches for everything that goes
//! wrong out there, and the provider's own specification as the judge of both sides.

use super::schema::{Specification, filled, present, violations};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, Response, StatusCode},
    response::IntoResponse,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard},
    thread::JoinHandle,
    time::Duration,
};

/// A request as a world sees it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub headers: HeaderMap,
    pub body: Value,
    /// The body as it came.
    pub text: String,
}

/// What it answers.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Answer {
    pub fn json(status: u16, body: &Value) -> Self {
        let body = if status == 204 { String::new() } else { body.to_string() };
        Self { status, headers: vec![("content-type", "application/json".to_owned())], body }
    }
}

/// A provider's behaviour.
pub trait World: std::fmt::Debug + Send + 'static {
    fn answer(&mut self, asked: &Asked) -> Answer;
    /// A failure in the provider's form.
    fn error(&self, status: u16, code: &str) -> Answer;
}

/// What goes wrong with the next request that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refused with this status, not acted on.
    Refuse(u16, &'static str),
    /// 429, and when to come back, in seconds.
    TooMany(u32),
    /// Acted on, but the answer is a 500.
    Lost,
    /// Acted on, but the connection ends without an answer.
    Cut,
    /// Acted on only after this time, whoever still waits for the answer.
    Late(Duration),
}

#[derive(Debug)]
struct State<W> {
    world: W,
    /// Method, beginning of the path, what happens.
    faults: Vec<(&'static str, &'static str, Fault)>,
    requests: Vec<String>,
    violations: Vec<String>,
}

/// The server; ends with its last owner.
#[derive(Debug)]
pub struct Fake<W> {
    address: SocketAddr,
    state: Arc<Mutex<State<W>>>,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

impl<W: World> Fake<W> {
    /// Starts; `prefix` is the path at which the API begins.
    pub fn start(world: W, prefix: &'static str, specification: Option<&'static Specification>) -> Self {
        Self::listening(TcpListener::bind("127.0.0.1:0").unwrap(), world, prefix, specification)
    }

    /// The same on a socket that is there, perhaps in another network namespace.
    pub fn listening(
        listener: TcpListener,
        world: W,
        prefix: &'static str,
        specification: Option<&'static Specification>,
    ) -> Self {
        let state = State { world, faults: vec![], requests: vec![], violations: vec![] };
        let state = Arc::new(Mutex::new(state));
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let shared = Arc::clone(&state);
        // A thread and a runtime of its own: it must answer while a test blocks its own runtime.
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let router = Router::new().fallback(move |request: Request| {
                    let shared = Arc::clone(&shared);
                    // A task of its own: what was asked for is done though the asker hangs up.
                    let served =
                        tokio::spawn(async move { serve(request, &shared, prefix, specification).await });
                    async move { served.await.unwrap() }
                });
                tokio::select! {
                    served = async { axum::serve(listener, router).await } => served.unwrap(),
                    _ = ended => {}
                }
            });
        });
        Self { address, state, end: Some(end), server: Some(server) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Lets the next request that matches fail.
    pub fn fail_next(&self, method: &'static str, path: &'static str, fault: Fault) {
        self.state().faults.push((method, path, fault));
    }

    /// How many requests there were of this method and beginning of the path.
    pub fn count(&self, method_and_path: &str) -> usize {
        self.state().requests.iter().filter(|request| request.starts_with(method_and_path)).count()
    }

    pub fn world<T>(&self, look: impl FnOnce(&mut W) -> T) -> T {
        look(&mut self.state().world)
    }

    /// Everything that either side did against the specification.
    pub fn violations(&self) -> BTreeSet<String> {
        self.state().violations.iter().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap()
    }
}

impl<W> Drop for Fake<W> {
    fn drop(&mut self) {
        drop(self.end.take());
        // The world ends here, and with it what runs in it.
        if let Some(server) = self.server.take() {
            drop(server.join());
        }
    }
}

async fn serve<W: World>(
    request: Request,
    state: &Mutex<State<W>>,
    prefix: &str,
    specification: Option<&Specification>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let path = parts.uri.path().strip_prefix(prefix).unwrap_or("/outside-of-the-api").to_owned();
    // Where all calls have one path, they are told apart by their action.
    let action = text.split('&').find_map(|pair| pair.strip_prefix("Action="));
    let asked = Asked {
        method: parts.method.to_string(),
        path: action.map_or(path, |action| format!("/{action}")),
        query: pairs(parts.uri.query().unwrap_or_default()),
        headers: parts.headers,
        body: serde_json::from_str(&text).unwrap_or(Value::Null),
        text,
    };
    let fault = {
        let mut state = state.lock().unwrap();
        state.requests.push(format!("{} {}", asked.method, asked.path));
        let fits = |(m, p, _): &(&str, &str, Fault)| *m == asked.method && asked.path.starts_with(p);
        let fault = state.faults.iter().position(fits);
        fault.map(|at| state.faults.remove(at).2)
    };
    if let Some(Fault::Late(pause)) = fault {
        tokio::time::sleep(pause).await;
    }
    let mut state = state.lock().unwrap();
    let answer = match fault {
        Some(Fault::Refuse(status, code)) => state.world.error(status, code),
        Some(Fault::TooMany(seconds)) => {
            let mut answer = state.world.error(429, "rate_limit_exceeded");
            answer.headers.push(("retry-after", seconds.to_string()));
            answer
        }
        _ => judged(&mut state, &asked, specification),
    };
    drop(state);
    match fault {
        Some(Fault::Lost) => (StatusCode::INTERNAL_SERVER_ERROR, "{}").into_response(),
        // A body that is shorter than it says: the connection ends in the middle.
        Some(Fault::Cut) => Response::builder()
            .header("content-length", "100")
            .body(Body::from_stream(futures_util::stream::iter([Err::<String, _>(std::io::Error::other(
                "cut",
            ))])))
            .unwrap(),
        _ => {
            let mut response = Response::builder().status(answer.status);
            for (name, value) in answer.headers {
                response = response.header(name, value);
            }
            response.body(Body::from(answer.body)).unwrap()
        }
    }
}

/// Answers, and lets the specification judge both sides.
fn judged<W: World>(state: &mut State<W>, asked: &Asked, specification: Option<&Specification>) -> Answer {
    let Some(specification) = specification else { return state.world.answer(asked) };
    let Some(operation) = specification.operation(&asked.method, &asked.path) else {
        state.violations.push(format!("{} {} is no operation", asked.method, asked.path));
        return state.world.error(404, "not_found");
    };
    if let Some(schema) =
        operation.get("request").filter(|_| asked.method == "POST" && !asked.text.is_empty())
    {
        let wrong = violations(schema, &asked.body, "request");
        if !wrong.is_empty() {
            state.violations.push(format!("{} {}: {}", asked.method, asked.path, wrong.join("; ")));
            return state.world.error(422, &wrong.join("; "));
        }
    }
    let mut answer = state.world.answer(asked);
    if (200..300).contains(&answer.status)
        && let Some(schema) = operation.get("response")
    {
        let body: Value = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
        let body = complete(schema, &body);
        let wrong = violations(schema, &body, "response");
        if !wrong.is_empty() {
            state.violations.push(format!("{} {}: {}", asked.method, asked.path, wrong.join("; ")));
        }
        answer.body = body.to_string();
    }
    answer
}

/// What the specification requires besides what a world cares about.
fn complete(schema: &Value, body: &Value) -> Value {
    match body {
        Value::Object(object) => {
            let mut base = present(schema);
            for (name, value) in object {
                let below = property(schema, name);
                base[name] = match &below {
                    Some(schema) => complete(schema, value),
                    None => value.clone(),
                };
            }
            filled(&present(schema), &base)
        }
        Value::Array(items) => {
            json!(items.iter().map(|item| complete(&schema["items"], item)).collect::<Vec<_>>())
        }
        _ => body.clone(),
    }
}

fn property(schema: &Value, name: &str) -> Option<Value> {
    if let Some(found) = schema["properties"].get(name) {
        return Some(found.clone());
    }
    let parts = ["allOf", "oneOf", "anyOf"].iter().filter_map(|key| schema[*key].as_array()).flatten();
    parts.filter_map(|part| property(part, name)).next()
}

/// A query or a form.
pub fn pairs(text: &str) -> BTreeMap<String, String> {
    let decoded = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b'+' => bytes.push(b' '),
                b'%' => {
                    let hex = std::str::from_utf8(&rest[..2]).unwrap();
                    bytes.push(u8::from_str_radix(hex, 16).unwrap());
                    rest = &rest[2..];
                }
                byte => bytes.push(*byte),
            }
        }
        String::from_utf8(bytes).unwrap()
    };
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key), decoded(value))
    };
    text.split('&').filter(|pair| !pair.is_empty()).map(pair).collect()
}
