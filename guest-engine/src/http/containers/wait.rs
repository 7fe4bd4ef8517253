//! POST /containers/{id}/wait: headers at once, the answer when there is one.

use crate::http::{error::Result, json_stream::json_lines, query::Query, state::AppState};
use axum::{
    extract::{Path, State},
    response::Response,
};
use engine::container::WaitCondition;
use futures_util::stream;
use serde_json::json;

pub(super) async fn wait(
    State(app): State<AppState>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response> {
    let condition = WaitCondition::parse(query.text("condition"));
    let waiting = app.engine.containers.wait(&id, condition)?;
    Ok(json_lines(stream::once(async {
        let waited = waiting.done().await;
        match waited.error {
            Some(message) => json!({ "StatusCode": waited.exit_code, "Error": { "Message": message } }),
            None => json!({ "StatusCode": waited.exit_code }),
        }
    })))
}
