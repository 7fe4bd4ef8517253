//! GET /containers/json.

use super::{
    inspect::{network_id, sizes, volume_path},
    network_wire, wire,
};
use crate::http::{error::Result, filters::Filters, query::Query, state::AppState};
use axum::{Json, extract::State};
use engine::container::{ListFilter, Listed};
use serde_json::{Value, json};

/// Every filter that `docker ps` has.
const FILTERS: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

pub(super) async fn list(State(app): State<AppState>, query: Query) -> Result<Json<Vec<Value>>> {
    let filters = Filters::from_query(&query, &FILTERS)?;
    let limit = query.number::<i64>("limit")?.and_then(|limit| usize::try_from(limit).ok());
    let filter = ListFilter {
        all: query.flag("all"),
        limit: limit.filter(|limit| *limit > 0),
        filters: FILTERS
            .iter()
            .filter(|key| !filters.values(key).is_empty())
            .map(|key| ((*key).to_owned(), filters.values(key).to_vec()))
            .collect(),
    };
    let with_size = query.flag("size");
    let mut answer = Vec::new();
    for listed in app.engine.containers.list(&filter).await? {
        let mut summary = to_json(&app, &listed);
        // One that was removed since is listed without.
        if with_size && let Ok((own, root)) = sizes(&app, &listed.snapshot).await {
            summary["SizeRw"] = json!(own);
            summary["SizeRootFs"] = json!(root);
        }
        answer.push(summary);
    }
    Ok(Json(answer))
}

pub(in crate::http) fn to_json(app: &AppState, listed: &Listed) -> Value {
    let record = &listed.snapshot.record;
    json!({
        "Id": record.id,
        "Names": [format!("/{}", record.name)],
        "Image": record.image(),
        "ImageID": record.image_id,
        "Command": command_text(&record.command()),
        "Created": wire::unix(record.created),
        "Ports": network_wire::port_list(record),
        "Labels": record.config.labels.clone().unwrap_or_default(),
        "State": record.state.status.as_str(),
        "Status": listed.status,
        "HostConfig": { "NetworkMode": record.host.network_mode.as_deref().unwrap_or("bridge") },
        "NetworkSettings": { "Networks": network_wire::networks(record, |name| network_id(app, name)) },
        // dockerd gives the path only where there is no name.
        "Mounts": wire::mounts(record, |name| volume_path(app, name)),
    })
}

/// Arguments with spaces in quotes, as `docker ps` shows them.
fn command_text(command: &[String]) -> String {
    let quoted = |(index, word): (usize, &String)| {
        if index > 0 && word.contains(' ') { format!("'{word}'") } else { word.clone() }
    };
    command.iter().enumerate().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_quoted_like_dockers() {
        let words = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(command_text(&words(&["sh", "-c", "echo hi"])), "sh -c 'echo hi'");
        assert_eq!(command_text(&words(&["true"])), "true");
    }
}
