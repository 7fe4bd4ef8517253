//! What clients want from registries without an image: logging in, searching, looking at a manifest.

use super::{
    error::{ApiError, Result},
    filters::Filters,
    not_served::not_served,
    query::Query,
    state::AppState,
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Request, State},
    http::HeaderMap,
    routing::{get, post},
};
use engine::{image::Reference, registry::Credentials};
use serde_json::{Value, json};

const SEARCH_FILTERS: [&str; 3] = ["is-automated", "is-official", "stars"];

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/auth", post(login))
        .route("/images/search", get(search))
        .route("/distribution/{*name}", get(distribution))
}

/// What a client sends along to authenticate with.
pub(super) fn credentials(headers: &HeaderMap) -> Credentials {
    let header = headers.get("x-registry-auth").and_then(|value| value.to_str().ok());
    header.map(Credentials::from_header).unwrap_or_default()
}

async fn login(State(state): State<AppState>, body: Bytes) -> Result<Json<Value>> {
    let credentials =
        Credentials::parse(&body).ok_or_else(|| ApiError::bad_request("invalid JSON: not an AuthConfig"))?;
    let login = state.engine.registries.login(&credentials).await?;
    Ok(Json(json!({ "IdentityToken": login.identity_token, "Status": "Login Succeeded" })))
}

async fn search(State(state): State<AppState>, query: Query, headers: HeaderMap) -> Result<Json<Vec<Value>>> {
    let filters = Filters::from_query(&query, &SEARCH_FILTERS)?;
    let stars: Vec<u64> = filters
        .values("stars")
        .iter()
        .map(|stars| stars.parse())
        .collect::<Result<_, _>>()
        .map_err(|_| ApiError::bad_request("invalid filter 'stars'"))?;
    let (official, automated) = (filters.flag("is-official")?, filters.flag("is-automated")?);
    let limit = query.number("limit")?;
    let registries = &state.engine.registries;
    let found = registries.search(query.text("term"), limit, &credentials(&headers)).await?;
    let wanted = found.into_iter().filter(|result| {
        official.is_none_or(|official| official == result.is_official)
            && automated.is_none_or(|automated| automated == result.is_automated)
            && stars.iter().all(|stars| result.star_count >= *stars)
    });
    let wire = wanted.map(|result| {
        json!({
            "name": result.name,
            "description": result.description,
            "star_count": result.star_count,
            "is_official": result.is_official,
            "is_automated": result.is_automated,
        })
    });
    Ok(Json(wire.collect()))
}

async fn distribution(
    State(state): State<AppState>,
    Path(path): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Result<Json<Value>> {
    let Some(name) = path.strip_suffix("/json") else { return Err(not_served(request).await) };
    let reference: Reference = name
        .parse()
        .map_err(|e: engine::image::reference::ReferenceError| ApiError::bad_request(e.to_string()))?;
    let found = state.engine.registries.inspect(&reference, &credentials(&headers)).await?;
    let platforms = found.platforms.iter().map(|platform| {
        let mut object = json!({ "architecture": platform.architecture, "os": platform.os });
        if !platform.variant.is_empty() {
            object["variant"] = json!(platform.variant);
        }
        object
    });
    Ok(Json(json!({
        "Descriptor": { "mediaType": found.media_type, "digest": found.digest, "size": found.size },
        "Platforms": platforms.collect::<Vec<_>>(),
    })))
}
