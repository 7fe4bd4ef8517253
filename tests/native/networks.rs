//! Networks that users make: addresses, names, isolation, and what is left afterwards.

use anyhow::Result;
use tests::{NativeEngine, run::eventually};

/// A container that serves its own name over HTTP, once it does: on a busy machine its client is faster.
fn serve(engine: &NativeEngine, name: &str, options: &[&str]) -> Result<()> {
    let script = format!("mkdir /w; echo {name} > /w/index.html; exec httpd -f -p 80 -h /w");
    let args = [&["run", "-d", "--name", name], options, &["busybox", "sh", "-c", &script]].concat();
    engine.docker(&args)?.ok()?;
    eventually("The server listens", || Ok(fetch(engine, name, "http://127.0.0.1/")? == name))
}

fn fetch(engine: &NativeEngine, from: &str, url: &str) -> Result<String> {
    Ok(engine.docker(&["exec", from, "wget", "-T", "2", "-qO-", url])?.stdout.trim_end().to_owned())
}

#[test]
fn names_aliases_and_round_robin_within_a_network_and_nowhere_else() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    for network in ["front", "back"] {
        engine.docker(&["network", "create", network])?.ok()?;
    }
    serve(&engine, "one", &["--network", "front", "--network-alias", "web"])?;
    serve(&engine, "two", &["--network", "front", "--network-alias", "web"])?;
    serve(&engine, "far", &["--network", "back", "--network-alias", "web"])?;
    assert_eq!(fetch(&engine, "one", "http://two/")?, "two");
    assert_eq!(fetch(&engine, "one", "http://two.front/")?, "two");
    assert_eq!(fetch(&engine, "far", "http://web/")?, "far");
    assert_eq!(fetch(&engine, "far", "http://one/")?, "", "another network's name");
    let found = engine.docker(&["exec", "one", "nslookup", "-type=a", "web"])?.ok()?;
    assert!(found.contains("172.18.0.2") && found.contains("172.18.0.3"), "{found}");
    let reverse = engine.docker(&["exec", "one", "nslookup", "172.18.0.3"])?.ok()?;
    assert!(reverse.contains("two.front"), "{reverse}");
    // A resolver prefers its own address: a third container sees the order of the answers.
    engine
        .docker(&["run", "-d", "--name", "third", "--network", "front", "busybox", "sleep", "1000"])?
        .ok()?;
    let seen: std::collections::BTreeSet<String> =
        (0..20).map(|_| fetch(&engine, "third", "http://web/")).collect::<Result<_>>()?;
    assert_eq!(seen.len(), 2, "{seen:?}");
    // Isolated below names as well.
    assert_eq!(fetch(&engine, "far", "http://172.18.0.2/")?, "");
    Ok(())
}

#[test]
fn connected_and_disconnected_while_it_runs() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.docker(&["network", "create", "--subnet", "10.9.0.0/24", "mine"])?.ok()?;
    serve(&engine, "web", &["--network", "mine"])?;
    engine.docker(&["run", "-d", "--name", "late", "busybox", "sleep", "1000"])?.ok()?;
    assert_eq!(fetch(&engine, "late", "http://web/")?, "");
    engine.docker(&["network", "connect", "--ip", "10.9.0.77", "--alias", "bee", "mine", "late"])?.ok()?;
    assert_eq!(fetch(&engine, "late", "http://web/")?, "web");
    let bee = engine.docker(&["exec", "web", "nslookup", "-type=a", "bee"])?.ok()?;
    assert!(bee.contains("10.9.0.77"), "{bee}");
    let refused = engine.docker(&["network", "connect", "mine", "late"])?.fails(1)?;
    assert!(refused.contains("endpoint with name late already exists in network mine"), "{refused}");
    let members = "{{range .Containers}}{{.Name}} {{.IPv4Address}};{{end}}";
    let members = engine.docker(&["network", "inspect", "-f", members, "mine"])?.ok()?;
    assert!(members.contains("late 10.9.0.77/24") && members.contains("web 10.9.0.2/24"), "{members}");
    let refused = engine.docker(&["network", "rm", "mine"])?.fails(1)?;
    assert!(refused.contains("has active endpoints"), "{refused}");
    engine.docker(&["network", "disconnect", "mine", "late"])?.ok()?;
    assert_eq!(fetch(&engine, "late", "http://10.9.0.2/")?, "");
    let refused = engine.docker(&["network", "disconnect", "mine", "late"])?.fails(1)?;
    assert!(refused.contains("is not connected to network mine"), "{refused}");
    // Of a stopped container it is remembered.
    engine.docker(&["stop", "-t", "0", "late"])?.ok()?;
    engine.docker(&["network", "connect", "mine", "late"])?.ok()?;
    engine.docker(&["network", "disconnect", "bridge", "late"])?.ok()?;
    engine.docker(&["start", "late"])?.ok()?;
    let interfaces = engine.docker(&["exec", "late", "ls", "/sys/class/net"])?.ok()?;
    assert_eq!(interfaces, "eth0\nlo");
    assert_eq!(fetch(&engine, "late", "http://web/")?, "web");
    engine.docker(&["rm", "-f", "late", "web"])?.ok()?;
    assert_eq!(engine.docker(&["network", "prune", "-f"])?.ok()?, "Deleted Networks:\nmine");
    Ok(())
}

#[test]
fn several_networks_ipv6_and_internal_ones() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.docker(&["network", "create", "--ipv6", "--subnet", "fd77::/64", "six"])?.ok()?;
    engine.docker(&["network", "create", "--internal", "inner"])?.ok()?;
    serve(&engine, "web", &["--network", "inner"])?;
    let args = ["run", "-d", "--name", "both", "--network", "six", "--network", "inner", "busybox"];
    engine.docker(&[&args[..], &["sleep", "1000"]].concat())?.ok()?;
    assert_eq!(fetch(&engine, "both", "http://web/")?, "web");
    let route = engine.docker(&["exec", "web", "ip", "route"])?.ok()?;
    assert!(!route.contains("default"), "{route}");
    let route = engine.docker(&["exec", "both", "ip", "route"])?.ok()?;
    assert!(route.contains("default via 172.18.0.1 dev eth0"), "{route}");
    let six = "{{.NetworkSettings.Networks.six.GlobalIPv6Address}}";
    assert_eq!(engine.docker(&["inspect", "-f", six, "both"])?.ok()?, "fd77::2");
    engine.docker(&["exec", "both", "ping", "-6", "-c1", "-W2", "fd77::1"])?.ok()?;
    let outside = engine.docker(&["exec", "web", "ping", "-c1", "-W1", "172.18.0.2"])?;
    assert_ne!(outside.code, 0, "an internal network has no way out: {outside:?}");
    Ok(())
}

#[test]
fn requests_that_cannot_be_are_refused_in_dockers_words() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.docker(&["network", "create", "--subnet", "10.8.0.0/24", "mine"])?.ok()?;
    for (args, sentence) in [
        (&["network", "create", "mine"][..], "network with name mine already exists"),
        (
            &["network", "create", "--subnet", "10.8.0.0/16", "other"],
            "Pool overlaps with other one on this address space",
        ),
        (&["network", "create", "-d", "nope", "other"], "plugin \"nope\" not found"),
        (&["network", "create", "host"], "operation is not permitted on predefined host network"),
        (&["network", "rm", "bridge"], "bridge is a pre-defined network and cannot be removed"),
        (&["network", "inspect", "nope"], "network nope not found"),
        (&["run", "--rm", "--network", "nope", "busybox", "true"], "network nope not found"),
        (
            &["create", "--network", "mine", "--ip", "10.7.0.1", "busybox", "true"],
            "no configured subnet or ip-range contain the IP address 10.7.0.1",
        ),
        (
            &["create", "--ip", "172.17.0.9", "busybox", "true"],
            "user specified IP address is supported on user defined networks only",
        ),
    ] {
        let run = engine.docker(args)?;
        assert!(run.code != 0 && run.stderr.contains(sentence), "{args:?}: {run:?}");
    }
    Ok(())
}

#[test]
fn a_crash_of_the_engine_loses_no_network_name_or_port() -> Result<()> {
    let mut engine = NativeEngine::with_busybox()?;
    engine.docker(&["network", "create", "--label", "a=b", "mine"])?.ok()?;
    serve(&engine, "web", &["--network", "mine", "-p", "8080:80"])?;
    engine.docker(&["run", "-d", "--name", "late", "--network", "mine", "busybox", "sleep", "1000"])?.ok()?;
    engine.crash()?;
    engine.spawn()?;
    assert_eq!(fetch(&engine, "late", "http://web/")?, "web");
    let listed = engine.docker(&["network", "ls", "--filter", "label=a=b", "--format", "{{.Name}}"])?.ok()?;
    assert_eq!(listed, "mine");
    assert_eq!(engine.docker(&["port", "web", "80"])?.ok()?, "0.0.0.0:8080\n[::]:8080");
    let taken = engine.docker(&["run", "--rm", "-p", "8080:80", "busybox", "true"])?.fails(125)?;
    assert!(taken.contains("Bind for 0.0.0.0:8080 failed: port is already allocated"), "{taken}");
    // The next one does not get an address that is in use.
    serve(&engine, "next", &["--network", "mine"])?;
    assert_eq!(fetch(&engine, "late", "http://next/")?, "next");
    Ok(())
}

#[test]
fn two_hundred_containers_by_sixteen_clients_leave_nothing() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.docker(&["network", "create", "mine"])?.ok()?;
    let clients: Vec<_> = (0..16)
        .map(|client| {
            let url = engine.url();
            std::thread::spawn(move || -> Result<()> {
                for turn in 0..13 {
                    let network = if turn % 2 == 0 { "bridge" } else { "mine" };
                    let args = ["run", "--rm", "--network", network, "-p", "80", "busybox", "true"];
                    tests::run::run(&mut tests::host::docker(&url, &args)?)?
                        .ok()
                        .map_err(|error| error.context(format!("client {client}, turn {turn}")))?;
                }
                Ok(())
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap()?;
    }
    engine.docker(&["network", "rm", "mine"])?.ok()?;
    let kept =
        |folder: &str| -> Result<usize> { Ok(std::fs::read_dir(engine.run_root().join(folder))?.count()) };
    eventually("Nothing of 208 containers is left", || {
        let interfaces = engine.in_its_network(&["ls", "/sys/class/net"])?;
        Ok(kept("netns")? <= 1 && !interfaces.contains("veth") && !interfaces.contains("br-"))
    })?;
    assert_eq!(engine.docker(&["ps", "-aq"])?.ok()?, "");
    // One more run shows that ports and addresses are free again.
    let port = ["run", "--rm", "-p", "32768-60999:80", "busybox", "ip", "-4", "addr", "show", "eth0"];
    let address = engine.docker(&port)?.ok()?;
    assert!(address.contains("172.17.0.2/16"), "{address}");
    Ok(())
}

#[test]
fn links_bring_names_and_variables() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    serve(&engine, "db", &["--expose", "80", "-e", "USER=me"])?;
    let linked = ["run", "--rm", "--name", "app", "--link", "db:store", "busybox", "sh", "-c"];
    let script = "wget -qO- http://store/; wget -qO- http://db/; echo $STORE_PORT_80_TCP_PORT $STORE_ENV_USER $STORE_NAME";
    let output = engine.docker(&[&linked[..], &[script]].concat())?.ok()?;
    assert_eq!(output, "db\ndb\n80 me /app/store");
    engine.docker(&["network", "create", "mine"])?.ok()?;
    engine.docker(&["network", "connect", "mine", "db"])?.ok()?;
    let linked = ["run", "--rm", "--network", "mine", "--link", "db:store", "busybox"];
    assert_eq!(engine.docker(&[&linked[..], &["wget", "-qO-", "http://store/"]].concat())?.ok()?, "db");
    let alone = ["run", "--rm", "--network", "mine", "busybox", "wget", "-qO-", "http://store/"];
    assert_ne!(engine.docker(&alone)?.code, 0, "a link is its container's own");
    engine.docker(&["stop", "-t", "0", "db"])?.ok()?;
    let dead = engine.docker(&["run", "--name", "late", "--link", "db", "busybox", "true"])?.fails(125)?;
    assert!(dead.contains("Cannot link to a non running container: /db AS /late/db"), "{dead}");
    Ok(())
}

#[test]
fn a_macvlan_network_needs_a_parent_and_names_its_containers() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.docker(&["network", "create", "carrier"])?.ok()?;
    let bridge = engine.docker(&["network", "inspect", "-f", "br-{{slice .Id 0 12}}", "carrier"])?.ok()?;
    let create = ["network", "create", "-d", "macvlan", "--subnet", "10.6.0.0/24"];
    let without = engine.docker(&[&create[..], &["lan"]].concat())?.fails(1)?;
    assert!(without.contains("without a parent interface"), "{without}");
    let missing = engine.docker(&[&create[..], &["-o", "parent=nope", "lan"]].concat())?.fails(1)?;
    assert!(missing.contains("-o parent interface nope was not found on the host"), "{missing}");
    // A bridge carries nothing before somebody is on it.
    engine.docker(&["run", "-d", "--network", "carrier", "busybox", "sleep", "1000"])?.ok()?;
    let parent = format!("parent={bridge}");
    engine.docker(&[&create[..], &["-o", &parent, "lan"]].concat())?.ok()?;
    serve(&engine, "web", &["--network", "lan"])?;
    engine.docker(&["run", "-d", "--name", "late", "--network", "lan", "busybox", "sleep", "1000"])?.ok()?;
    assert_eq!(fetch(&engine, "late", "http://web/")?, "web");
    Ok(())
}
