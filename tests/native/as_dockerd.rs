//! Answers compared with those of dockerd 26.1.5 on this kernel, where a script or a tool may look.

use anyhow::Result;
use serde_json::{Value, json};
use tests::{NativeEngine, request::request};

fn json_of(engine: &NativeEngine, head: &str, body: &str) -> Result<Value> {
    let (status, answer) = request(engine, head, body)?;
    assert!((200..300).contains(&status), "{head}: {status} {answer}");
    Ok(serde_json::from_str(&answer)?)
}

#[test]
fn inspect_has_dockerds_defaults() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let body = r#"{"Image":"busybox","Cmd":["sleep","1000"],"WorkingDir":"/w//x/","NetworkDisabled":true,
        "Healthcheck":{"Test":[]},"HostConfig":{"PidsLimit":-1,"MemorySwappiness":-1,"StorageOpt":{},
        "RestartPolicy":{"Name":""},"Privileged":true,"PortBindings":{"80/tcp":[{}]},
        "Mounts":[{"Type":"volume","Source":"vol","Target":"/v","ReadOnly":false,"VolumeOptions":{"Labels":{}}}]}}"#;
    json_of(&engine, "POST /containers/create?name=box", body)?;
    let seen = json_of(&engine, "GET /containers/box/json", "")?;
    let (config, host) = (&seen["Config"], &seen["HostConfig"]);
    assert_eq!(config["WorkingDir"], "/w/x");
    assert_eq!(config["Healthcheck"], json!({}));
    assert_eq!(seen["LogPath"], "");
    assert_eq!(seen["NetworkSettings"]["Networks"], json!({}));
    for key in
        ["PidsLimit", "MemorySwappiness", "Dns", "DnsOptions", "DnsSearch", "Devices", "BlkioDeviceReadBps"]
    {
        assert_eq!(host[key], Value::Null, "{key}");
    }
    assert_eq!(host["RestartPolicy"], json!({ "Name": "no", "MaximumRetryCount": 0 }));
    assert_eq!(host["SecurityOpt"], json!(["label=disable"]));
    assert_eq!(host["PortBindings"], json!({ "80/tcp": [{ "HostIp": "", "HostPort": "" }] }));
    assert_eq!(
        host["Mounts"],
        json!([{ "Type": "volume", "Source": "vol", "Target": "/v", "VolumeOptions": {} }])
    );
    assert!(host.get("StorageOpt").is_none());
    engine.docker(&["start", "box"])?.ok()?;
    let seen = json_of(&engine, "GET /containers/box/json", "")?;
    assert!(seen["LogPath"].as_str().is_some_and(|path| path.ends_with("-json.log")));
    let merged = seen["GraphDriver"]["Data"]["MergedDir"].as_str().unwrap_or_default().to_owned();
    assert!(std::path::Path::new(&merged).join("bin/busybox").exists(), "{merged}");
    assert_eq!(engine.docker(&["exec", "box", "ls", "/sys/class/net"])?.ok()?, "lo");
    Ok(())
}

#[test]
fn a_stopped_container_keeps_the_ids_of_its_networks() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let id = engine.docker(&["network", "create", "one"])?.ok()?;
    engine
        .docker(&["run", "--name", "box", "--network", "one", "--network-alias", "al", "busybox", "true"])?
        .ok()?;
    let seen = engine.docker(&["inspect", "-f", "{{json .NetworkSettings.Networks.one}}", "box"])?.ok()?;
    let seen: Value = serde_json::from_str(&seen)?;
    assert_eq!((&seen["NetworkID"], &seen["IPAddress"]), (&json!(id), &json!("")));
    engine.docker(&["create", "--name", "linked", "--link", "box:alias", "busybox"])?.ok()?;
    let links = engine.docker(&["inspect", "-f", "{{json .HostConfig.Links}}", "linked"])?.ok()?;
    assert_eq!(links, r#"["/box:/linked/alias"]"#);
    engine.docker(&["create", "--name", "mac", "--mac-address", "02:42:ac:11:00:99", "busybox"])?.ok()?;
    let mac =
        engine.docker(&["inspect", "-f", "{{.NetworkSettings.Networks.bridge.MacAddress}}", "mac"])?.ok()?;
    assert_eq!(mac, "02:42:ac:11:00:99");
    Ok(())
}

#[test]
fn processes_start_as_under_runc() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let run = |args: &[&str]| engine.docker(&[&["run", "--rm"], args].concat());
    assert_eq!(run(&["-w", "/a/b/c", "busybox", "pwd"])?.ok()?, "/a/b/c", "made where it is missing");
    assert_eq!(run(&["-w", "/v/x", "-v", "vol:/v", "-u", "7", "busybox", "pwd"])?.ok()?, "/v/x");
    assert_eq!(run(&["-v", "vol:/v", "busybox", "ls", "/v"])?.ok()?, "x");
    let groups = ["--group-add", "10", "--user", "1:2", "busybox", "id", "-G"];
    assert_eq!(run(&groups)?.ok()?, "2 10", "the primary group is among them");
    let refused = run(&["busybox", "/etc"])?.fails(126)?;
    assert!(refused.contains("exec: \"/etc\": is a directory: unknown: permission denied"), "{refused}");
    run(&["busybox", "nosuch"])?.fails(127)?;
    engine.docker(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])?.ok()?;
    for command in [&["nosuch"][..], &["/etc"]] {
        engine.docker(&[&["exec", "box"], command].concat())?.fails(126)?;
    }
    engine.docker(&["exec", "-u", "nosuch", "box", "true"])?.fails(126)?;
    engine.docker(&["exec", "box", "sh", "-c", "exit 3"])?.fails(3)?;
    Ok(())
}

#[test]
fn events_come_in_dockerds_order() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.docker(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])?.ok()?;
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
    engine.docker(&["exec", "box", "nosuch"])?.fails(126)?;
    engine.docker(&["top", "box"])?.ok()?;
    request(&engine, "POST /containers/box/resize?h=20&w=30", "")?;
    engine.docker(&["commit", "box", "made:1"])?.ok()?;
    engine.docker(&["network", "create", "one"])?.ok()?;
    engine.docker(&["stop", "-t", "0", "box"])?.ok()?;
    engine.docker(&["network", "connect", "one", "box"])?.ok()?;
    engine.docker(&["network", "disconnect", "one", "box"])?.ok()?;
    engine.docker(&["container", "prune", "-f"])?.ok()?;
    let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
    let format = "{{.Type}} {{.Action}}";
    let (since, until) = (format!("{since:.6}"), format!("{until:.6}"));
    let seen = engine.docker(&["events", "--since", &since, "--until", &until, "--format", format])?.ok()?;
    let expected = [
        "container exec_create: nosuch ",
        "container exec_start: nosuch ",
        "container top",
        "container resize",
        "container pause",
        "image tag",
        "container commit",
        "container unpause",
        "network create",
        "container kill",
        "container kill",
        "network disconnect",
        "network disconnect",
        "container destroy",
        "container prune",
    ];
    // Which of these two is first is open, with dockerd as well.
    let ends = |line: &&str| !matches!(*line, "container die" | "container stop");
    assert_eq!(seen.lines().filter(ends).collect::<Vec<_>>(), expected);
    Ok(())
}

#[test]
fn filters_of_ps_and_images_mean_what_they_mean_to_dockerd() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine
        .docker(&["run", "-d", "--name", "box", "-p", "127.0.0.1:18081:80", "busybox", "sleep", "1000"])?
        .ok()?;
    let names =
        |filter: &str| engine.docker(&["ps", "-a", "--format", "{{.Names}}", "--filter", filter])?.ok();
    assert_eq!(
        (names("publish=18081")?, names("publish=80")?),
        ("box".into(), String::new()),
        "the host's port"
    );
    assert_eq!((names("expose=80")?, names("isolation=x")?), ("box".into(), "box".into()));
    assert_eq!(names("name=(")?, "");
    engine.docker(&["tag", "busybox", "repo/image:1"])?.ok()?;
    let images = ["image", "ls", "--format", "{{.Tag}}", "--filter"];
    assert_eq!(engine.docker(&[&images[..], &["reference=repo/image:[12]"]].concat())?.ok()?, "1");
    assert_eq!(engine.docker(&[&images[..], &["reference=repo/image:[^12]"]].concat())?.ok()?, "");
    Ok(())
}

#[test]
fn an_update_of_limits_keeps_the_restart_policy() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let policy = ["--restart", "on-failure:5", "-m", "64m"];
    engine.docker(&[&["create", "--name", "box"], &policy[..], &["busybox"]].concat())?.ok()?;
    engine.docker(&["create", "--rm", "--name", "brief", "busybox"])?.ok()?;
    // The client sends a policy without a name along with every change.
    for name in ["box", "brief"] {
        engine.docker(&["update", "--cpus", "0.5", name])?.ok()?;
    }
    let fields = "{{with .HostConfig}}{{.RestartPolicy.Name}} {{.RestartPolicy.MaximumRetryCount}} {{.NanoCpus}}{{end}}";
    assert_eq!(engine.docker(&["inspect", "-f", fields, "box"])?.ok()?, "on-failure 5 500000000");
    for (change, sentence) in [
        (["-m", "256m"], "Memory limit should be smaller than already set memoryswap limit"),
        (["--cpu-quota", "5000"], "CPU Quota cannot be updated as NanoCPUs has already been set"),
    ] {
        let refused = engine.docker(&[&["update"], &change[..], &["box"]].concat())?.fails(1)?;
        assert!(refused.contains("Cannot update container ") && refused.contains(sentence), "{refused}");
    }
    Ok(())
}

#[test]
fn a_limit_of_processes_is_lifted_while_the_container_runs() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let limit = || {
        let max = "cat /sys/fs/cgroup/pids.max || cat /sys/fs/cgroup/pids/pids.max";
        engine.docker(&["exec", "box", "sh", "-c", &format!("({max}) 2>/dev/null")])?.ok()
    };
    let unconfined = engine.folder().join("nothing.json");
    std::fs::write(&unconfined, "{}")?;
    let profile = format!("seccomp={}", unconfined.display());
    let options = ["--pids-limit", "20", "--security-opt", &profile];
    engine
        .docker(&[&["run", "-d", "--name", "box"], &options[..], &["busybox", "sleep", "1000"]].concat())?
        .ok()?;
    assert_eq!(limit()?, "20");
    engine.docker(&["update", "--pids-limit", "-1", "box"])?.ok()?;
    assert_eq!(limit()?, "max");
    assert_eq!(engine.docker(&["inspect", "-f", "{{.HostConfig.PidsLimit}}", "box"])?.ok()?, "0");
    // A profile that says nothing is none, as in dockerd.
    let seccomp = engine.docker(&["exec", "box", "grep", "Seccomp:", "/proc/1/status"])?.ok()?;
    assert!(seccomp.ends_with('0'), "{seccomp}");
    Ok(())
}

#[test]
fn mistakes_are_told_in_dockerds_words() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.docker(&["create", "--name", "box", "busybox", "sleep", "1000"])?.ok()?;
    engine.docker(&["network", "create", "--subnet", "10.9.0.0/24", "mine"])?.ok()?;
    let ip_on_bridge = "invalid endpoint settings:\n\
                        * user specified IP address is supported on user defined networks only\n\
                        * user specified IP address is supported only when connecting to networks with user configured \
                        subnets";
    for (args, code, sentence) in [
        // A 404 would have the client pull the image.
        (
            "run --rm --network container:nobody busybox true",
            125,
            "response from daemon: No such container: nobody",
        ),
        ("run --rm --ip 10.9.0.5 busybox true", 125, ip_on_bridge),
        ("run --rm --network mine --ip 10.9.0.255 busybox true", 125, "Address already in use"),
        ("run --rm --network mine --ip6 x busybox true", 125, "invalid IPv6 address: x"),
        ("run --rm --mount type=wrong,src=/a,dst=/b busybox true", 125, "type \"wrong\": mount type unknown"),
        ("run --rm -v /a:/b:nocopy busybox true", 125, "field VolumeOptions must not be specified"),
        (
            "run --rm --device /dev/none:/x busybox true",
            127,
            "device \"/dev/none\": no such file or directory",
        ),
        ("run --rm -w /etc/passwd busybox true", 125, "Cannot mkdir: /etc/passwd is not a directory"),
        ("run --rm -v /etc:/etc/passwd busybox true", 125, "Are you trying to mount a directory onto a file"),
        ("run --rm -v /etc/passwd:/etc busybox true", 125, "Are you trying to mount a directory onto a file"),
        ("cp box:/etc/passwd/. here", 1, "/etc/passwd/.: not a directory"),
        ("kill nobody", 1, "cannot kill container: nobody: No such container: nobody"),
        ("restart -s NONE box", 1, "Cannot restart container box: invalid signal: NONE"),
        ("network connect host box", 1, "container cannot be disconnected from host network or connected to"),
        (
            "network create --subnet 10.9.1.0/24 --gateway 10.9.1.0 x",
            1,
            "failed to allocate gateway (10.9.1.0)",
        ),
        (
            "network create --subnet 10.9.0.0/16 x",
            1,
            "daemon: Pool overlaps with other one on this address space",
        ),
    ] {
        let run = engine.docker(&args.split(' ').collect::<Vec<_>>())?;
        assert!(run.code == code && run.stderr.contains(sentence), "{args}: {run:?}");
    }
    let (status, answer) = request(&engine, "POST /networks/create", "{}")?;
    assert_eq!((status, answer.trim()), (400, r#"{"message":"invalid name: "}"#));
    Ok(())
}

#[test]
fn networks_are_found_by_pattern_and_use() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    for name in ["one", "one-more"] {
        engine.docker(&["network", "create", name])?.ok()?;
    }
    engine.docker(&["run", "-d", "--network", "one", "busybox", "sleep", "1000"])?.ok()?;
    for (filter, found) in [
        ("name=one", &["none", "one", "one-more"][..]),
        ("name=^one$", &["one"]),
        ("name=[", &[]),
        ("dangling=true", &["one-more"]),
        ("dangling=false", &["bridge", "host", "none", "one"]),
    ] {
        let listed = engine.docker(&["network", "ls", "--format", "{{.Name}}", "-f", filter])?.ok()?;
        let mut names: Vec<&str> = listed.lines().collect();
        names.sort_unstable();
        assert_eq!(names, found, "{filter}");
    }
    Ok(())
}

#[test]
fn ipv6_subnets_without_ipv6_are_told_and_not_used() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let body = r#"{"Name":"six","IPAM":{"Config":[{"Subnet":"10.9.0.0/24"},{"Subnet":"fd09::/64"}]}}"#;
    json_of(&engine, "POST /networks/create", body)?;
    let ipam = &json_of(&engine, "GET /networks/six", "")?["IPAM"];
    let subnets = json!([{ "Subnet": "10.9.0.0/24" }, { "Subnet": "fd09::/64" }]);
    assert_eq!(ipam, &json!({ "Driver": "default", "Options": null, "Config": subnets }));
    let run =
        ["run", "--rm", "--network", "six", "--ip6", "fd09::9", "busybox", "ip", "addr", "show", "eth0"];
    let addresses = engine.docker(&run)?.ok()?;
    assert!(addresses.contains("10.9.0.2") && !addresses.contains("fd09::9"), "{addresses}");
    let outside = ["run", "--rm", "--network", "six", "--ip6", "fd01::9", "busybox", "true"];
    let refused = engine.docker(&outside)?.fails(125)?;
    assert!(refused.contains("no configured subnet or ip-range contain the IP address fd01::9"), "{refused}");
    Ok(())
}
