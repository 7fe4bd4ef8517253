//! GET /containers/{id}/json.

use super::{network_wire, wire};
use crate::http::{error::Result, query::Query, state::AppState};
use axum::{
    Json,
    extract::{Path, State},
};
use engine::container::Snapshot;
use serde_json::{Value, json};

pub(super) async fn inspect(
    State(app): State<AppState>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Json<Value>> {
    let snapshot = app.engine.containers.inspect(&id)?;
    let mut answer = to_json(&app, &snapshot);
    if query.flag("size") {
        let (own, root) = sizes(&app, &snapshot).await?;
        answer["SizeRw"] = json!(own);
        answer["SizeRootFs"] = json!(root);
    }
    Ok(Json(answer))
}

/// Where a volume's data is; empty when somebody has removed it behind our back.
pub(super) fn volume_path(app: &AppState, name: &str) -> String {
    app.engine
        .volumes
        .get(name)
        .map_or_else(|_| String::new(), |volume| volume.mountpoint.display().to_string())
}

/// Bytes in the writable layer, and in the whole root filesystem.
pub(super) async fn sizes(app: &AppState, snapshot: &Snapshot) -> Result<(u64, u64)> {
    let own = app.engine.containers.size(&snapshot.record.id).await?;
    // The image may have been removed by force.
    let image = app.engine.images.get(&snapshot.record.image_id).await.map_or(0, |image| image.size);
    Ok((own, own + image))
}

/// Empty when it has been removed.
pub(super) fn network_id(app: &AppState, name: &str) -> String {
    app.engine.networks.find(name).map_or_else(|_| String::new(), |found| found.definition.id.clone())
}

fn to_json(app: &AppState, snapshot: &Snapshot) -> Value {
    let record = &snapshot.record;
    let mut command = record.command();
    let args = command.split_off(command.len().min(1));
    // dockerd knows these files from the first start on.
    let file = |name: &str| match record.state.started_at {
        Some(_) => snapshot.folder.join(name).display().to_string(),
        None => String::new(),
    };

    let execs = (!snapshot.exec_ids.is_empty()).then_some(&snapshot.exec_ids);
    json!({
        "Id": record.id,
        "Created": wire::time(Some(record.created)),
        "Path": command.first().cloned().unwrap_or_default(),
        "Args": args,
        "State": wire::state(record),
        "Image": record.image_id,
        "ResolvConfPath": file("resolv.conf"),
        "HostnamePath": file("hostname"),
        "HostsPath": file("hosts"),
        "LogPath": record.state.started_at.map(|_| snapshot.log_path()).unwrap_or_default(),
        "Name": format!("/{}", record.name),
        "RestartCount": record.restarts,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": execs,
        "HostConfig": wire::host_config(record),
        "GraphDriver": { "Name": "overlay2", "Data": app.engine.containers.folders(record) },
        "Mounts": wire::mounts(record, |name| volume_path(app, name)),
        "Config": wire::config(record),
        "NetworkSettings": network_wire::network_settings(record, |name| network_id(app, name)),
    })
}
