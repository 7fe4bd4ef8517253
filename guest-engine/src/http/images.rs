//! Routes of /images. Names contain slashes, so the verb behind a name is found from the end.

mod import;
mod load;
mod progress;
mod pull;
mod push;
mod save;
mod wire;

pub(super) use wire::usage;

use super::{
    error::{ApiError, Result},
    filters::Filters,
    not_served::not_served,
    query::Query,
    state::AppState,
    timestamp,
    version::ApiVersion,
};
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use engine::image::{ImageFilters, Parents};
use serde_json::{Value, json};

const LIST_FILTERS: [&str; 6] = ["dangling", "label", "before", "since", "reference", "until"];
const PRUNE_FILTERS: [&str; 4] = ["dangling", "label", "label!", "until"];

pub(super) use progress::wire as progress_line;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/images/json", get(list))
        .route("/images/create", post(create))
        .route("/images/load", post(load::load))
        .route("/images/prune", post(prune))
        .route("/images/get", get(save::save_many))
        .route("/images/{*name}", delete(remove).get(get_by_suffix).post(post_by_suffix))
}

async fn list(State(state): State<AppState>, version: ApiVersion, query: Query) -> Result<Json<Vec<Value>>> {
    let filters = Filters::from_query(&query, &LIST_FILTERS)?;
    let filters = ImageFilters {
        all: query.flag("all"),
        dangling: filters.flag("dangling")?,
        labels: filters.values("label").to_vec(),
        not_labels: Vec::new(),
        before: filters.single("before")?.map(str::to_owned),
        since: filters.single("since")?.map(str::to_owned),
        until: until(&filters)?,
        references: filters.values("reference").to_vec(),
    };
    filters.validate()?;
    let images = state.engine.images.list(&filters).await?;
    Ok(Json(images.iter().map(|image| wire::summary(image, version)).collect()))
}

async fn prune(State(state): State<AppState>, query: Query) -> Result<Json<Value>> {
    let filters = Filters::from_query(&query, &PRUNE_FILTERS)?;
    // Docker's reading of it: only those without a name unless told `dangling=false`.
    let all = filters.flag("dangling")? == Some(false);
    let wanted = ImageFilters {
        labels: filters.values("label").to_vec(),
        not_labels: filters.values("label!").to_vec(),
        until: until(&filters)?,
        ..ImageFilters::default()
    };
    let (removed, reclaimed) = state.engine.images.prune(all, &wanted).await?;
    let deleted: Vec<Value> = removed.iter().map(wire::removed).collect();
    Ok(Json(json!({ "ImagesDeleted": deleted, "SpaceReclaimed": reclaimed })))
}

/// Two commands in one: `docker pull` and `docker import`.
async fn create(
    State(state): State<AppState>,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    if query.text("fromImage").is_empty() {
        return import::import(&state, &query, body);
    }
    pull::pull(state, &query, &headers).await
}

async fn remove(
    State(state): State<AppState>,
    Path(name): Path<String>,
    query: Query,
) -> Result<Json<Vec<Value>>> {
    let parents = if query.flag("noprune") { Parents::Stay } else { Parents::Go };
    let removed = state.engine.images.remove(&name, query.flag("force"), parents).await?;
    Ok(Json(removed.iter().map(wire::removed).collect()))
}

async fn get_by_suffix(
    State(state): State<AppState>,
    version: ApiVersion,
    Path(path): Path<String>,
    request: Request,
) -> Result<Response> {
    match path.rsplit_once('/') {
        Some((name, "json")) => {
            let image = state.engine.images.get(name).await?;
            Ok(Json(wire::inspect(&image, version)).into_response())
        }
        Some((name, "get")) => save::save(state, &[name.to_owned()]).await,
        Some((name, "history")) => {
            let history = state.engine.images.history(name).await?;
            Ok(Json(history.iter().map(wire::history).collect::<Vec<_>>()).into_response())
        }
        _ => Err(not_served(request).await),
    }
}

async fn post_by_suffix(
    State(state): State<AppState>,
    Path(path): Path<String>,
    query: Query,
    request: Request,
) -> Result<Response> {
    match path.rsplit_once('/') {
        Some((name, "tag")) => {
            state.engine.images.tag(name, query.text("repo"), query.text("tag")).await?;
            Ok(StatusCode::CREATED.into_response())
        }
        Some((name, "push")) => push::push(state, name, &query, request.headers()).await,
        _ => Err(not_served(request).await),
    }
}

fn until(filters: &Filters) -> Result<Option<i64>> {
    let text = filters.single("until")?.unwrap_or_default();
    let moment = timestamp::parse(text).map_err(|e| ApiError::bad_request(e.to_string()))?;
    Ok(moment.map(jiff::Timestamp::as_second))
}
