//! `POST /images/create?fromImage=…`.

use super::progress;
use crate::http::{
    error::{ApiError, Result},
    query::Query,
    registry::credentials,
    state::AppState,
};
use axum::{http::HeaderMap, response::Response};
use engine::image::{PullRequest, Reference, reference::ReferenceError};

pub(super) async fn pull(state: AppState, query: &Query, headers: &HeaderMap) -> Result<Response> {
    let platform = match query.text("platform") {
        "" => None,
        text => Some(text.parse()?),
    };
    let request = PullRequest {
        reference: reference(query.text("fromImage"), query.text("tag"))?,
        platform,
        credentials: credentials(headers),
    };
    let (sender, lines) = engine::image::progress();
    let engine = state.engine;
    let work = async move { engine.images.pull(&engine.registries, &request, &sender).await };
    progress::answer(work, lines).await
}

/// The tag may stand in the name, apart from it, or be a digest. Without any everything is meant.
fn reference(name: &str, tag: &str) -> Result<Reference> {
    let invalid = |error: ReferenceError| ApiError::bad_request(error.to_string());
    // How old clients ask for all tags.
    let reference: Reference = name.trim_end_matches(':').parse().map_err(invalid)?;
    match tag {
        "" => Ok(reference),
        digest if digest.contains(':') => {
            format!("{}@{digest}", reference.repository()).parse().map_err(invalid)
        }
        tag => reference.with_tag(tag).map_err(invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags_come_in_many_ways() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (name, tag, expected) in [
            ("busybox", "latest", "busybox:latest".to_owned()),
            ("busybox:1", "", "busybox:1".to_owned()),
            ("localhost:5000/a", &digest, format!("localhost:5000/a@{digest}")),
            ("busybox", "", "busybox".to_owned()),
            ("busybox:", "", "busybox".to_owned()),
        ] {
            assert_eq!(reference(name, tag).unwrap().familiar(), expected);
        }
        assert!(reference("Busybox", "latest").is_err());
        assert!(reference("busybox", "sha256:1").is_err());
    }
}
