//! A provider on this computer: an HTTP server with a world behind it, switches for everything that goes
//! wrong out there, and between the two, where the provider has published one, its own specification as the
//! judge of both sides.

use super::{
    judge::{FROM_THE_WORLD, Judge},
    specification::Specification,
};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, Response, StatusCode},
    response::IntoResponse,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard},
    thread::JoinHandle,
    time::Duration,
};

/// Tells the world's end the refusal that is asked for, status, seconds and code: so it is judged as any answer.
const REFUSAL: &str = "test-cloud-refusal";

/// A request as a world sees it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// Path and query as they came, from where the API begins.
    pub target: String,
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
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { status, headers: if status == 204 { vec![] } else { headers }, body }
    }
}

/// A provider's behaviour.
pub trait World: std::fmt::Debug + Send + 'static {
    fn answer(&mut self, asked: &Asked) -> Answer;
    /// A failure in the provider's form.
    fn error(&self, status: u16, code: &str) -> Answer;
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response.body(Body::from(self.body)).unwrap()
    }
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
    violations: BTreeSet<String>,
}

impl<W: World> State<W> {
    /// The world's answer, or the refusal asked for.
    fn answer(&mut self, asked: &Asked) -> Answer {
        let Some(refusal) = asked.headers.get(REFUSAL) else { return self.world.answer(asked) };
        let mut parts = refusal.to_str().unwrap().splitn(3, ' ');
        let mut next = || parts.next().unwrap();
        let (status, seconds, code) = (next().parse().unwrap(), next().parse::<u32>(), next());
        let mut answer = self.world.error(status, code);
        answer.headers.extend(seconds.ok().map(|seconds| ("retry-after", seconds.to_string())));
        answer
    }
}

/// The server; ends with its last owner, who is told what was against the specification.
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
        let state = State { world, faults: vec![], requests: vec![], violations: BTreeSet::new() };
        let state = Arc::new(Mutex::new(state));
        let address = listener.local_addr().unwrap();
        let judged = specification.map(|specification| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let upstream = format!("http://{}", listener.local_addr().unwrap());
            (specification, listener, Judge::before(&upstream, specification))
        });
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let shared = Arc::clone(&state);
        // A thread and a runtime of its own: it must answer while a test blocks its own runtime.
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let judge = judged.map(|(specification, listener, judge)| {
                    let shared = Arc::clone(&shared);
                    tokio::spawn(serve(listener, move |request| {
                        answer(request, Arc::clone(&shared), specification)
                    }));
                    Arc::new(judge)
                });
                let asked = move |request| meet(request, Arc::clone(&shared), prefix, judge.clone());
                tokio::select! {
                    () = serve(listener, asked) => {}
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

    /// Everything that either side did against the specification so far; whoever asks answers for it.
    pub fn take_violations(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.state().violations)
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
        let Ok(state) = self.state.lock() else { return };
        let kept = state.violations.is_empty();
        assert!(kept || std::thread::panicking(), "Against the specification: {:#?}", state.violations);
    }
}

/// Answers on `listener` for ever.
async fn serve<F>(listener: TcpListener, answer: impl Fn(Request) -> F + Clone + Send + Sync + 'static)
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let router = Router::new().fallback(move |request: Request| {
        // A task of its own: what was asked for is done though the asker hangs up.
        let answered = tokio::spawn(answer(request));
        async move { answered.await.unwrap() }
    });
    axum::serve(listener, router).await.unwrap();
}

/// Before the judge: what was asked for is counted, and goes wrong if it is to.
async fn meet<W: World>(
    request: Request,
    state: Arc<Mutex<State<W>>>,
    prefix: &'static str,
    judge: Option<Arc<Judge>>,
) -> Response<Body> {
    let mut asked = read(request, prefix).await;
    let fault = {
        let mut state = state.lock().unwrap();
        state.requests.push(format!("{} {}", asked.method, asked.path));
        let fits = |(m, p, _): &(&str, &str, Fault)| *m == asked.method && asked.path.starts_with(p);
        let fault = state.faults.iter().position(fits);
        fault.map(|at| state.faults.remove(at).2)
    };
    let refusal = match fault {
        Some(Fault::Refuse(status, code)) => Some(format!("{status} - {code}")),
        Some(Fault::TooMany(seconds)) => Some(format!("429 {seconds} rate_limit_exceeded")),
        _ => None,
    };
    if let Some(refusal) = refusal {
        asked.headers.insert(REFUSAL, refusal.parse().unwrap());
    }
    if let Some(Fault::Late(pause)) = fault {
        tokio::time::sleep(pause).await;
    }
    let answer = match judge {
        Some(judge) => {
            let judged = judge.pass_on(&asked).await;
            judged.unwrap_or_else(|violations| {
                let mut state = state.lock().unwrap();
                let told = violations.join("; ");
                state.violations.insert(format!("{} {}: {told}", asked.method, asked.target));
                // One that nobody asks again about.
                state.world.error(422, &told).into_response()
            })
        }
        None => state.lock().unwrap().answer(&asked).into_response(),
    };
    match fault {
        Some(Fault::Lost) => (StatusCode::INTERNAL_SERVER_ERROR, "{}").into_response(),
        // A body that is shorter than it says: the connection ends in the middle.
        Some(Fault::Cut) => Response::builder()
            .header("content-length", "100")
            .body(Body::from_stream(futures_util::stream::iter([Err::<String, _>(std::io::Error::other(
                "cut",
            ))])))
            .unwrap(),
        _ => answer,
    }
}

/// Behind the judge: the world, whose answer has everything that is required.
async fn answer<W: World>(
    request: Request,
    state: Arc<Mutex<State<W>>>,
    specification: &'static Specification,
) -> Response<Body> {
    let asked = read(request, "").await;
    let mut answer = state.lock().unwrap().answer(&asked);
    answer.headers.push((FROM_THE_WORLD, "yes".to_owned()));
    if (200..300).contains(&answer.status)
        && let Ok(body) = serde_json::from_str::<Value>(&answer.body)
    {
        answer.body = specification.complete(&asked.method, &asked.path, answer.status, &body).to_string();
    }
    answer.into_response()
}

async fn read(request: Request, prefix: &str) -> Asked {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let target = parts.uri.path_and_query().and_then(|target| target.as_str().strip_prefix(prefix));
    let target = target.unwrap_or("/outside-of-the-api").to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    // Where all calls have one path, they are told apart by their action.
    let action = text.split('&').find_map(|pair| pair.strip_prefix("Action="));
    Asked {
        method: parts.method.to_string(),
        path: action.map_or(path.to_owned(), |action| format!("/{action}")),
        query: pairs(query),
        headers: parts.headers,
        body: serde_json::from_str(&text).unwrap_or(Value::Null),
        target,
        text,
    }
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
