//! GET /containers/{id}/logs.

use crate::http::{
    error::{ApiError, Result},
    frames::Framing,
    query::Query,
    state::AppState,
    version::ApiVersion,
};
use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use engine::container::logs::LogQuery;
use futures_util::StreamExt;
use jiff::Timestamp;

pub(super) async fn logs(
    State(app): State<AppState>,
    Path(id): Path<String>,
    query: Query,
    version: ApiVersion,
) -> Result<Response> {
    let moment = |key: &str| match query.text(key) {
        "" | "0" => Ok(None),
        text => unix_time(text)
            .or_else(|| text.parse().ok())
            .map(Some)
            .ok_or_else(|| ApiError::bad_request(format!("invalid value for \"{key}\": {text:?}"))),
    };
    let wanted = LogQuery {
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        // Anything that is not a number means everything, as in dockerd.
        tail: query.text("tail").parse().ok(),
        since: moment("since")?,
        until: moment("until")?,
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
        follow: query.flag("follow"),
    };
    let log = app.engine.containers.logs(&id, wanted).await?;
    let framing = Framing::for_terminal(log.terminal);
    let frames = log.frames.map(move |batch| batch.map(|batch| framing.encode_all(&batch)));
    let mut response = Body::from_stream(frames).into_response();
    let content_type = HeaderValue::from_static(framing.content_type(version));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

/// `seconds[.nanoseconds]` since the epoch.
pub(in crate::http) fn unix_time(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanoseconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_times() {
        assert_eq!(unix_time("12.5").unwrap().as_nanosecond(), 12_500_000_000);
        assert_eq!(unix_time("12").unwrap().as_second(), 12);
        assert_eq!(unix_time("12.000000001").unwrap().as_nanosecond(), 12_000_000_001);
        assert!(unix_time("12.x").is_none() && unix_time("10m").is_none() && unix_time("").is_none());
    }
}
