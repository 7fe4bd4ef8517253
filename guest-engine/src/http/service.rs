//! What happens to every request before and after its handler: the version prefix comes off, panics
//! become 500, and each answer carries dockerd's headers.

use super::{
    drain::drained,
    error::ApiError,
    version::{self, NEWEST},
};
use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode},
    response::{IntoResponse, Response},
};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

/// Answers one request.
pub(super) async fn handle(router: Router, request: Request) -> Response {
    let mut request = request.map(drained);
    let mut response = match version::strip_prefix(request.uri_mut()) {
        Err(error) => error.into_response(),
        Ok(_) if !head_is_known(&request) => ApiError::page_not_found().into_response(),
        Ok(version) => {
            request.extensions_mut().insert(version);
            let route = format!("{} {}", request.method(), request.uri().path());
            answer(router, request).await.unwrap_or_else(|panic| {
                tracing::error!(%route, %panic, "Handler panicked");
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{route} failed inside the engine"))
                    .into_response()
            })
        }
    };
    add_headers(response.headers_mut());
    response
}

/// What changes anything goes on to its end when the client goes away: half of a removal helps nobody.
async fn answer(router: Router, request: Request) -> Result<Response, JoinError> {
    let only_watches =
        matches!(*request.method(), Method::GET | Method::HEAD) || request.uri().path().ends_with("/wait");
    let task = tokio::spawn(TowerToHyperService::new(router).call(request));
    let answered = if only_watches { AbortOnDropHandle::new(task).await } else { task.await };
    answered.map(|response| match response {
        Ok(response) => response,
        Err(never) => match never {},
    })
}

/// axum answers HEAD wherever it answers GET; dockerd only here.
fn head_is_known(request: &Request) -> bool {
    let path = request.uri().path();
    request.method() != Method::HEAD || path == "/_ping" || path.ends_with("/archive")
}

fn add_headers(headers: &mut HeaderMap) {
    let version = HeaderValue::from_str(&NEWEST.to_string()).unwrap_or(HeaderValue::from_static(""));
    headers.insert(HeaderName::from_static("api-version"), version);
    headers.insert(HeaderName::from_static("docker-experimental"), HeaderValue::from_static("false"));
    headers.insert(HeaderName::from_static("ostype"), HeaderValue::from_static("linux"));
    headers.insert(
        HeaderName::from_static("server"),
        HeaderValue::from_static(concat!("Docker/", env!("CARGO_PKG_VERSION"), " (linux)")),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, routing::get};
    use std::time::Duration;
    use tokio::{
        sync::mpsc,
        time::{sleep, timeout},
    };

    #[tokio::test]
    async fn changes_go_on_without_their_client_and_watching_ends_with_it() {
        let (sender, mut ended) = mpsc::unbounded_channel();
        let slow = async move |method: Method| {
            sleep(Duration::from_millis(50)).await;
            sender.send(method).ok();
        };
        let router = Router::new().route("/slow", get(slow.clone()).post(slow));
        for (method, path) in [(Method::GET, "/slow"), (Method::POST, "/slow")] {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            let left = timeout(Duration::from_millis(5), handle(router.clone(), request)).await;
            assert!(left.is_err(), "the client went away first");
        }
        let first = timeout(Duration::from_secs(10), ended.recv()).await.unwrap();
        assert_eq!((first, ended.try_recv().ok()), (Some(Method::POST), None));
    }

    #[tokio::test]
    async fn a_panic_is_the_engines_failure() {
        let router = Router::new().route("/bad", get(async || -> () { panic!("no") }));
        let request = Request::builder().uri("/bad").body(Body::empty()).unwrap();
        assert_eq!(handle(router, request).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
