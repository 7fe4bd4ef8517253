//! `POST /images/{name}/push`.

use super::progress;
use crate::http::{
    error::{ApiError, Result},
    query::Query,
    registry::credentials,
    state::AppState,
};
use axum::{http::HeaderMap, response::Response};
use engine::image::{PushRequest, Reference, reference::ReferenceError};

pub(super) async fn push(
    state: AppState,
    name: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response> {
    let invalid = |error: ReferenceError| ApiError::bad_request(error.to_string());
    let mut reference: Reference = name.parse().map_err(invalid)?;
    if !query.text("tag").is_empty() {
        reference = reference.with_tag(query.text("tag")).map_err(invalid)?;
    }
    let request = PushRequest { reference, credentials: credentials(headers) };
    let (sender, lines) = engine::image::progress();
    let engine = state.engine;
    let work = async move { engine.images.push(&engine.registries, &request, &sender).await };
    progress::answer(work, lines).await
}
