//! What Docker has and this engine has not, or not yet: a clear answer instead of "page not found".

use super::error::ApiError;
use axum::{
    extract::Request,
    http::{Method, StatusCode},
};

/// Docker's routes by path; `*` is one segment, `**` one or more. Methods decide between "not
/// supported" and dockerd's own "page not found".
const DOCKER: &[(&str, &[&str])] = &[
    ("/_ping", &["GET", "HEAD"]),
    ("/auth", &["POST"]),
    ("/build", &["POST"]),
    ("/build/cancel", &["POST"]),
    ("/build/prune", &["POST"]),
    ("/commit", &["POST"]),
    ("/containers/create", &["POST"]),
    ("/containers/json", &["GET"]),
    ("/containers/prune", &["POST"]),
    ("/containers/*", &["DELETE"]),
    ("/containers/*/archive", &["GET", "HEAD", "PUT"]),
    ("/containers/*/attach", &["POST"]),
    ("/containers/*/attach/ws", &["GET"]),
    ("/containers/*/changes", &["GET"]),
    ("/containers/*/checkpoints", &["GET", "POST"]),
    ("/containers/*/checkpoints/*", &["DELETE"]),
    ("/containers/*/exec", &["POST"]),
    ("/containers/*/export", &["GET"]),
    ("/containers/*/json", &["GET"]),
    ("/containers/*/kill", &["POST"]),
    ("/containers/*/logs", &["GET"]),
    ("/containers/*/pause", &["POST"]),
    ("/containers/*/rename", &["POST"]),
    ("/containers/*/resize", &["POST"]),
    ("/containers/*/restart", &["POST"]),
    ("/containers/*/start", &["POST"]),
    ("/containers/*/stats", &["GET"]),
    ("/containers/*/stop", &["POST"]),
    ("/containers/*/top", &["GET"]),
    ("/containers/*/unpause", &["POST"]),
    ("/containers/*/update", &["POST"]),
    ("/containers/*/wait", &["POST"]),
    ("/distribution/**/json", &["GET"]),
    ("/events", &["GET"]),
    ("/exec/*/json", &["GET"]),
    ("/exec/*/resize", &["POST"]),
    ("/exec/*/start", &["POST"]),
    ("/grpc", &["POST"]),
    ("/images/create", &["POST"]),
    ("/images/get", &["GET"]),
    ("/images/json", &["GET"]),
    ("/images/load", &["POST"]),
    ("/images/prune", &["POST"]),
    ("/images/search", &["GET"]),
    ("/images/**", &["DELETE"]),
    ("/images/**/get", &["GET"]),
    ("/images/**/history", &["GET"]),
    ("/images/**/json", &["GET"]),
    ("/images/**/push", &["POST"]),
    ("/images/**/tag", &["POST"]),
    ("/info", &["GET"]),
    ("/networks", &["GET"]),
    ("/networks/create", &["POST"]),
    ("/networks/prune", &["POST"]),
    ("/networks/*", &["GET", "DELETE"]),
    ("/networks/*/connect", &["POST"]),
    ("/networks/*/disconnect", &["POST"]),
    ("/plugins", &["GET"]),
    ("/plugins/create", &["POST"]),
    ("/plugins/privileges", &["GET"]),
    ("/plugins/pull", &["POST"]),
    ("/plugins/**", &["DELETE"]),
    ("/plugins/**/disable", &["POST"]),
    ("/plugins/**/enable", &["POST"]),
    ("/plugins/**/json", &["GET"]),
    ("/plugins/**/push", &["POST"]),
    ("/plugins/**/set", &["POST"]),
    ("/plugins/**/upgrade", &["POST"]),
    ("/session", &["POST"]),
    ("/system/df", &["GET"]),
    ("/version", &["GET"]),
    ("/volumes", &["GET"]),
    ("/volumes/create", &["POST"]),
    ("/volumes/prune", &["POST"]),
    ("/volumes/*", &["GET", "PUT", "DELETE"]),
];

/// First segments of the paths that only a swarm manager serves.
const SWARM: &[&str] = &["swarm", "nodes", "services", "tasks", "secrets", "configs"];

/// dockerd's sentence, word for word: the CLI and compose know it.
const NO_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" \
                        to connect this node to swarm and try again.";

/// The router's fallback, for unknown paths and wrong methods alike.
pub(super) async fn not_served(request: Request) -> ApiError {
    answer(request.method(), request.uri().path())
}

fn answer(method: &Method, path: &str) -> ApiError {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    if SWARM.contains(&first) {
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, NO_SWARM);
    }
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let known = DOCKER.iter().any(|(pattern, methods)| {
        methods.contains(&method.as_str())
            && matches(&pattern.split('/').skip(1).collect::<Vec<_>>(), &segments)
    });
    if known {
        ApiError::not_implemented(format!("{method} {path} is not supported by this engine yet"))
    } else {
        ApiError::page_not_found()
    }
}

fn matches(pattern: &[&str], segments: &[&str]) -> bool {
    match (pattern, segments) {
        ([], []) => true,
        (["**", rest @ ..], [_, tail @ ..]) => matches(rest, tail) || matches(pattern, tail),
        (["*", rest @ ..], [segment, tail @ ..]) => !segment.is_empty() && matches(rest, tail),
        ([word, rest @ ..], [segment, tail @ ..]) => word == segment && matches(rest, tail),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(method: &Method, path: &str) -> String {
        answer(method, path).message().to_owned()
    }

    #[test]
    fn missing_features_are_named_and_nonsense_is_not() {
        assert_eq!(
            message(&Method::GET, "/images/search"),
            "GET /images/search is not supported by this engine yet"
        );
        assert_eq!(
            message(&Method::POST, "/images/localhost:5000/a/b/push"),
            "POST /images/localhost:5000/a/b/push is not supported by this engine yet"
        );
        for (method, path) in [
            (&Method::GET, "/nonsense"),
            (&Method::PUT, "/build"),
            (&Method::GET, "/"),
            (&Method::GET, "/containers//json"),
            (&Method::POST, "/containers/x/y/z/start"),
        ] {
            assert_eq!(message(method, path), "page not found", "{path}");
        }
        assert_eq!(message(&Method::GET, "/nodes/x"), NO_SWARM);
        assert_eq!(message(&Method::POST, "/swarm/init"), NO_SWARM);
    }
}
