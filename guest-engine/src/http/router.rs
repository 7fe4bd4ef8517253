//! The route table, all resources on one page; the rest is `not_served`.

use super::{not_served::not_served, state::AppState};
use axum::Router;

/// Every route, without version prefix.
pub fn router(state: AppState) -> Router {
    Router::new()
        .merge(super::system::routes())
        .merge(super::events::routes())
        .merge(super::images::routes())
        .merge(super::registry::routes())
        .merge(super::build::routes())
        .merge(super::commit::routes())
        .merge(super::containers::routes())
        .merge(super::exec::routes())
        .merge(super::networks::routes())
        .merge(super::volumes::routes())
        .merge(crate::buildkit::routes(state.engine.clone()))
        .fallback(not_served)
        .method_not_allowed_fallback(not_served)
        .with_state(state)
}
