//! `POST /images/create?fromSrc=-`: the body is a tar of files, the answer a stream with the image's id.

use crate::http::{
    commit::changes,
    error::{ApiError, Result},
    json_stream::{error_line, json_lines},
    query::Query,
    state::AppState,
};
use axum::{body::Body, response::Response};
use engine::build::ImportRequest;
use futures_util::{StreamExt, stream};
use serde_json::json;
use std::io;

pub(super) fn import(state: AppState, query: &Query, body: Body) -> Result<Response> {
    if query.text("fromSrc") != "-" {
        return Err(ApiError::not_implemented(
            "Importing from a URL is not supported by this engine yet; fetch it and use \"docker import -\"",
        ));
    }
    let request = ImportRequest {
        repository: query.text("repo").to_owned(),
        tag: query.text("tag").to_owned(),
        message: query.text("message").to_owned(),
        changes: changes(query),
        platform: query.text("platform").to_owned(),
    };
    let archive = body.into_data_stream().map(|piece| piece.map_err(io::Error::other));
    Ok(json_lines(stream::once(async move {
        match state.engine.builder.import(request, Box::pin(archive)).await {
            Ok(id) => json!({ "status": id }),
            Err(error) => error_line(&error.to_string()),
        }
    })))
}
