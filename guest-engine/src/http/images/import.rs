//! `POST /images/create?fromSrc=-`: the body is a tar of files, or somewhere else is one; the answer a stream with
//! the image's id.

use crate::http::{
    commit::changes,
    error::Result,
    json_stream::{error_line, json_lines},
    query::Query,
    state::AppState,
};
use axum::{body::Body, response::Response};
use engine::build::ImportRequest;
use futures_util::{StreamExt, stream};
use serde_json::json;
use std::io;

pub(super) fn import(state: &AppState, query: &Query, body: Body) -> Result<Response> {
    let source = match query.text("fromSrc") {
        "-" => "",
        url => url,
    };
    let request = ImportRequest {
        source: source.to_owned(),
        repository: query.text("repo").to_owned(),
        tag: query.text("tag").to_owned(),
        message: query.text("message").to_owned(),
        changes: changes(query),
        platform: query.text("platform").to_owned(),
    };
    let builder = state.engine.builder.clone();
    let begin = (!source.is_empty()).then(|| json!({ "status": format!("Downloading from {source}") }));
    let source = source.to_owned();
    let done = stream::once(async move {
        let imported = async {
            let sent = body.into_data_stream().map(|piece| piece.map_err(io::Error::other));
            let archive = match source.as_str() {
                "" => sent.boxed(),
                url => builder.archive_at(url).await?,
            };
            builder.import(request, archive).await
        };
        match imported.await {
            Ok(id) => json!({ "status": id }),
            Err(error) => error_line(&error.to_string()),
        }
    });
    Ok(json_lines(stream::iter(begin).chain(done)))
}
