//! `POST /commit`.

use super::{
    error::{ApiError, Result},
    json_body::JsonBody,
    query::Query,
    state::AppState,
};
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use bollard_stubs::models::ContainerConfig;
use engine::build::CommitRequest;
use serde_json::json;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/commit", post(commit))
}

async fn commit(
    State(state): State<AppState>,
    query: Query,
    JsonBody(config): JsonBody<Option<ContainerConfig>>,
) -> Result<Response> {
    let container = query.text("container");
    if container.is_empty() {
        return Err(ApiError::bad_request("bad parameter: container is required"));
    }
    let request = CommitRequest {
        container: container.to_owned(),
        repository: query.text("repo").to_owned(),
        tag: query.text("tag").to_owned(),
        comment: query.text("comment").to_owned(),
        author: query.text("author").to_owned(),
        pause: query.flag_or("pause", true),
        changes: changes(&query),
        config,
    };
    // To its end, even if the client does not wait for it: a frozen container must not stay so.
    let builder = state.engine.builder.clone();
    let id = tokio::spawn(async move { builder.commit(request).await })
        .await
        .map_err(|e| engine::EngineError::system("The commit ended early").because(e))??;
    Ok((StatusCode::CREATED, Json(json!({ "Id": id }))).into_response())
}

/// `changes`, which may repeat and hold several lines.
pub(super) fn changes(query: &Query) -> Vec<String> {
    query.all("changes").filter(|change| !change.is_empty()).map(str::to_owned).collect()
}
