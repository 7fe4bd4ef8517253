//! A network as dockerd writes it.

use super::NetworkView;
use crate::http::containers::time;
use engine::network::{AddressPlan, Endpoint};
use serde_json::{Map, Value, json};

/// As list shows it, or inspect: `with_members`.
pub(super) fn network(network: &NetworkView, with_members: bool) -> Value {
    let definition = &network.definition;
    let members: Map<String, Value> = network
        .members
        .iter()
        .filter(|_| with_members)
        .map(|(container, member)| (container.clone(), self::member(&member.name, &member.endpoint)))
        .collect();
    let plans: Vec<Value> = definition.plans.iter().chain(&definition.idle_plans).map(plan).collect();
    json!({
        "Name": definition.name,
        "Id": definition.id,
        "Created": time(Some(definition.created)),
        "Scope": "local",
        "Driver": definition.driver.as_str(),
        "EnableIPv6": definition.ipv6,
        "IPAM": {
            "Driver": "default",
            "Options": definition.ipam_options,
            "Config": if plans.is_empty() { Value::Null } else { json!(plans) },
        },
        "Internal": definition.internal,
        "Attachable": definition.attachable,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": members,
        "Options": definition.options,
        "Labels": definition.labels,
    })
}

fn plan(plan: &AddressPlan) -> Value {
    let mut shown = json!({ "Subnet": plan.subnet.to_string() });
    if let Some(range) = plan.range {
        shown["IPRange"] = json!(range.to_string());
    }
    // As dockerd: one that was derived from a subnet of the user's is not told.
    if plan.gateway_chosen {
        shown["Gateway"] = json!(plan.gateway);
    }
    if !plan.auxiliary.is_empty() {
        shown["AuxiliaryAddresses"] = json!(plan.auxiliary);
    }
    shown
}

fn member(name: &str, endpoint: &Endpoint) -> Value {
    let with =
        |address: Option<String>, prefix: u8| address.map(|a| format!("{a}/{prefix}")).unwrap_or_default();
    json!({
        "Name": name,
        "EndpointID": endpoint.endpoint_id,
        "MacAddress": endpoint.mac,
        "IPv4Address": with(endpoint.address.map(|a| a.to_string()), endpoint.prefix),
        "IPv6Address": with(endpoint.address6.map(|a| a.to_string()), endpoint.prefix6),
    })
}
