//! Routes of /volumes.

use super::{
    containers::time,
    error::{ApiError, Result},
    filters::Filters,
    json_body::JsonBody,
    query::Query,
    state::AppState,
    version::ApiVersion,
};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use engine::{
    name::NamePatterns,
    volume::{LOCAL, Volume, VolumeRequest},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/volumes", get(list))
        .route("/volumes/create", post(create))
        .route("/volumes/prune", post(prune))
        .route("/volumes/{name}", get(inspect).delete(remove).put(update))
}

async fn list(State(app): State<AppState>, query: Query) -> Result<Json<Value>> {
    let filters = Filters::from_query(&query, &["dangling", "driver", "label", "name"])?;
    let dangling = filters.flag("dangling")?;
    let names = NamePatterns::new(filters.values("name"));
    let drivers = filters.values("driver");
    let wanted = |(volume, users): &(Volume, usize)| {
        dangling.is_none_or(|dangling| dangling == (*users == 0))
            && (drivers.is_empty() || drivers.iter().any(|driver| driver == LOCAL))
            && names.accept(&volume.name)
            && filters.values("label").iter().all(|label| volume.has_label(label))
    };
    let volumes: Vec<Value> = app
        .engine
        .volumes
        .all()
        .iter()
        .filter(|found| wanted(found))
        .map(|(volume, _)| to_json(volume))
        .collect();
    Ok(Json(json!({ "Volumes": volumes, "Warnings": null })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct CreateBody {
    name: Option<String>,
    driver: Option<String>,
    driver_opts: Option<HashMap<String, String>>,
    labels: Option<HashMap<String, String>>,
    cluster_volume_spec: Option<Value>,
}

async fn create(
    State(app): State<AppState>,
    JsonBody(body): JsonBody<CreateBody>,
) -> Result<(StatusCode, Json<Value>)> {
    if body.cluster_volume_spec.is_some() {
        return Err(ApiError::not_implemented("Cluster volumes are not supported by this engine"));
    }
    let request = VolumeRequest {
        name: body.name.unwrap_or_default(),
        driver: body.driver.unwrap_or_default(),
        labels: body.labels,
        options: body.driver_opts,
    };
    let volume = app.engine.volumes.create(request).await?;
    Ok((StatusCode::CREATED, Json(to_json(&volume))))
}

async fn inspect(State(app): State<AppState>, Path(name): Path<String>) -> Result<Json<Value>> {
    Ok(Json(to_json(&app.engine.volumes.get(&name)?)))
}

async fn remove(State(app): State<AppState>, Path(name): Path<String>, query: Query) -> Result<StatusCode> {
    app.engine.volumes.remove(&name, query.flag("force")).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Only cluster volumes can be changed.
async fn update() -> ApiError {
    ApiError::not_implemented("Cluster volumes are not supported by this engine")
}

async fn prune(State(app): State<AppState>, version: ApiVersion, query: Query) -> Result<Json<Value>> {
    let filters = Filters::from_query(&query, &["all", "label", "label!"])?;
    // Since 1.42 a prune without `all` spares volumes that somebody gave a name.
    let all = filters.flag("all")?.unwrap_or(!version.at_least(42));
    let pruned = app
        .engine
        .volumes
        .prune(|volume| {
            (all || volume.is_anonymous())
                && filters.values("label").iter().all(|label| volume.has_label(label))
                && !filters.values("label!").iter().any(|label| volume.has_label(label))
        })
        .await?;
    Ok(Json(json!({ "VolumesDeleted": pruned.names, "SpaceReclaimed": pruned.reclaimed })))
}

/// A volume as dockerd writes it.
fn to_json(volume: &Volume) -> Value {
    json!({
        "CreatedAt": time(Some(seconds(volume.created))),
        "Driver": LOCAL,
        "Labels": volume.labels,
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Options": volume.options,
        "Scope": "local",
    })
}

/// Without the fraction that dockerd does not tell either.
fn seconds(moment: std::time::SystemTime) -> std::time::SystemTime {
    let whole = moment.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    std::time::UNIX_EPOCH + std::time::Duration::from_secs(whole)
}

/// For `/system/df`: with its size and how many containers use it.
pub(super) async fn usage(app: &AppState, volume: &Volume, users: usize) -> Value {
    // One that is being removed right now uses nothing worth telling.
    let size = app.engine.volumes.size(&volume.name).await.unwrap_or(0);
    let mut object = to_json(volume);
    object["UsageData"] = json!({ "RefCount": users, "Size": size });
    object
}
