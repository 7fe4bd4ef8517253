//! Docker Hub, or a server that does as it does, behind a proxy: names, tokens, limits.

use anyhow::{Context, Result};
use tests::{
    Authority, FakeRegistry, NativeEngine, Proxy,
    engine::Launch,
    fake_registry::Fault,
    image_parts::{Packing, layer, publish},
};

/// Where the Hub really is in these tests, and who asks is told nothing of it.
const HUB: &str = "127.0.0.1:4430";
const PROXY: &str = "127.0.0.1:3128";
/// A registry beside it without TLS, and one that no proxy is for.
const PLAIN: &str = "192.0.2.1:5001";
const DIRECT: &str = "192.0.2.1:5002";

struct World {
    engine: NativeEngine,
    hub: FakeRegistry,
    plain: FakeRegistry,
    proxy: Proxy,
    /// Its certificate has to stay where it is.
    _authority: Authority,
}

fn world() -> Result<World> {
    let mut servers = None;
    let authority = Authority::new()?;
    let names = "DNS:registry-1.docker.io,DNS:auth.docker.io,DNS:index.docker.io";
    let identity = authority.issue("hub", names)?;
    let engine = NativeEngine::start_with(|network, _| {
        let hub = FakeRegistry::start_with_tls(network, HUB, &identity)?;
        let realm = "https://auth.docker.io/token";
        hub.require_as_the_hub_does("me", "pass", realm, "registry.docker.io");
        let names =
            [("registry-1.docker.io:443", HUB), ("auth.docker.io:443", HUB), ("index.docker.io:443", HUB)];
        let proxy = Proxy::start(network, PROXY, &names)?;
        let (plain, direct) = (FakeRegistry::start(network, PLAIN)?, FakeRegistry::start(network, DIRECT)?);
        servers = Some((hub, plain, direct, proxy));
        let insecure = ["--insecure-registry", "192.0.2.0/24"].map(str::to_owned);
        Ok(Launch {
            options: [&["--registry-timeout", "5"].map(str::to_owned)[..], &insecure].concat(),
            environment: vec![
                ("HTTPS_PROXY", format!("http://{PROXY}")),
                ("HTTP_PROXY", format!("http://{PROXY}")),
                ("NO_PROXY", "example.com,192.0.2.1:5002".to_owned()),
                // As the user's own authorities come into a machine.
                ("SSL_CERT_FILE", authority.certificate().display().to_string()),
            ],
        })
    })?;
    let (hub, plain, direct, proxy) = servers.context("the servers")?;
    publish(&direct, "lib/thing", "latest", "amd64", &[(layer("direct", b"1")?, Packing::Gzip)])?;
    publish(&plain, "lib/thing", "latest", "amd64", &[(layer("plain", b"1")?, Packing::Gzip)])?;
    Ok(World { engine, hub, plain, proxy, _authority: authority })
}

#[test]
fn names_tokens_and_limits() -> Result<()> {
    let world = world()?;
    let World { engine, hub, proxy, .. } = &world;
    let layers = [(layer("one", b"1")?, Packing::Gzip)];
    publish(hub, "library/thing", "latest", "amd64", &layers)?;
    publish(hub, "me/secret", "1", "amd64", &layers)?;
    hub.add_headers("RateLimit-Limit: 100;w=21600\r\nRateLimit-Remaining: 3;w=21600\r\n");

    // One image has many names, and one in lists.
    for name in ["thing", "library/thing", "docker.io/thing", "index.docker.io/library/thing:latest"] {
        let pulled = engine.docker(&["pull", name])?.ok()?;
        assert!(pulled.contains("latest: Pulling from library/thing"), "{pulled}");
        assert!(pulled.ends_with("docker.io/library/thing:latest"), "{pulled}");
    }
    let listed = engine.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?.ok()?;
    assert_eq!(listed, "thing:latest");
    for (name, why) in [
        ("Thing", "repository name (library/Thing) must be lowercase"),
        ("docker.io/a/../b", "invalid reference format"),
        ("https://docker.io/thing", "invalid reference format"),
    ] {
        assert!(engine.docker(&["pull", name])?.fails(1)?.contains(why), "{name}");
    }
    assert!(hub.count("GET /token") >= 4 && hub.requests().iter().all(|r| !r.contains("/token +auth")));
    let tunnels = proxy.requests();
    for name in ["registry-1.docker.io:443", "auth.docker.io:443"] {
        assert!(tunnels.contains(&format!("CONNECT {name}")), "{tunnels:?}");
    }

    // What is somebody's is for him.
    let denied = engine.docker(&["pull", "me/secret:1"])?.fails(1)?;
    let words = "pull access denied for me/secret, repository does not exist or may require 'docker login'";
    assert!(denied.contains(words), "{denied}");
    let client = engine.folder().join("client").display().to_string();
    let as_me = |args: &[&str]| engine.docker_with_environment(args, &[("DOCKER_CONFIG", &client)]);
    let wrong = as_me(&["login", "-u", "me", "-p", "no"])?.fails(1)?;
    let words = "Get \"https://registry-1.docker.io/v2/\": unauthorized: incorrect username or password";
    assert!(wrong.contains(words), "{wrong}");
    assert!(as_me(&["login", "-u", "me", "-p", "pass"])?.ok()?.contains("Login Succeeded"));
    as_me(&["pull", "-q", "me/secret:1"])?.ok()?;
    as_me(&["tag", "thing", "me/pushed:2"])?.ok()?;
    let pushed = as_me(&["push", "me/pushed:2"])?.ok()?;
    assert!(pushed.contains("The push refers to repository [docker.io/me/pushed]"), "{pushed}");
    assert!(pushed.contains("Mounted from ") && hub.content("/v2/me/pushed/manifests/2").is_some());
    let stranger = engine.docker(&["push", "me/pushed:2"])?.fails(1)?;
    assert!(stranger.contains("authentication required"), "{stranger}");

    // The limit of those who do not pay.
    let limit = "You have reached your pull rate limit. You may increase the limit by authenticating and \
                 upgrading: https://www.docker.com/increase-rate-limit";
    let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit. You may increase the limit by authenticating and upgrading: https://www.docker.com/increase-rate-limit"}]}"#;
    let before = hub.count("/manifests/");
    hub.fail("/manifests/", &[Fault::Says(429, body)]);
    let limited = engine.docker(&["pull", "thing"])?.fails(1)?;
    assert_eq!(limited.trim(), format!("Error response from daemon: toomanyrequests: {limit}"));
    assert_eq!(hub.count("/manifests/"), before + 1, "asking again would only make it worse");

    hub.put("/v1/search", "application/json", br#"{"results":[{"name":"thing","is_official":true}]}"#);
    let found = engine.docker(&["search", "--format", "{{.Name}} {{.IsOfficial}}", "thing"])?.ok()?;
    assert!(found.starts_with("thing"), "{found}");
    Ok(())
}

#[test]
fn proxies_are_for_whom_they_are_for() -> Result<()> {
    let world = world()?;
    let World { engine, plain, proxy, .. } = &world;
    engine.docker(&["pull", "-q", &format!("{PLAIN}/lib/thing")])?.ok()?;
    assert!(plain.count("/blobs/") > 0);
    let seen = proxy.requests();
    assert!(seen.contains(&format!("GET http://{PLAIN}/v2/")), "{seen:?}");
    engine.docker(&["pull", "-q", &format!("{DIRECT}/lib/thing")])?.ok()?;
    let seen = proxy.requests();
    assert!(!seen.iter().any(|request| request.contains(DIRECT)), "{seen:?}");
    // A proxy that cannot get through says so, and what it was asked for.
    let error = engine.docker(&["pull", "absent.example/thing"])?.fails(1)?;
    assert!(error.contains("Get \"https://absent.example/v2/\""), "{error}");
    Ok(())
}
