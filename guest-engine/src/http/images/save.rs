//! `GET /images/get` and `GET /images/{name}/get`: the answer is an archive.

use crate::http::{error::Result, query::Query, state::AppState};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

pub(super) async fn save_many(State(state): State<AppState>, query: Query) -> Result<Response> {
    let names: Vec<String> = query
        .all("names")
        .flat_map(|names| names.split(','))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    save(state, &names).await
}

pub(super) async fn save(state: AppState, names: &[String]) -> Result<Response> {
    let archive = state.engine.images.save(names).await?;
    let mut response = Body::from_stream(archive).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    Ok(response)
}
