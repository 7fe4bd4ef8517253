//! `POST /build`: the classic builder. Parameters in, a stream of lines out; a failure before the first line
//! is an ordinary error answer, later ones are in-band.

use super::{
    error::{ApiError, Result},
    filters::Filters,
    json_stream::{error_line, json_lines},
    query::Query,
    state::AppState,
    timestamp,
};
use axum::{Json, Router, body::Body, extract::State, http::HeaderMap, response::Response, routing::post};
use bollard_stubs::models::{HostConfig, ResourcesUlimits};
use engine::{
    build::{
        BuildFailure, BuildRequest, Progress,
        buildkit::{PruneRequest, UsageFilter},
    },
    events::EventType,
    platform::Platform,
    registry::Credentials,
};
use futures_util::{StreamExt, stream};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{collections::BTreeMap, io};
use tokio::{sync::mpsc, task::JoinHandle};

/// Lines that wait for a slow client before the build pauses.
const AHEAD: usize = 64;
/// Filters that mean what was not used since.
const AGES: [&str; 2] = ["until", "unused-for"];
/// Red, and back again: how dockerd marks standard error.
const RED: (&str, &str) = ("\u{1b}[91m", "\u{1b}[0m");

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/build", post(build)).route("/build/prune", post(prune))
}

/// Removes what BuildKit's clients have cached; what the classic builder caches are images, which
/// `docker image prune` removes.
async fn prune(State(state): State<AppState>, query: Query) -> Result<Json<Value>> {
    let request = prune_request(&query)?;
    let (removed, freed) = state.engine.builder.prune(&request).await?;
    let reclaimed = [("reclaimed".to_owned(), freed.to_string())].into();
    state.engine.events.publish(EventType::Builder, "prune", "", reclaimed);
    let ids: Vec<String> = removed.into_iter().map(|usage| usage.id).collect();
    Ok(Json(
        json!({ "CachesDeleted": if ids.is_empty() { Value::Null } else { json!(ids) }, "SpaceReclaimed": freed }),
    ))
}

fn prune_request(query: &Query) -> Result<PruneRequest> {
    let failed =
        |why: &dyn std::fmt::Display| ApiError::bad_request(format!("failed to prune build cache: {why}"));
    let filters = Filters::from_query_lenient(query)?;
    let mut request = PruneRequest { all: query.flag("all"), ..PruneRequest::default() };
    for key in ["keep-storage", "reserved-space"] {
        request.keep_bytes = query.number::<u64>(key)?.unwrap_or(request.keep_bytes);
    }
    let ages = AGES.map(|key| filters.values(key));
    if ages.iter().all(|values| !values.is_empty()) {
        return Err(failed(&format!("conflicting filters: {:?} and {:?}", AGES[0], AGES[1])));
    }
    for key in filters.keys() {
        let value = match filters.values(key) {
            [] => None,
            [one] => Some(one),
            _ => return Err(failed(&"filters expect only one value")),
        };
        let value_of = |sign: &str| value.map(|value| format!("{sign}{value}")).unwrap_or_default();
        let filter = match key {
            _ if AGES.contains(&key) => {
                let moment = timestamp::parse(value.map_or("", String::as_str)).map_err(|error| {
                    failed(&format!(
                        "{key:?} filter expects a duration (e.g., '24h') or a timestamp: {error}"
                    ))
                })?;
                request.unused_since = moment.map(jiff::Timestamp::as_second);
                continue;
            }
            "id" => value_of("~="),
            "parent" | "type" | "description" | "inuse" | "shared" | "private" => value_of("=="),
            _ => return Err(failed(&format!("invalid filter '{key}'"))),
        };
        request.filters.push(UsageFilter::parse(&format!("{key}{filter}"))?);
    }
    Ok(request)
}

async fn build(
    State(state): State<AppState>,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let mut request = request(&query)?;
    let credentials = headers.get("x-registry-config").and_then(|value| value.to_str().ok());
    request.credentials = credentials.map(Credentials::all_from_header).unwrap_or_default();
    let quiet = query.flag("q");
    let context = body.into_data_stream().map(|piece| piece.map_err(io::Error::other));
    let (sender, mut lines) = mpsc::channel(AHEAD);
    let builder = state.engine.builder.clone();
    // Ends by itself, cleanly, when the receiver goes with the answer.
    let mut task = tokio::spawn(async move { builder.build(request, Box::pin(context), sender).await });
    let mut first = lines.recv().await;
    if quiet {
        while first.is_some() {
            first = lines.recv().await;
        }
    }
    if first.is_none() {
        let id = finished(&mut task).await.map_err(|failure| ApiError::from(failure.error))?;
        return Ok(json_lines(stream::iter([json!({ "stream": format!("{id}\n") })])));
    }
    let rest = stream::unfold((lines, Some(task)), |(mut lines, task)| async move {
        let mut task = task?;
        match lines.recv().await {
            Some(progress) => Some((Some(line(progress)), (lines, Some(task)))),
            None => {
                let failed = finished(&mut task).await.err().map(|failure| failure_line(&failure));
                Some((failed, (lines, None)))
            }
        }
    });
    let begin = stream::iter(first.map(line));
    Ok(json_lines(begin.chain(rest.filter_map(|line| async move { line }))))
}

async fn finished(task: &mut JoinHandle<Result<String, BuildFailure>>) -> Result<String, BuildFailure> {
    match task.await {
        Ok(built) => built,
        Err(error) => Err(engine::EngineError::system("The build ended early").because(error).into()),
    }
}

fn line(progress: Progress) -> Value {
    match progress {
        Progress::Output(text) => json!({ "stream": text }),
        Progress::Error(text) => json!({ "stream": format!("{}{text}{}", RED.0, RED.1) }),
        Progress::Pull(progress) => super::images::progress_line(&progress),
        Progress::Image(id) => json!({ "aux": { "ID": id } }),
    }
}

fn failure_line(failure: &BuildFailure) -> Value {
    let mut line = error_line(&failure.error.to_string());
    if let Some(code) = failure.code {
        line["errorDetail"]["code"] = json!(code);
    }
    line
}

fn request(query: &Query) -> Result<BuildRequest> {
    if query.text("version") == "2" {
        return Err(ApiError::not_implemented(
            "POST /build?version=2 is not served by this engine: BuildKit's clients use /grpc and /session",
        ));
    }
    if query.flag("squash") {
        return Err(ApiError::bad_request("squash is only supported with experimental mode"));
    }
    if !matches!(query.text("outputs"), "" | "[]" | "null") {
        return Err(ApiError::bad_request(
            "--output requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images \
             with BuildKit enabled",
        ));
    }
    if !matches!(query.text("isolation").to_ascii_lowercase().as_str(), "" | "default") {
        return Err(ApiError::bad_request(format!("unsupported isolation: {:?}", query.text("isolation"))));
    }
    if !query.text("platform").is_empty() {
        query.text("platform").parse::<Platform>()?;
    }
    let force_remove = query.flag("forcerm");
    let dockerfile = match query.text("dockerfile") {
        "" => "Dockerfile",
        given => given,
    };
    Ok(BuildRequest {
        remote: query.text("remote").to_owned(),
        dockerfile: dockerfile.to_owned(),
        tags: query.all("t").filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
        target: query.text("target").to_owned(),
        arguments: decoded::<BTreeMap<String, Option<String>>>(query, "buildargs")?.unwrap_or_default(),
        labels: decoded::<BTreeMap<String, String>>(query, "labels")?.unwrap_or_default(),
        no_cache: query.flag("nocache"),
        cache_from: decoded::<Vec<String>>(query, "cachefrom")?.unwrap_or_default(),
        pull: query.flag("pull"),
        remove: force_remove || query.text("rm").is_empty() || query.flag("rm"),
        force_remove,
        platform: query.text("platform").to_owned(),
        host: host(query)?,
        ..BuildRequest::default()
    })
}

/// Limits of the build's containers.
fn host(query: &Query) -> Result<HostConfig> {
    let positive = |key: &str| Ok::<_, ApiError>(query.number::<i64>(key)?.filter(|number| *number != 0));
    let text = |key: &str| Some(query.text(key).to_owned()).filter(|text| !text.is_empty());
    let list =
        |key: &str| query.all(key).filter(|one| !one.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    // `host:ip` of each, in one comma-separated value or several.
    let hosts: Vec<String> =
        list("extrahosts").iter().flat_map(|hosts| hosts.split(',')).map(str::to_owned).collect();
    let security: Vec<String> = match decoded::<Vec<String>>(query, "securityopt") {
        Ok(list) => list.unwrap_or_default(),
        Err(_) => list("securityopt"),
    };
    let ulimits = decoded::<Vec<ResourcesUlimits>>(query, "ulimits")?;
    Ok(HostConfig {
        memory: positive("memory")?,
        memory_swap: positive("memswap")?,
        cpu_shares: positive("cpushares")?,
        cpu_period: positive("cpuperiod")?,
        cpu_quota: positive("cpuquota")?,
        cpuset_cpus: text("cpusetcpus"),
        cpuset_mems: text("cpusetmems"),
        cgroup_parent: text("cgroupparent"),
        network_mode: text("networkmode"),
        shm_size: positive("shmsize")?,
        extra_hosts: Some(hosts).filter(|hosts| !hosts.is_empty()),
        security_opt: Some(security).filter(|security| !security.is_empty()),
        ulimits: ulimits.filter(|ulimits| !ulimits.is_empty()),
        ..HostConfig::default()
    })
}

fn decoded<T: DeserializeOwned>(query: &Query, key: &str) -> Result<Option<T>> {
    match query.text(key) {
        "" => Ok(None),
        text => {
            serde_json::from_str(text).map_err(|e| ApiError::bad_request(format!("error reading {key}: {e}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_the_clients() {
        let request = |text: &str| request(&Query::from(text));
        let built = request(
            "t=a&t=b%3A1&rm=1&buildargs=%7B%22A%22%3A%221%22%2C%22B%22%3Anull%7D&memory=64&networkmode=none&\
             ulimits=null&cachefrom=%5B%22c%22%5D&labels=%7B%7D",
        )
        .unwrap();
        assert_eq!(built.cache_from, ["c"]);
        assert_eq!(built.tags, ["a", "b:1"]);
        assert_eq!(built.arguments["A"].as_deref(), Some("1"));
        assert_eq!(built.arguments["B"], None);
        assert_eq!((built.host.memory, built.host.network_mode.as_deref()), (Some(64), Some("none")));
        assert!(built.remove && !built.force_remove && built.dockerfile == "Dockerfile");
        assert!(!request("rm=0").unwrap().remove);
        assert_eq!(request("remote=https%3A%2F%2Fx").unwrap().remote, "https://x");
        assert!(request("version=2").is_err());
    }

    #[test]
    fn filters_of_a_prune_are_dockerds() {
        let prune = |filters: &str| {
            let encoded: String = filters.bytes().map(|b| format!("%{b:02X}")).collect();
            prune_request(&Query::from(format!("filters={encoded}").as_str()))
        };
        let asked = prune(r#"{"until":["24h"],"private":[],"id":["ab"]}"#).unwrap();
        assert!(asked.unused_since.is_some() && asked.filters.len() == 2);
        for (filters, error) in [
            (r#"{"until":["1h"],"unused-for":["2h"]}"#, "conflicting filters: \"until\" and \"unused-for\""),
            (r#"{"until":["1h","2h"]}"#, "filters expect only one value"),
            (r#"{"type":["a","b"]}"#, "filters expect only one value"),
            (r#"{"mutable":[]}"#, "invalid filter 'mutable'"),
            (
                r#"{"until":["x"]}"#,
                "\"until\" filter expects a duration (e.g., '24h') or a timestamp: failed to parse value as time or \
                 duration: \"x\"",
            ),
        ] {
            let told = prune(filters).unwrap_err();
            assert_eq!(told.message(), format!("failed to prune build cache: {error}"));
        }
    }

    #[test]
    fn a_failed_command_has_its_code() {
        let error = engine::EngineError::invalid("The command 'x' returned a non-zero code: 2");
        let line = failure_line(&BuildFailure { error, code: Some(2), lines: None });
        assert_eq!(line["errorDetail"]["code"], 2);
        assert_eq!(line["error"], "The command 'x' returned a non-zero code: 2");
    }
}
