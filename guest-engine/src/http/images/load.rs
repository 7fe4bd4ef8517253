//! `POST /images/load`: the body is an archive, the answer a stream of lines; failures are in-band.

use crate::http::{
    json_stream::{error_line, json_lines},
    state::AppState,
};
use axum::{body::Body, extract::State, response::Response};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::io;

/// Nothing is answered before the archive is here, as in dockerd: clients that take an answer for the end
/// of it (skopeo) would stop sending.
pub(super) async fn load(State(state): State<AppState>, body: Body) -> Response {
    let archive = body.into_data_stream().map(|piece| piece.map_err(io::Error::other));
    let lines: Vec<Value> = match state.engine.images.load(Box::pin(archive)).await {
        Ok(said) => said.iter().map(|line| json!({ "stream": format!("{line}\n") })).collect(),
        Err(error) => vec![error_line(&error.to_string())],
    };
    json_lines(stream::iter(lines))
}
