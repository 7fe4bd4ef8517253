//! `GET /system/df`: what images, containers, volumes and the build cache take on disk.

use crate::http::{
    containers::summary, error::Result, images, query::Query, state::AppState, version::ApiVersion, volumes,
};
use axum::{Json, extract::State};
use engine::{build::buildkit::Usage, container::ListFilter, image::ImageFilters};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

const KINDS: [&str; 4] = ["build-cache", "container", "image", "volume"];

/// Everything, or what the repeated `type` names.
pub(super) async fn disk_usage(
    State(app): State<AppState>,
    version: ApiVersion,
    query: Query,
) -> Result<Json<Value>> {
    let asked: Vec<&str> = query.all("type").collect();
    if let Some(unknown) = asked.iter().find(|kind| !KINDS.contains(*kind)) {
        return Err(crate::http::error::ApiError::bad_request(format!("unknown object type: {unknown}")));
    }
    let wanted = |kind: &str| asked.is_empty() || asked.contains(&kind);
    let mut usage = Map::from_iter([("LayersSize".to_owned(), json!(0))]);
    usage
        .extend(["Images", "Containers", "Volumes", "BuildCache"].map(|kind| (kind.to_owned(), Value::Null)));
    if wanted("image") {
        let images = app.engine.images.list(&ImageFilters::default()).await?;
        usage.insert("LayersSize".to_owned(), json!(app.engine.images.disk_usage().await?));
        let shared = app.engine.images.shared_sizes(images.iter().map(|image| image.id.as_str()));
        let size = |id: &String| shared.get(id).copied().unwrap_or(0);
        let images = images.iter().map(|image| images::usage(image, size(&image.id), version));
        usage.insert("Images".to_owned(), images.collect());
    }
    if wanted("container") {
        usage.insert("Containers".to_owned(), containers(&app).await?);
    }
    if wanted("volume") {
        usage.insert("Volumes".to_owned(), volumes(&app).await);
    }
    if wanted("build-cache") {
        // The classic builder's cache is images.
        let cache = app.engine.builder.usage(&[]).await?;
        usage.insert("BuilderSize".to_owned(), json!(cache.iter().map(|entry| entry.size).sum::<u64>()));
        usage.insert("BuildCache".to_owned(), cache.iter().map(cache_entry).collect());
    }
    Ok(Json(Value::Object(usage)))
}

fn cache_entry(usage: &Usage) -> Value {
    let mut entry = json!({
        "ID": usage.id,
        "Type": usage.kind.name(),
        "Description": usage.description,
        "InUse": usage.in_use,
        "Shared": usage.shared,
        "Size": usage.size,
        "CreatedAt": usage.created.to_string(),
        "LastUsedAt": Timestamp::from_second(usage.used_at).unwrap_or_default().to_string(),
        "UsageCount": usage.uses,
    });
    if let Some(parent) = &usage.parent {
        entry["Parents"] = json!([parent]);
    }
    entry
}

async fn containers(app: &AppState) -> Result<Value> {
    let mut all = Vec::new();
    for listed in app.engine.containers.list(&ListFilter { all: true, ..ListFilter::default() }).await? {
        let mut shown = summary(app, &listed);
        // One that is being removed right now uses nothing worth telling.
        let own = app.engine.containers.size(&listed.snapshot.record.id).await.unwrap_or(0);
        let image = app.engine.images.get(&listed.snapshot.record.image_id).await;
        shown["SizeRw"] = json!(own);
        shown["SizeRootFs"] = json!(own + image.map_or(0, |image| image.size));
        all.push(shown);
    }
    Ok(Value::Array(all))
}

/// Those with options are not on this disk.
async fn volumes(app: &AppState) -> Value {
    let mut all = Vec::new();
    for (volume, users) in app.engine.volumes.all() {
        if volume.is_plain() {
            all.push(volumes::usage(app, &volume, users).await);
        }
    }
    Value::Array(all)
}
