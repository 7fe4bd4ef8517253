//! Routes about the engine itself: ping, version, info, disk use, login.

mod disk_usage;
mod info;

use super::{
    state::AppState,
    version::{NEWEST, OLDEST},
};
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderValue, Method, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

/// Version of this engine.
pub(super) const RELEASE: &str = guest_contract::version::RELEASE;
const COMMIT: &str = match option_env!("MACHINE_GIT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
const BUILT: &str = match option_env!("MACHINE_BUILD_TIME") {
    Some(time) => time,
    None => "unknown",
};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/_ping", get(ping))
        .route("/version", get(version))
        .route("/info", get(info::info))
        .route("/system/df", get(disk_usage::disk_usage))
        // Nothing of the kind exists here, which is an answer: clients list these on every command.
        .route("/plugins", get(|| async { Json(json!([])) }))
}

async fn ping(method: Method) -> Response {
    let body = if method == Method::HEAD { "" } else { "OK" };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // The classic builder is what this engine will have first.
    headers.insert("builder-version", HeaderValue::from_static("1"));
    headers.insert("swarm", HeaderValue::from_static("inactive"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

async fn version(State(state): State<AppState>) -> Json<Value> {
    let host = &state.engine.system.host;
    let (newest, oldest) = (NEWEST.to_string(), OLDEST.to_string());
    let architecture = architecture(&host.machine);
    Json(json!({
        "Platform": { "Name": "machine" },
        "Components": [{
            "Name": "Engine",
            "Version": RELEASE,
            "Details": {
                "ApiVersion": newest,
                "Arch": architecture,
                "BuildTime": BUILT,
                "Experimental": "false",
                "GitCommit": COMMIT,
                "GoVersion": "none",
                "KernelVersion": host.kernel,
                "MinAPIVersion": oldest,
                "Os": "linux",
            },
        }],
        "Version": RELEASE,
        "ApiVersion": newest,
        "MinAPIVersion": oldest,
        "GitCommit": COMMIT,
        "GoVersion": "none",
        "Os": "linux",
        "Arch": architecture,
        "KernelVersion": host.kernel,
        "BuildTime": BUILT,
    }))
}

/// Go's name of an architecture.
fn architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
