//! Registries that want to be convinced, or have to convince us: tokens, client certificates, TLS or none.

use anyhow::{Context, Result};
use std::fs;
use tests::{
    Authority, FakeRegistry, NativeEngine, RealRegistry, TokenServer, artifacts,
    authority::trust,
    fake_registry::Fault,
    image_parts::{Packing, layer, publish},
};

#[test]
fn tokens_of_a_server_that_the_registry_believes() -> Result<()> {
    let (authority, mut servers) = (Authority::new()?, None);
    let engine = NativeEngine::start_with(|network, _| {
        let tokens = TokenServer::start(network, "127.0.0.1:5010", &authority, ("me", "pass"))?;
        let registry = RealRegistry::with_tokens(network, &authority, "http://127.0.0.1:5010/token")?;
        servers = Some((tokens, registry));
        Ok(Vec::new())
    })?;
    let (tokens, registry) = servers.context("the servers")?;
    engine.docker(&["load", "-q", "-i", &artifacts::busybox()?.to_string_lossy()])?.ok()?;
    let (secret, public) =
        (format!("{}/team/box:1", registry.host), format!("{}/public/box:1", registry.host));
    for name in [&secret, &public] {
        engine.docker(&["tag", "busybox", name])?.ok()?;
    }
    let denied = engine.docker(&["push", &secret])?.fails(1)?;
    assert!(
        denied.contains("unauthorized: authentication required") || denied.contains("denied"),
        "{denied}"
    );
    let client = engine.folder().join("client").display().to_string();
    let as_me = |args: &[&str]| engine.docker_with_environment(args, &[("DOCKER_CONFIG", &client)]);
    let wrong = as_me(&["login", "-u", "me", "-p", "no", &registry.host])?.fails(1)?;
    assert!(wrong.contains("unauthorized: incorrect username or password"), "{wrong}");
    as_me(&["login", "-u", "me", "-p", "pass", &registry.host])?.ok()?;
    as_me(&["push", "-q", &secret])?.ok()?;
    let mounted = as_me(&["push", &public])?.ok()?;
    assert!(mounted.contains("Mounted from team/box"), "{mounted}");
    let asked = tokens.asked();
    for scope in
        ["repository:team/box:pull,push", "repository:public/box:pull,push", "repository:team/box:pull"]
    {
        assert!(asked.iter().any(|other| other == scope), "{scope}: {asked:?}");
    }
    engine.docker(&["rmi", "-f", &secret, &public])?.ok()?;
    engine.docker(&["pull", "-q", &public])?.ok()?;
    let denied = engine.docker(&["pull", &secret])?.fails(1)?;
    assert!(denied.contains(&format!("pull access denied for {}/team/box", registry.host)), "{denied}");
    as_me(&["pull", "-q", &secret])?.ok()?;
    Ok(())
}

#[test]
fn client_certificates() -> Result<()> {
    let (authority, mut registry) = (Authority::new()?, None);
    let engine = NativeEngine::start_with(|network, folder| {
        registry = Some(RealRegistry::with_client_certificates(network, &authority)?);
        Ok(vec!["--registry-certs".to_owned(), folder.join("certs.d").display().to_string()])
    })?;
    let host = &registry.context("a registry")?.host;
    engine.docker(&["load", "-q", "-i", &artifacts::busybox()?.to_string_lossy()])?.ok()?;
    let name = format!("{host}/box:1");
    engine.docker(&["tag", "busybox", &name])?.ok()?;
    let certificates = engine.folder().join("certs.d");
    trust(&certificates, host, &authority, None)?;
    let nobody = engine.docker(&["push", &name])?.fails(1)?;
    // What the server has to say about it may come too late to be heard.
    assert!(nobody.contains("Get \"https://192.0.2.1:5002/v2/\""), "{nobody}");
    let unknown = Authority::new()?;
    let stranger = unknown.issue("client", "")?;
    trust(&certificates, host, &authority, Some(&stranger))?;
    engine.docker(&["push", &name])?.fails(1)?;
    // Read anew each time, as dockerd does.
    trust(&certificates, host, &authority, Some(&authority.issue("client", "")?))?;
    engine.docker(&["push", "-q", &name])?.ok()?;
    engine.docker(&["rmi", "busybox", &name])?.ok()?;
    engine.docker(&["pull", "-q", &name])?.ok()?;

    let folder = certificates.join(host);
    fs::remove_file(folder.join("client.key"))?;
    let error = engine.docker(&["pull", &name])?.fails(1)?;
    let words = "missing key client.key for client certificate client.cert. CA certificates must use the \
                 extension .crt";
    assert!(error.contains(words), "{error}");
    fs::remove_file(folder.join("client.cert"))?;
    fs::write(folder.join("client.key"), "")?;
    let error = engine.docker(&["pull", &name])?.fails(1)?;
    assert!(error.contains("missing client certificate client.cert for key client.key"), "{error}");
    fs::remove_file(folder.join("client.key"))?;
    fs::write(folder.join("ca.crt"), "no certificate")?;
    let error = engine.docker(&["pull", &name])?.fails(1)?;
    assert!(error.contains("ca.crt") || error.contains("x509"), "{error}");
    Ok(())
}

#[test]
fn only_what_is_named_goes_without_tls() -> Result<()> {
    let mut servers = None;
    let authority = Authority::new()?;
    let engine = NativeEngine::start_with(|network, _| {
        let identity = authority.issue("registry", "IP:192.0.2.9")?;
        let plain = FakeRegistry::start(network, "192.0.2.1:5001")?;
        let local = FakeRegistry::start(network, "127.0.0.1:5001")?;
        let unproven = FakeRegistry::start_with_tls(network, "127.0.0.1:5002", &identity)?;
        servers = Some((plain, local, unproven));
        Ok(vec!["--registry-timeout".to_owned(), "5".to_owned()])
    })?;
    let (plain, local, unproven) = servers.context("the servers")?;
    for registry in [&plain, &local, &unproven] {
        publish(registry, "lib/thing", "1", "amd64", &[(layer("one", b"1")?, Packing::Gzip)])?;
    }
    let refused = engine.docker(&["pull", "192.0.2.1:5001/lib/thing:1"])?.fails(1)?;
    let words = "Get \"https://192.0.2.1:5001/v2/\": http: server gave HTTP response to HTTPS client";
    assert!(refused.contains(words), "{refused}");
    // This machine is trusted, with TLS that nobody vouches for and without any.
    engine.docker(&["pull", "-q", "127.0.0.1:5001/lib/thing:1"])?.ok()?;
    engine.docker(&["pull", "-q", "127.0.0.1:5002/lib/thing:1"])?.ok()?;
    // Who has TLS and refuses is not asked again without it.
    unproven.fail("GET /v2/", &[Fault::Status(403, None)]);
    let error = engine.docker(&["pull", "127.0.0.1:5002/lib/thing:1"])?.fails(1)?;
    assert!(error.contains("403"), "{error}");
    Ok(())
}

#[test]
fn mirrors_in_order_and_without_the_users_password() -> Result<()> {
    let mut servers = None;
    let engine = NativeEngine::start_with(|network, _| {
        let first = FakeRegistry::start(network, "127.0.0.1:5001")?;
        let second = FakeRegistry::start(network, "127.0.0.1:5002")?;
        servers = Some((first, second));
        // The first of all is not there.
        let mirrors = ["http://127.0.0.1:5009", "http://127.0.0.1:5001", "http://127.0.0.1:5002/"];
        Ok([&["--registry-timeout", "2"], &mirrors.map(|url| ["--registry-mirror", url]).concat()[..]]
            .concat()
            .iter()
            .map(|&option| option.to_owned())
            .collect::<Vec<_>>())
    })?;
    let (first, second) = servers.context("the servers")?;
    publish(&first, "library/both", "latest", "amd64", &[(layer("first", b"1")?, Packing::Gzip)])?;
    let (_, blobs) =
        publish(&second, "library/both", "latest", "amd64", &[(layer("second", b"2")?, Packing::Gzip)])?;
    publish(&second, "library/late", "latest", "amd64", &[(layer("second", b"2")?, Packing::Gzip)])?;
    let client = engine.folder().join("client");
    fs::create_dir_all(&client)?;
    fs::write(
        client.join("config.json"),
        r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6cGFzcw=="}}}"#,
    )?;
    let client = client.display().to_string();
    let pull = |name: &str| engine.docker_with_environment(&["pull", name], &[("DOCKER_CONFIG", &client)]);
    pull("both")?.ok()?;
    assert_eq!((first.count("/blobs/") > 0, second.count("/blobs/")), (true, 0));
    // What one lacks the next has; what breaks in one is whole in the next.
    pull("late")?.ok()?;
    engine.docker(&["rmi", "both", "late"])?.ok()?;
    first.fail("/manifests/", &[Fault::Status(404, None)]);
    pull("both")?.ok()?;
    assert!(second.count(&blobs[0]) > 0);
    engine.docker(&["rmi", "both"])?.ok()?;
    first.fail("/blobs/", &[Fault::Flip]);
    pull("both")?.ok()?;
    assert!(second.count(&blobs[0]) > 1);
    for registry in [&first, &second] {
        assert!(registry.requests().iter().all(|request| !request.contains("+auth")));
    }
    Ok(())
}
