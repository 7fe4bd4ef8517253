//! Routes of /networks.

use super::{
    containers::time, error::Result, filters::Filters, json_body::JsonBody, query::Query, state::AppState,
};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use engine::network::{BRIDGE_INTERFACE, NetworkView};
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/networks", get(list))
        .route("/networks/create", post(create))
        .route("/networks/prune", post(prune))
        .route("/networks/{id}", get(inspect).delete(remove))
        .route("/networks/{id}/connect", post(reconnect))
        .route("/networks/{id}/disconnect", post(reconnect))
}

async fn list(State(app): State<AppState>, query: Query) -> Result<Json<Vec<Value>>> {
    let filters =
        Filters::from_query(&query, &["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    let dangling = filters.flag("dangling")?;
    let any = |key: &str, accepts: &dyn Fn(&str) -> bool| {
        filters.values(key).is_empty() || filters.values(key).iter().any(|value| accepts(value))
    };
    let networks = app.engine.networks.list();
    let wanted = networks.iter().filter(|network| {
        // The predefined ones are never dangling, carry no label and are built in.
        dangling != Some(true)
            && any("driver", &|driver| network.driver == driver)
            && any("id", &|id| network.id.starts_with(id))
            && any("name", &|name| network.name.contains(name))
            && any("scope", &|scope| scope == "local")
            && any("type", &|kind| kind == "builtin")
            && filters.values("label").is_empty()
    });
    Ok(Json(wanted.map(|network| to_json(network, false)).collect()))
}

async fn inspect(State(app): State<AppState>, Path(id): Path<String>) -> Result<Json<Value>> {
    Ok(Json(to_json(&app.engine.networks.find(&id)?, true)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct CreateBody {
    name: String,
}

async fn create(
    State(app): State<AppState>,
    JsonBody(body): JsonBody<CreateBody>,
) -> Result<(StatusCode, Json<Value>)> {
    let network = app.engine.networks.create(&body.name)?;
    Ok((StatusCode::CREATED, Json(json!({ "Id": network.id, "Warning": "" }))))
}

async fn remove(State(app): State<AppState>, Path(id): Path<String>) -> Result<StatusCode> {
    app.engine.networks.remove(&id)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn reconnect(State(app): State<AppState>, Path(id): Path<String>) -> Result<StatusCode> {
    app.engine.networks.refuse_reconnect(&id)?;
    Ok(StatusCode::OK)
}

/// Predefined networks are never pruned, and there are no others.
async fn prune() -> Json<Value> {
    Json(json!({ "NetworksDeleted": null }))
}

fn to_json(network: &NetworkView, with_members: bool) -> Value {
    let pools = network
        .subnet
        .map(|subnet| json!([{ "Subnet": subnet.to_string(), "Gateway": subnet.gateway().to_string() }]));
    let options = match network.subnet {
        Some(_) => json!({
            "com.docker.network.bridge.default_bridge": "true",
            "com.docker.network.bridge.enable_icc": "true",
            "com.docker.network.bridge.enable_ip_masquerade": "true",
            "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
            "com.docker.network.bridge.name": BRIDGE_INTERFACE,
            "com.docker.network.driver.mtu": "1500",
        }),
        None => json!({}),
    };
    let members: Map<String, Value> = network
        .members
        .iter()
        .filter(|_| with_members)
        .map(|(container, member)| {
            let endpoint = &member.endpoint;
            let address = endpoint.address.map(|a| format!("{a}/{}", endpoint.prefix)).unwrap_or_default();
            let json = json!({
                "Name": member.name, "EndpointID": endpoint.endpoint_id, "MacAddress": endpoint.mac,
                "IPv4Address": address, "IPv6Address": "",
            });
            (container.clone(), json)
        })
        .collect();
    json!({
        "Name": network.name,
        "Id": network.id,
        "Created": time(Some(network.created)),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv6": false,
        "IPAM": { "Driver": "default", "Options": null, "Config": pools.unwrap_or_else(|| json!([])) },
        "Internal": false,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": members,
        "Options": options,
        "Labels": {},
    })
}
