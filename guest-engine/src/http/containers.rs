//! Routes of /containers.

mod archive;
mod attach;
mod inspect;
mod lifecycle;
mod list;
mod logs;
mod network_wire;
mod stats;
pub(super) mod stdio;
mod wait;
mod wire;

pub(super) use lifecycle::{moment, terminal_size};
pub(super) use list::to_json as summary;
pub(super) use wire::time;

use super::state::AppState;
use axum::{
    Router,
    routing::{delete, get, post},
};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/containers/json", get(list::list))
        .route("/containers/create", post(lifecycle::create))
        .route("/containers/prune", post(lifecycle::prune))
        .route("/containers/{id}", delete(lifecycle::remove))
        .route("/containers/{id}/json", get(inspect::inspect))
        .route("/containers/{id}/start", post(lifecycle::start))
        .route("/containers/{id}/stop", post(lifecycle::stop))
        .route("/containers/{id}/restart", post(lifecycle::restart))
        .route("/containers/{id}/kill", post(lifecycle::kill))
        .route("/containers/{id}/pause", post(lifecycle::pause))
        .route("/containers/{id}/unpause", post(lifecycle::unpause))
        .route("/containers/{id}/rename", post(lifecycle::rename))
        .route("/containers/{id}/update", post(lifecycle::update))
        .route("/containers/{id}/resize", post(lifecycle::resize))
        .route("/containers/{id}/archive", get(archive::get).put(archive::put))
        .route("/containers/{id}/changes", get(archive::changes))
        .route("/containers/{id}/export", get(archive::export))
        .route("/containers/{id}/wait", post(wait::wait))
        .route("/containers/{id}/attach", post(attach::attach))
        .route("/containers/{id}/logs", get(logs::logs))
        .route("/containers/{id}/stats", get(stats::stats))
        .route("/containers/{id}/top", get(stats::top))
}
