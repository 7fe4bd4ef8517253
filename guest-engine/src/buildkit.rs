//! BuildKit's gRPC API, which `docker build` and `docker compose build` speak through buildx.
//!
//! ```text
//!  buildx ──POST /grpc, Upgrade: h2c──▶ Control, LLBBridge        (or HTTP/2 right away)
//!  buildx ──POST /session, Upgrade: h2c──▶ here WE are the client: files, secrets, agents
//!
//!  Control.Solve ─┬─ LLBBridge.Solve: the build ─┬─ LLBBridge.Return ─▶ export ─▶ Solve's answer
//!  Control.Status ┴── progress all the while ────┘
//! ```
//! Converts between protocols; what a build is stands in `engine::build`.

mod bridge;
mod builds;
mod control;
mod export;
mod failure;
mod feed;
mod files;
mod inputs;
mod outgoing;
mod request;
mod session;
mod sessions;
mod upgrade;

use crate::http::state::AppState;
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use bollard_buildkit_proto::moby::buildkit::v1::{
    control_server::ControlServer, frontend::llb_bridge_server::LlbBridgeServer,
};
use builds::Builds;
use engine::Engine;
use sessions::Sessions;
use std::sync::Arc;
use upgrade::Upgrade;

/// What the services share.
#[derive(Debug)]
struct BuildKit {
    engine: Arc<Engine>,
    builds: Builds,
    sessions: Sessions,
}

/// Routes for clients that upgrade, and for those that speak HTTP/2 right away.
pub(crate) fn routes(engine: Arc<Engine>) -> Router<AppState> {
    let shared = Arc::new(BuildKit { engine, builds: Builds::default(), sessions: Sessions::default() });
    let (for_grpc, for_session) = (Arc::clone(&shared), Arc::clone(&shared));
    Router::new()
        .route("/grpc", post(move |upgrade: Upgrade| async move { grpc(upgrade, &for_grpc) }))
        .route(
            "/session",
            post(move |headers: HeaderMap, State(_): State<AppState>, upgrade: Upgrade| async move {
                session(&headers, upgrade, for_session)
            }),
        )
        .merge(services(&shared))
}

fn services<S: Clone + Send + Sync + 'static>(shared: &Arc<BuildKit>) -> Router<S> {
    Router::new()
        .route_service(
            "/moby.buildkit.v1.Control/{method}",
            ControlServer::new(control::Control(Arc::clone(shared))),
        )
        .route_service(
            "/moby.buildkit.v1.frontend.LLBBridge/{method}",
            LlbBridgeServer::new(bridge::Bridge(Arc::clone(shared))),
        )
}

fn grpc(upgrade: Upgrade, shared: &Arc<BuildKit>) -> Response {
    // A service that is not served is no reason to end the connection: traces, for one.
    let router: Router = services(shared).fallback(|| async { unimplemented() });
    upgrade.serve(router)
}

fn session(headers: &HeaderMap, upgrade: Upgrade, shared: Arc<BuildKit>) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let id = text("x-docker-expose-session-uuid").to_owned();
    if id.is_empty() {
        return (StatusCode::BAD_REQUEST, "the session has no id").into_response();
    }
    let key = text("x-docker-expose-session-sharedkey").to_owned();
    let methods = headers.get_all("x-docker-expose-session-grpc-method");
    let methods =
        methods.iter().filter_map(|value| Some(value.to_str().ok()?.to_ascii_lowercase())).collect();
    upgrade.connect(move |channel, gone| shared.sessions.add(id, key, methods, channel, gone))
}

fn unimplemented() -> Response {
    tonic::Status::unimplemented("this engine does not serve that").into_http::<axum::body::Body>()
}
