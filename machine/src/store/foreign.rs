//! What a record of docker-machine's says about where its machine is.

use crate::endpoint::TlsEndpoint;
use serde_json::Value;
use std::path::PathBuf;

/// Port of the engine on docker-machine's machines.
const ENGINE_PORT: u64 = 2376;

/// The address of the machine.
pub fn address(document: &Value) -> Option<String> {
    text(document, "/Driver/IPAddress").map(str::to_owned)
}

/// Its Engine API, with the certificates that docker-machine made.
pub fn endpoint(document: &Value) -> Option<TlsEndpoint> {
    let address = match text(document, "/Driver/URL") {
        Some(url) => url.strip_prefix("tcp://")?.to_owned(),
        None => {
            let port =
                document.pointer("/Driver/EnginePort").and_then(Value::as_u64).filter(|port| *port > 0);
            format!("{}:{}", self::address(document)?, port.unwrap_or(ENGINE_PORT))
        }
    };
    let file = |name: &str| text(document, &format!("/HostOptions/AuthOptions/{name}")).map(PathBuf::from);
    Some(TlsEndpoint {
        address,
        authority: file("CaCertPath")?,
        certificate: file("ClientCertPath")?,
        key: file("ClientKeyPath")?,
        folder: file("StorePath")?,
    })
}

fn text<'a>(document: &'a Value, pointer: &str) -> Option<&'a str> {
    document.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_generic_machine_is_reached_where_docker_machine_reached_it() {
        let auth = json!({ "CaCertPath": "/c/ca.pem", "ClientCertPath": "/c/cert.pem",
            "ClientKeyPath": "/c/key.pem", "StorePath": "/s/machines/old" });
        let document = |driver: Value| json!({ "Driver": driver, "HostOptions": { "AuthOptions": auth } });
        let url = |driver: Value| endpoint(&document(driver)).map(|endpoint| endpoint.url());
        assert_eq!(url(json!({ "IPAddress": "10.0.0.7" })).as_deref(), Some("tcp://10.0.0.7:2376"));
        let generic = json!({ "IPAddress": "10.0.0.7", "EnginePort": 2377 });
        assert_eq!(url(generic).as_deref(), Some("tcp://10.0.0.7:2377"));
        let none = json!({ "IPAddress": "", "URL": "tcp://10.0.0.8:2376" });
        assert_eq!(url(none).as_deref(), Some("tcp://10.0.0.8:2376"));
        assert_eq!(url(json!({ "IPAddress": "" })), None);
    }
}
