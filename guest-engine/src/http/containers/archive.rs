//! `docker cp`, `diff` and `export`.

use crate::http::{
    error::{ApiError, Result},
    query::Query,
    state::AppState,
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use engine::{
    container::ExtractOptions,
    ports::{ArchiveStream, ChangeKind, PathStat},
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::io;

const STAT_HEADER: HeaderName = HeaderName::from_static("x-docker-container-path-stat");

/// HEAD and GET: what is at a path, and for GET an archive of it.
pub(super) async fn get(
    State(app): State<AppState>,
    method: Method,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response> {
    let path = path_of(&query)?;
    let containers = &app.engine.containers;
    let (stat, mut response) = if method == Method::HEAD {
        (containers.stat_path(&id, path).await?, StatusCode::OK.into_response())
    } else {
        let (stat, stream) = containers.archive(&id, path).await?;
        (stat, tar(stream))
    };
    let encoded = STANDARD.encode(stat_json(&stat).to_string());
    let value = HeaderValue::from_str(&encoded)
        .map_err(|e| engine::EngineError::system("Could not describe the path").because(e))?;
    response.headers_mut().insert(STAT_HEADER, value);
    Ok(response)
}

/// PUT: unpacks the body.
pub(super) async fn put(
    State(app): State<AppState>,
    Path(id): Path<String>,
    query: Query,
    body: Body,
) -> Result<StatusCode> {
    let path = path_of(&query)?.to_owned();
    let options = ExtractOptions {
        keep_kinds: query.flag("noOverwriteDirNonDir"),
        to_container_user: query.flag("copyUIDGID"),
    };
    let archive = body.into_data_stream().map(|piece| piece.map_err(io::Error::other));
    app.engine.containers.extract(&id, &path, options, archive).await?;
    Ok(StatusCode::OK)
}

pub(super) async fn changes(State(app): State<AppState>, Path(id): Path<String>) -> Result<Json<Value>> {
    let changes = app.engine.containers.changes(&id).await?;
    if changes.is_empty() {
        return Ok(Json(Value::Null));
    }
    let kind = |kind| match kind {
        ChangeKind::Modified => 0,
        ChangeKind::Added => 1,
        ChangeKind::Deleted => 2,
    };
    let changes = changes.iter().map(|change| json!({ "Path": change.path, "Kind": kind(change.kind) }));
    Ok(Json(changes.collect()))
}

pub(super) async fn export(State(app): State<AppState>, Path(id): Path<String>) -> Result<Response> {
    let mut response = tar(app.engine.containers.export(&id).await?);
    let octets = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, octets);
    Ok(response)
}

fn path_of(query: &Query) -> Result<&str> {
    match query.text("path") {
        // dockerd's own spelling.
        "" => Err(ApiError::bad_request("bad parameter: pathcannot be empty")),
        path if path.contains('\0') => Err(ApiError::bad_request("bad parameter: path contains a zero byte")),
        path => Ok(path),
    }
}

fn tar(stream: ArchiveStream) -> Response {
    let mut response = Body::from_stream(stream).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    response
}

fn stat_json(stat: &PathStat) -> Value {
    json!({
        "name": stat.name,
        "size": stat.size,
        "mode": go_mode(stat.mode),
        "mtime": super::time(Some(stat.modified)),
        "linkTarget": stat.link_target,
    })
}

/// The kernel's mode as Go's `os.FileMode`.
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => 1 << 31,
        0o120_000 => 1 << 27,
        0o060_000 => 1 << 26,
        0o020_000 => 1 << 26 | 1 << 21,
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        _ => 0,
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special = special.iter().filter(|(bit, _)| mode & bit != 0).map(|(_, go)| go).sum::<u32>();
    kind | special | (mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        for (mode, go) in [
            (0o100_644, 0o644),
            (0o040_755, 2_147_484_141),
            (0o120_777, 134_218_239),
            (0o041_777, 2_148_532_735),
            (0o104_755, 8_389_101),
            (0o020_666, 69_206_454),
            (0o010_600, 33_554_816),
        ] {
            assert_eq!(go_mode(mode), go, "{mode:o}");
        }
    }
}
