//! Answers that are a stream of JSON objects, each sent as soon as it exists.

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde::Serialize;
use std::convert::Infallible;

/// A 200 whose headers leave at once and whose body is `objects`, one a line. Dropped, and with it
/// whatever feeds it, when the client goes away.
pub fn json_lines<T: Serialize>(objects: impl Stream<Item = T> + Send + 'static) -> Response {
    let lines = objects.map(|object| Ok::<Bytes, Infallible>(line(&object)));
    let mut response = Body::from_stream(lines).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The in-band failure line of a stream whose 200 has already left.
pub fn error_line(message: &str) -> serde_json::Value {
    serde_json::json!({ "errorDetail": { "message": message }, "error": message })
}

fn line<T: Serialize>(object: &T) -> Bytes {
    // Our own structures and maps with string keys: encoding cannot fail; an empty line is harmless.
    let mut line = serde_json::to_vec(object).unwrap_or_default();
    line.extend_from_slice(b"\r\n");
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_object_a_line() {
        let objects = futures_util::stream::iter([serde_json::json!({"stream": "a\n"}), error_line("b")]);
        let body = axum::body::to_bytes(json_lines(objects).into_body(), 1024).await.unwrap();
        assert_eq!(
            body,
            "{\"stream\":\"a\\n\"}\r\n{\"error\":\"b\",\"errorDetail\":{\"message\":\"b\"}}\r\n"
        );
    }
}
