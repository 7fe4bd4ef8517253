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
use futures_util::FutureExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use std::panic::AssertUnwindSafe;

/// Answers one request.
pub(super) async fn handle(router: Router, request: Request) -> Response {
    let mut request = request.map(drained);
    let mut response = match version::strip_prefix(request.uri_mut()) {
        Err(error) => error.into_response(),
        Ok(_) if !head_is_known(&request) => ApiError::page_not_found().into_response(),
        Ok(version) => {
            request.extensions_mut().insert(version);
            let route = format!("{} {}", request.method(), request.uri().path());
            match AssertUnwindSafe(TowerToHyperService::new(router).call(request)).catch_unwind().await {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(panic) => {
                    tracing::error!(%route, panic = panic_text(panic.as_ref()), "Handler panicked");
                    ApiError::new(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        format!("{route} failed inside the engine"),
                    )
                    .into_response()
                }
            }
        }
    };
    add_headers(response.headers_mut());
    response
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

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown")
}
