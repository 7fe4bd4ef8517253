//! GET /containers/{id}/stats and /top. The shape is what dockerd sends on a cgroup v2 host.

use super::wire::{ZERO_TIME, time};
use crate::http::{error::Result, json_stream::json_lines, query::Query, state::AppState};
use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use engine::{container::Sample, ports::Stats};
use futures_util::StreamExt;
use serde_json::{Map, Value, json};

pub(super) async fn stats(
    State(app): State<AppState>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response> {
    let containers = &app.engine.containers;
    if query.flag_or("stream", true) {
        return Ok(json_lines(containers.stats_stream(&id)?.map(|sample| to_json(&sample))));
    }
    let sample = containers.stats_once(&id, query.flag("one-shot")).await?;
    Ok(Json(to_json(&sample)).into_response())
}

pub(super) async fn top(
    State(app): State<AppState>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Json<Value>> {
    let top = app.engine.containers.top(&id, query.text("ps_args")).await?;
    Ok(Json(json!({ "Titles": top.titles, "Processes": top.processes })))
}

fn to_json(sample: &Sample) -> Value {
    let empty = Stats::default();
    let stats = sample.stats.as_ref().unwrap_or(&empty);
    let running = sample.stats.is_some();
    let mut answer = json!({
        "id": sample.id,
        "name": format!("/{}", sample.name),
        "read": if running { time(Some(sample.read)) } else { ZERO_TIME.to_owned() },
        "preread": sample.before.as_ref().map_or_else(|| ZERO_TIME.to_owned(), |(read, _)| time(Some(*read))),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": cpu(running.then_some(stats)),
        "precpu_stats": cpu(sample.before.as_ref().map(|(_, stats)| stats)),
        "pids_stats": {},
        "blkio_stats": block_io(stats, running),
        "memory_stats": {},
    });
    if running {
        let mut pids = json!({ "current": stats.pids });
        if let Some(limit) = stats.pids_limit {
            pids["limit"] = json!(limit);
        }
        answer["pids_stats"] = pids;
        answer["memory_stats"] =
            json!({ "usage": stats.memory_usage, "stats": stats.memory_stat, "limit": stats.memory_limit });
        if !stats.networks.is_empty() {
            answer["networks"] = networks(stats);
        }
    }
    answer
}

fn cpu(stats: Option<&Stats>) -> Value {
    let empty = Stats::default();
    let now = stats.unwrap_or(&empty);
    let mut cpu = json!({
        "cpu_usage": {
            "total_usage": now.cpu_total,
            "usage_in_kernelmode": now.cpu_system,
            "usage_in_usermode": now.cpu_user,
        },
        "throttling_data": {
            "periods": now.periods,
            "throttled_periods": now.throttled_periods,
            "throttled_time": now.throttled_time,
        },
    });
    // dockerd leaves these out of a sample that was never taken, and clients look for that.
    if stats.is_some() {
        cpu["system_cpu_usage"] = json!(now.system_cpu);
        cpu["online_cpus"] = json!(now.online_cpus);
    }
    cpu
}

fn block_io(stats: &Stats, running: bool) -> Value {
    let entries = [("read", stats.block_read), ("write", stats.block_write)]
        .map(|(op, value)| json!({ "major": 0, "minor": 0, "op": op, "value": value }));
    json!({
        "io_service_bytes_recursive": if running { json!(entries) } else { Value::Null },
        "io_serviced_recursive": null,
        "io_queue_recursive": null,
        "io_service_time_recursive": null,
        "io_wait_time_recursive": null,
        "io_merged_recursive": null,
        "io_time_recursive": null,
        "sectors_recursive": null,
    })
}

fn networks(stats: &Stats) -> Value {
    let interfaces: Map<String, Value> = stats
        .networks
        .iter()
        .map(|(name, n)| {
            let counters = json!({
                "rx_bytes": n.rx_bytes, "rx_packets": n.rx_packets,
                "rx_errors": n.rx_errors, "rx_dropped": n.rx_dropped,
                "tx_bytes": n.tx_bytes, "tx_packets": n.tx_packets,
                "tx_errors": n.tx_errors, "tx_dropped": n.tx_dropped,
            });
            (name.clone(), counters)
        })
        .collect();
    Value::Object(interfaces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn a_stopped_container_has_zeros_and_a_running_one_the_cli_can_compute_with() {
        let mut sample =
            Sample { id: "i".into(), name: "web".into(), read: SystemTime::now(), stats: None, before: None };
        let stopped = to_json(&sample);
        assert_eq!(
            (&stopped["read"], &stopped["cpu_stats"]["online_cpus"]),
            (&json!(ZERO_TIME), &Value::Null)
        );
        sample.stats = Some(Stats { system_cpu: 5, online_cpus: 2, memory_usage: 9, ..Stats::default() });
        let running = to_json(&sample);
        assert_eq!(running["memory_stats"]["usage"], 9);
        assert_eq!(running["cpu_stats"]["system_cpu_usage"], 5);
        assert_eq!(running["precpu_stats"]["cpu_usage"]["total_usage"], 0);
    }
}
