//! Routes about the engine itself: ping, version, info, disk use, login.

mod info;

use super::{
    error::Result,
    images,
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
use engine::image::ImageFilters;
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
        .route("/system/df", get(disk_usage))
        // Nothing of the kind exists here, which is an answer: clients list these on every command.
        .route("/plugins", get(|| async { Json(json!([])) }))
        .route("/volumes", get(|| async { Json(json!({ "Volumes": [], "Warnings": null })) }))
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

async fn disk_usage(State(state): State<AppState>) -> Result<Json<Value>> {
    let store = &state.engine.images;
    let images = store.list(&ImageFilters::default()).await?;
    let mut containers = Vec::new();
    for container in state.engine.containers.all() {
        let record = &container.record;
        // One that is being removed right now uses nothing worth telling.
        let size = state.engine.containers.size(&record.id).await.unwrap_or(0);
        let created = jiff::Timestamp::try_from(record.created).map_or(0, jiff::Timestamp::as_second);
        containers.push(json!({
            "Id": record.id,
            "Names": [format!("/{}", record.name)],
            "Image": record.config.image,
            "ImageID": record.image_id,
            "Created": created,
            "State": record.state.status.as_str(),
            "Status": record.state.status.as_str(),
            "SizeRw": size,
            "Labels": record.config.labels,
            "Ports": [],
            "Mounts": [],
        }));
    }
    Ok(Json(json!({
        "LayersSize": store.disk_usage().await?,
        "Images": images.iter().map(images::usage).collect::<Vec<_>>(),
        "Containers": containers,
        "Volumes": [],
        "BuildCache": [],
        "BuilderSize": 0,
    })))
}

/// Go's name of an architecture.
fn architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
