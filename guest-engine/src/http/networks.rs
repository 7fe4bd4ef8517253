//! Routes of /networks.

mod wire;

use super::{
    error::{ApiError, Result},
    filters::Filters,
    json_body::{self, JsonBody},
    query::Query,
    state::AppState,
};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use bollard_stubs::models::{EndpointSettings, NetworkCreateRequest};
use engine::{
    name::NamePatterns,
    network::{Definition, NetworkView},
};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/networks", get(list))
        .route("/networks/create", post(create))
        .route("/networks/prune", post(prune))
        .route("/networks/{id}", get(inspect).delete(remove))
        .route("/networks/{id}/connect", post(connect))
        .route("/networks/{id}/disconnect", post(disconnect))
}

async fn list(State(app): State<AppState>, query: Query) -> Result<Json<Vec<Value>>> {
    let filters =
        Filters::from_query(&query, &["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    let dangling = filters.flag("dangling")?;
    let names = NamePatterns::new(filters.values("name"));
    for kind in filters.values("type") {
        if !matches!(kind.as_str(), "builtin" | "custom") {
            return Err(ApiError::bad_request(format!("invalid filter: 'type'='{kind}'")));
        }
    }
    let any = |key: &str, accepts: &dyn Fn(&str) -> bool| {
        filters.values(key).is_empty() || filters.values(key).iter().any(|value| accepts(value))
    };
    let networks = app.engine.networks.list();
    let wanted = networks.iter().filter(|network| {
        let definition = &network.definition;
        let kind = if definition.is_predefined() { "builtin" } else { "custom" };
        // Those that are always there are never dangling.
        let unused = !definition.is_predefined() && network.members.is_empty();
        dangling.is_none_or(|wanted| unused == wanted)
            && any("driver", &|driver| definition.driver.as_str() == driver)
            && any("id", &|id| definition.id.starts_with(id))
            && names.accept(&definition.name)
            && any("scope", &|scope| scope == "local")
            && any("type", &|wanted| wanted == kind)
            && filters.values("label").iter().all(|label| definition.has_label(label))
    });
    Ok(Json(wanted.map(|network| wire::network(network, false)).collect()))
}

async fn inspect(State(app): State<AppState>, Path(id): Path<String>, query: Query) -> Result<Json<Value>> {
    let network = app.engine.networks.find(&id)?;
    match query.text("scope") {
        "" | "local" => Ok(Json(wire::network(&network, true))),
        _ => Err(ApiError::new(StatusCode::NOT_FOUND, format!("network {id} not found"))),
    }
}

async fn create(
    State(app): State<AppState>,
    JsonBody(mut body): JsonBody<Value>,
) -> Result<(StatusCode, Json<Value>)> {
    // The stubs insist on a name, whose lack has a sentence of its own.
    if let Some(fields) = body.as_object_mut() {
        let named = fields.keys().any(|key| key.eq_ignore_ascii_case("name"));
        fields.extend((!named).then(|| ("Name".to_owned(), json!(""))));
    }
    let body: NetworkCreateRequest = json_body::of_value(body)?;
    let network = app.engine.networks.create(body).await?;
    Ok((StatusCode::CREATED, Json(json!({ "Id": network.id, "Warning": "" }))))
}

async fn remove(State(app): State<AppState>, Path(id): Path<String>) -> Result<StatusCode> {
    app.engine.networks.remove(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ConnectBody {
    container: String,
    endpoint_config: Option<EndpointSettings>,
}

async fn connect(
    State(app): State<AppState>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<ConnectBody>,
) -> Result<StatusCode> {
    let wish = body.endpoint_config.unwrap_or_default();
    app.engine.containers.connect(&body.container, &id, wish).await?;
    Ok(StatusCode::OK)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct DisconnectBody {
    container: String,
    force: bool,
}

async fn disconnect(
    State(app): State<AppState>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<DisconnectBody>,
) -> Result<StatusCode> {
    app.engine.containers.disconnect(&body.container, &id, body.force).await?;
    Ok(StatusCode::OK)
}

async fn prune(State(app): State<AppState>, query: Query) -> Result<Json<Value>> {
    let filters = Filters::from_query(&query, &["label", "label!", "until"])?;
    let until = filters.single("until")?.map(super::containers::moment).transpose()?;
    let wanted = |definition: &Definition| {
        until.is_none_or(|until| definition.created < until)
            && filters.values("label").iter().all(|label| definition.has_label(label))
            && !filters.values("label!").iter().any(|label| definition.has_label(label))
    };
    let removed = app.engine.networks.prune(wanted).await?;
    let removed = if removed.is_empty() { Value::Null } else { json!(removed) };
    Ok(Json(json!({ "NetworksDeleted": removed })))
}
