//! From create to remove: what changes a container.

use crate::http::{
    error::{ApiError, Result},
    filters::Filters,
    json_body::{self, JsonBody},
    query::Query,
    state::AppState,
    version::ApiVersion,
};
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
};
use bollard_stubs::models::{ContainerConfig, ContainerCreateBody, ContainerUpdateBody, HostConfig};
use engine::{container::CreateRequest, ports::TerminalSize};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// Bodies up to this many bytes mean nothing to start: `{}` and the like, which old clients send.
const LONGEST_EMPTY_BODY: u64 = 7;

const MAC_DEPRECATED: &str = "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.";

/// What newer definitions of the API leave out of a container's configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OldConfig {
    mac_address: Option<String>,
}

pub(super) async fn create(
    State(app): State<AppState>,
    query: Query,
    version: ApiVersion,
    JsonBody(body): JsonBody<Value>,
) -> Result<(StatusCode, Json<Value>)> {
    let OldConfig { mac_address } = json_body::of_value(body.clone())?;
    let body: ContainerCreateBody = json_body::of_value(body)?;
    let endpoints = body.networking_config.and_then(|n| n.endpoints_config).unwrap_or_default();
    if endpoints.len() > 1 && !version.at_least(44) {
        let mut names: Vec<&str> = endpoints.keys().map(String::as_str).collect();
        names.sort_unstable();
        return Err(ApiError::bad_request(format!(
            "Container cannot be created with multiple network endpoints: {}",
            names.join(", ")
        )));
    }
    let deprecated = version.at_least(44) && mac_address.as_ref().is_some_and(|mac| !mac.is_empty());
    let request = CreateRequest {
        name: query.get("name").map(str::to_owned),
        platform: query.get("platform").map(str::to_owned),
        endpoints,
        host: body.host_config.unwrap_or_default(),
        config: ContainerConfig {
            hostname: body.hostname,
            domainname: body.domainname,
            user: body.user,
            attach_stdin: body.attach_stdin,
            attach_stdout: body.attach_stdout,
            attach_stderr: body.attach_stderr,
            exposed_ports: body.exposed_ports,
            tty: body.tty,
            open_stdin: body.open_stdin,
            stdin_once: body.stdin_once,
            env: body.env,
            cmd: body.cmd,
            healthcheck: body.healthcheck,
            args_escaped: body.args_escaped,
            image: body.image,
            volumes: body.volumes,
            working_dir: body.working_dir,
            entrypoint: body.entrypoint,
            network_disabled: body.network_disabled,
            on_build: body.on_build,
            labels: body.labels,
            stop_signal: body.stop_signal,
            stop_timeout: body.stop_timeout,
            shell: body.shell,
        },
        mac_address,
    };
    let mut created = app.engine.containers.create(request).await?;
    if deprecated {
        created.warnings.push(MAC_DEPRECATED.to_owned());
    }
    Ok((StatusCode::CREATED, Json(json!({ "Id": created.id, "Warnings": created.warnings }))))
}

pub(super) async fn start(
    State(app): State<AppState>,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<StatusCode> {
    if !query.text("checkpoint").is_empty() {
        return Err(ApiError::not_implemented("Checkpoints are not supported by this engine"));
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|l| l.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > LONGEST_EMPTY_BODY) {
        return Err(ApiError::bad_request(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    app.engine.containers.start(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn stop(
    State(app): State<AppState>,
    Path(id): Path<String>,
    query: Query,
) -> Result<StatusCode> {
    app.engine.containers.stop(&id, query.get("signal"), query.number("t")?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn restart(
    State(app): State<AppState>,
    Path(id): Path<String>,
    query: Query,
) -> Result<StatusCode> {
    app.engine.containers.restart(&id, query.get("signal"), query.number("t")?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn kill(
    State(app): State<AppState>,
    Path(id): Path<String>,
    query: Query,
) -> Result<StatusCode> {
    app.engine.containers.kill(&id, query.get("signal")).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn pause(State(app): State<AppState>, Path(id): Path<String>) -> Result<StatusCode> {
    app.engine.containers.pause(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn unpause(State(app): State<AppState>, Path(id): Path<String>) -> Result<StatusCode> {
    app.engine.containers.unpause(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn rename(
    State(app): State<AppState>,
    Path(id): Path<String>,
    query: Query,
) -> Result<StatusCode> {
    app.engine.containers.rename(&id, query.text("name")).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn resize(
    State(app): State<AppState>,
    Path(id): Path<String>,
    query: Query,
) -> Result<StatusCode> {
    app.engine.containers.resize(&id, terminal_size(&query)?).await?;
    Ok(StatusCode::OK)
}

/// `h` and `w` of a resize.
pub(in crate::http) fn terminal_size(query: &Query) -> Result<TerminalSize> {
    let need = |key: &str| {
        query.number(key)?.ok_or_else(|| ApiError::bad_request("strconv.Atoi: parsing \"\": invalid syntax"))
    };
    Ok(TerminalSize { width: need("w")?, height: need("h")? })
}

pub(super) async fn update(
    State(app): State<AppState>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<ContainerUpdateBody>,
) -> Result<Json<Value>> {
    let policy = body.restart_policy;
    let limits = HostConfig {
        cpu_shares: body.cpu_shares,
        memory: body.memory,
        memory_reservation: body.memory_reservation,
        memory_swap: body.memory_swap,
        nano_cpus: body.nano_cpus,
        cpu_period: body.cpu_period,
        cpu_quota: body.cpu_quota,
        cpuset_cpus: body.cpuset_cpus,
        cpuset_mems: body.cpuset_mems,
        blkio_weight: body.blkio_weight,
        pids_limit: body.pids_limit,
        ..HostConfig::default()
    };
    let warnings = app.engine.containers.update(&id, limits, policy).await?;
    let warnings = if warnings.is_empty() { Value::Null } else { json!(warnings) };
    Ok(Json(json!({ "Warnings": warnings })))
}

pub(super) async fn remove(
    State(app): State<AppState>,
    Path(id): Path<String>,
    query: Query,
) -> Result<StatusCode> {
    if query.flag("link") {
        // A link that was made with the container goes with it; its own name is all that is left to ask for.
        app.engine.containers.inspect(&id)?;
        return Err(engine::EngineError::system(
            "Conflict, cannot remove the default link name of the container",
        )
        .into());
    }
    app.engine.containers.remove(&id, query.flag("force"), query.flag("v")).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn prune(State(app): State<AppState>, query: Query) -> Result<Json<Value>> {
    let filters = Filters::from_query(&query, &["label", "label!", "until"])?;
    let until = filters.single("until")?.map(moment).transpose()?;
    let pruned = app
        .engine
        .containers
        .prune(|record| {
            until.is_none_or(|until| record.created < until)
                && filters.values("label").iter().all(|label| record.has_label(label))
                && !filters.values("label!").iter().any(|label| record.has_label(label))
        })
        .await?;
    let deleted = if pruned.ids.is_empty() { Value::Null } else { json!(pruned.ids) };
    Ok(Json(json!({ "ContainersDeleted": deleted, "SpaceReclaimed": pruned.reclaimed })))
}

/// A point in time: seconds since the epoch, RFC 3339, or a Go duration before now (`1h30m`).
pub(in crate::http) fn moment(text: &str) -> Result<SystemTime> {
    let invalid = || ApiError::bad_request(format!("failed to parse value as time or duration: {text:?}"));
    if let Some(moment) = super::logs::unix_time(text) {
        return Ok(moment.into());
    }
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Ok(moment.into());
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let (number, behind) = rest.split_at(digits);
        let unit_end = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, next) = behind.split_at(unit_end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return Err(invalid()),
        };
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| invalid())?;
        total = total.checked_add(part).ok_or_else(invalid)?;
        rest = next;
    }
    SystemTime::now().checked_sub(total).filter(|_| !text.is_empty()).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_absolute_or_ago() {
        let ago = |text: &str| {
            let then = moment(text).unwrap();
            SystemTime::now().duration_since(then).unwrap().as_secs()
        };
        assert_eq!(ago("1h30m"), 5400);
        assert_eq!(ago("2s"), 2);
        assert_eq!(moment("1000").unwrap(), SystemTime::UNIX_EPOCH + Duration::from_secs(1000));
        assert!(moment("2026-01-01T00:00:00Z").is_ok());
        for bad in ["", "x", "1d", "h"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_resize_needs_both_numbers() {
        let size = terminal_size(&Query::from("h=24&w=80")).unwrap();
        assert_eq!((size.width, size.height), (80, 24));
        assert!(terminal_size(&Query::from("h=24")).is_err());
        assert!(terminal_size(&Query::from("h=-1&w=80")).is_err());
    }
}
