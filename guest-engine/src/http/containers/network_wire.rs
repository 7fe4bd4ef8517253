//! A container's networks and ports as dockerd writes them.

use bollard_stubs::models::EndpointSettings;
use engine::{
    container::Record,
    network::Endpoint,
    ports::{PortSpec, Protocol},
};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// `NetworkSettings.Networks`: the container's networks by name. One that has been started before keeps
/// their ids while it is stopped: compose compares them.
pub(super) fn networks(record: &Record, id_of: impl Fn(&str) -> String) -> Value {
    let one = |(name, wish): (&String, &EndpointSettings)| {
        let mut shown = endpoint(record, record.attached.get(name), Some(wish));
        if !record.attached.contains_key(name) && record.state.started_at.is_some() {
            shown["NetworkID"] = json!(id_of(name));
        }
        (name.clone(), shown)
    };
    Value::Object(record.endpoints.iter().map(one).collect())
}

fn endpoint(record: &Record, endpoint: Option<&Endpoint>, asked: Option<&EndpointSettings>) -> Value {
    let text = |value: Option<String>| value.unwrap_or_default();
    // Everything others may call it, its name first.
    let names = endpoint.filter(|e| !e.names.is_empty()).map(|e| {
        let names = std::iter::once(&record.name).chain(&e.names);
        names.collect::<Vec<_>>()
    });
    json!({
        "IPAMConfig": asked.and_then(|a| a.ipam_config.as_ref()),
        "Links": asked.and_then(|a| a.links.as_ref()),
        "Aliases": asked.and_then(|a| a.aliases.as_ref()),
        "DriverOpts": asked.and_then(|a| a.driver_opts.as_ref()),
        "MacAddress": text(endpoint.map(|e| e.mac.clone()).or_else(|| asked.and_then(|a| a.mac_address.clone()))),
        "NetworkID": text(endpoint.map(|e| e.network_id.clone())),
        "EndpointID": text(endpoint.map(|e| e.endpoint_id.clone())),
        "Gateway": text(endpoint.and_then(|e| e.gateway).map(|a| a.to_string())),
        "IPAddress": text(endpoint.and_then(|e| e.address).map(|a| a.to_string())),
        "IPPrefixLen": endpoint.map_or(0, |e| e.prefix),
        "IPv6Gateway": text(endpoint.and_then(|e| e.gateway6).map(|a| a.to_string())),
        "GlobalIPv6Address": text(endpoint.and_then(|e| e.address6).map(|a| a.to_string())),
        "GlobalIPv6PrefixLen": endpoint.map_or(0, |e| e.prefix6),
        "DNSNames": names,
    })
}

/// `NetworkSettings` of inspect, with the fields of the default bridge at its top as before API 1.52.
pub(super) fn network_settings(record: &Record, id_of: impl Fn(&str) -> String) -> Value {
    let networks = networks(record, id_of);
    let on_bridge = networks.get("bridge").cloned().unwrap_or_else(|| endpoint(record, None, None));
    let runs = record.state.status.has_process();
    let sandboxed = runs && !record.attached.is_empty();
    let mut settings = json!({
        "Bridge": "",
        "SandboxID": if sandboxed { record.id.as_str() } else { "" },
        "SandboxKey": if sandboxed { format!("/var/run/docker/netns/{}", &record.id[..12]) } else { String::new() },
        "Ports": if runs { port_map(record) } else { json!({}) },
        "HairpinMode": false, "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null, "SecondaryIPv6Addresses": null, "Networks": networks,
    });
    for key in [
        "EndpointID",
        "Gateway",
        "GlobalIPv6Address",
        "GlobalIPv6PrefixLen",
        "IPAddress",
        "IPPrefixLen",
        "IPv6Gateway",
        "MacAddress",
    ] {
        settings[key] = on_bridge[key].clone();
    }
    settings
}

/// `Ports` of inspect: every exposed port, with where it is published.
fn port_map(record: &Record) -> Value {
    // Without a network of its own a container has no ports.
    if record.attached.values().all(|endpoint| endpoint.address.is_none()) {
        return json!({});
    }
    let mut map: Map<String, Value> = exposed(record).map(|port| (port, Value::Null)).collect();
    for port in &record.ports {
        let bindings =
            map.entry(format!("{}/{}", port.container.port(), port.protocol)).or_insert(Value::Null);
        let binding = json!({ "HostIp": port.host.ip(), "HostPort": port.host.port().to_string() });
        match bindings {
            Value::Array(list) => list.push(binding),
            other => *other = json!([binding]),
        }
    }
    Value::Object(map)
}

/// `Ports` of list: published ones with their host ports, the other exposed ones without.
pub(super) fn port_list(record: &Record) -> Value {
    if !record.state.status.has_process() {
        return json!([]);
    }
    let mut ports = Vec::new();
    let mut published = BTreeSet::new();
    for PortSpec { protocol, host, container } in &record.ports {
        published.insert((container.port(), *protocol));
        ports.push(json!({
            "IP": host.ip(), "PrivatePort": container.port(), "PublicPort": host.port(),
            "Type": protocol.to_string(),
        }));
    }
    for port in exposed(record) {
        let (number, kind) = port.split_once('/').unwrap_or((&port, "tcp"));
        let Ok(number) = number.parse::<u16>() else { continue };
        let protocol = if kind == "udp" { Protocol::Udp } else { Protocol::Tcp };
        if !published.contains(&(number, protocol)) {
            ports.push(json!({ "PrivatePort": number, "Type": kind }));
        }
    }
    Value::Array(ports)
}

/// What the image or the user exposes, always with its protocol.
fn exposed(record: &Record) -> impl Iterator<Item = String> {
    let ports = record.config.exposed_ports.iter().flatten();
    ports.map(|port| if port.contains('/') { port.clone() } else { format!("{port}/tcp") })
}
