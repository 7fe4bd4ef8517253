//! Every field of HostConfig and Config that Linux can honour, seen from inside the container; and what
//! is refused or warned about instead.

use anyhow::Result;
use std::{fs, path::Path};
use tests::{NativeEngine, request::request};

/// `docker run OPTIONS busybox sh -c SCRIPT` prints what is expected.
struct Seen<'a> {
    options: &'a [&'a str],
    script: &'a str,
    expected: &'a str,
}

fn check(engine: &NativeEngine, cases: &[Seen<'_>]) -> Result<()> {
    let mut wrong = Vec::new();
    for Seen { options, script, expected } in cases {
        let run = engine.docker(&[&["run", "--rm"], *options, &["busybox", "sh", "-c", script]].concat())?;
        if run.stdout.trim() != *expected {
            wrong.push(format!("{options:?} {script}\n  {expected:?} expected\n  {run:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn privileges_are_what_was_asked_for() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let capabilities = "grep CapEff /proc/self/status | cut -f2";
    // Nobody has device 1:10; opening it says whether the rules let one try.
    let open = "mknod /tmp/d c 1 10; sh -c 'exec 3</tmp/d' 2>&1 | grep -c 'not permitted'";
    let masks = "grep -cE ' /proc/(kcore|keys|timer_list) ' /proc/self/mounts";
    check(
        &engine,
        &[
            Seen { options: &[], script: capabilities, expected: "00000000a80425fb" },
            Seen {
                options: &["--cap-drop", "ALL", "--cap-add", "chown", "--cap-add", "CAP_KILL"],
                script: capabilities,
                expected: "0000000000000021",
            },
            Seen { options: &[], script: open, expected: "1" },
            Seen { options: &["--device-cgroup-rule", "c 1:* r"], script: open, expected: "0" },
            Seen { options: &["--privileged"], script: open, expected: "0" },
            Seen {
                options: &["--device", "/dev/null:/dev/mine:r"],
                script: "stat -c '%t:%T' /dev/mine",
                expected: "1:3",
            },
            Seen {
                options: &["--privileged"],
                script: "grep Seccomp: /proc/self/status | cut -f2",
                expected: "0",
            },
            Seen {
                options: &["--security-opt", "no-new-privileges"],
                script: "grep NoNewPrivs /proc/self/status | cut -f2",
                expected: "1",
            },
            Seen { options: &["--privileged"], script: masks, expected: "0" },
            Seen { options: &["--security-opt", "systempaths=unconfined"], script: masks, expected: "0" },
            Seen { options: &[], script: "grep -c ' /proc/sys .*ro,' /proc/self/mounts", expected: "1" },
            Seen {
                options: &["--privileged"],
                script: "grep -E ' (/sys|/proc/sys) ' /proc/self/mounts | grep -c ' ro,'",
                expected: "0",
            },
            Seen {
                options: &["--read-only"],
                script: "touch /x 2>&1",
                expected: "touch: /x: Read-only file system",
            },
            Seen { options: &["--group-add", "77", "-u", "5"], script: "id -G", expected: "0 77" },
        ],
    )
}

#[test]
fn limits_reach_the_kernel() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    check(
        &engine,
        &[
            Seen {
                options: &["--ulimit", "nofile=123:456"],
                script: "ulimit -n; ulimit -Hn",
                expected: "123\n456",
            },
            Seen {
                // Fewer than it takes to become a container.
                options: &["--ulimit", "nofile=4:10"],
                script: "ulimit -n; ulimit -Hn",
                expected: "4\n10",
            },
            Seen {
                options: &["--shm-size", "5m"],
                script: "df -k /dev/shm | tail -1 | awk '{print $2}'",
                expected: "5120",
            },
            Seen {
                options: &["--oom-score-adj", "500"],
                script: "cat /proc/self/oom_score_adj",
                expected: "500",
            },
            Seen {
                options: &["--cpuset-cpus", "0"],
                script: "grep Cpus_allowed_list /proc/self/status | cut -f2",
                expected: "0",
            },
            Seen {
                options: &["--sysctl", "net.core.somaxconn=77", "--sysctl", "kernel.shmmni=99"],
                script: "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shmmni",
                expected: "77\n99",
            },
            Seen {
                options: &["--cgroup-parent", "/mine/below", "--cgroupns", "host"],
                script: "grep -c '/mine/below/[0-9a-f]*$' /proc/self/cgroup | grep -vc '^0$'",
                expected: "1",
            },
        ],
    )?;
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return check(
            &engine,
            &[Seen {
                options: &["--cpu-shares", "512"],
                script: "cat /sys/fs/cgroup/cpu.weight",
                expected: "20",
            }],
        );
    }
    check(
        &engine,
        &[
            Seen {
                options: &["--cpu-shares", "512"],
                script: "cat /sys/fs/cgroup/cpu/cpu.shares",
                expected: "512",
            },
            Seen {
                options: &[
                    "-m",
                    "32m",
                    "--memory-swappiness",
                    "7",
                    "--oom-kill-disable",
                    "--memory-reservation",
                    "16m",
                ],
                script: "cd /sys/fs/cgroup/memory; cat memory.swappiness memory.soft_limit_in_bytes; head -1 memory.oom_control",
                expected: "7\n16777216\noom_kill_disable 1",
            },
        ],
    )
}

#[test]
fn namespaces_and_names() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let own = |kind: &str| -> Result<String> {
        Ok(fs::read_link(format!("/proc/self/ns/{kind}"))?.to_string_lossy().into_owned())
    };
    let (pid, uts, ipc, cgroup) = (own("pid")?, own("uts")?, own("ipc")?, own("cgroup")?);
    let domain = "cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname";
    engine
        .docker(&["run", "-d", "--name", "donor", "--ipc", "shareable", "busybox", "sleep", "1000"])?
        .ok()?;
    let shared = engine.docker(&["exec", "donor", "readlink", "/proc/self/ns/ipc"])?.ok()?;
    let processes = engine.docker(&["exec", "donor", "readlink", "/proc/self/ns/pid"])?.ok()?;
    let (ns_pid, ns_ipc) = ("readlink /proc/self/ns/pid", "readlink /proc/self/ns/ipc");
    check(
        &engine,
        &[
            Seen { options: &["--pid", "host"], script: ns_pid, expected: &pid },
            Seen { options: &["--uts", "host"], script: "readlink /proc/self/ns/uts", expected: &uts },
            Seen { options: &["--ipc", "host"], script: ns_ipc, expected: &ipc },
            Seen {
                options: &["--cgroupns", "host"],
                script: "readlink /proc/self/ns/cgroup",
                expected: &cgroup,
            },
            Seen { options: &["--ipc", "container:donor"], script: ns_ipc, expected: &shared },
            Seen { options: &["--pid", "container:donor"], script: ns_pid, expected: &processes },
            Seen {
                options: &["--ipc", "none"],
                script: "ls /dev/shm 2>&1 | wc -l; grep -c /dev/shm /proc/mounts",
                expected: "1\n0",
            },
            Seen {
                options: &["-h", "web", "--domainname", "d.example"],
                script: domain,
                expected: "web\nd.example",
            },
            Seen {
                options: &[
                    "--add-host",
                    "db:10.0.0.9",
                    "--dns",
                    "10.9.9.9",
                    "--dns-search",
                    "x.y",
                    "--dns-option",
                    "ndots:3",
                ],
                script: "grep -c '^10.0.0.9.db$' /etc/hosts; grep -cE '^(nameserver 10.9.9.9|search x.y|options ndots:3)$' /etc/resolv.conf",
                expected: "1\n3",
            },
        ],
    )?;
    engine.docker(&["run", "-d", "--name", "private", "busybox", "sleep", "1000"])?.ok()?;
    let refused = engine.docker(&["run", "--rm", "--ipc", "container:private", "busybox", "true"])?;
    assert!(refused.stderr.contains("non-shareable IPC"), "{refused:?}");
    Ok(())
}

#[test]
fn what_cannot_be_done_is_refused_in_dockerds_words() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let mut wrong = Vec::new();
    for (host, sentence) in [
        (r#""CapAdd":["FLY"]"#, r#"invalid CapAdd: unknown capability: \"CAP_FLY\""#),
        (r#""CapDrop":["FLY"]"#, r#"invalid CapDrop: unknown capability: \"CAP_FLY\""#),
        (r#""DeviceCgroupRules":["all"]"#, "invalid device cgroup rule format: 'all'"),
        (
            r#""DeviceRequests":[{"Count":-1,"Capabilities":[["gpu"]]}]"#,
            r#"could not select device driver \"\" with capabilities: [[gpu]]"#,
        ),
        (r#""SecurityOpt":["x"]"#, r#"invalid --security-opt 1: \"x\""#),
        (r#""SecurityOpt":["x=y"]"#, r#"invalid --security-opt 2: \"x=y\""#),
        (r#""ShmSize":-1"#, "SHM size can not be less than 0"),
        (r#""OomScoreAdj":1001"#, "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
        (r#""Memory":4096"#, "Minimum memory limit allowed is 6MB"),
        (r#""CpusetCpus":"900""#, "Requested CPUs are not available - requested 900, available: "),
        (r#""CpuRealtimePeriod":5"#, "Your kernel does not support cgroup cpu real-time period"),
        (
            r#""IOMaximumIOps":5"#,
            "Invalid QoS settings: linux does not support configuration of maximum IOPs",
        ),
        (r#""IpcMode":"x""#, "invalid IPC mode: x"),
        (r#""PidMode":"x""#, "invalid PID mode: x"),
        (r#""UTSMode":"x""#, "invalid UTS mode: x"),
        (r#""UsernsMode":"x""#, "invalid user namespace mode: x"),
        (r#""CgroupnsMode":"x""#, "invalid cgroup namespace mode: x"),
        (r#""Isolation":"hyperv""#, r#"Invalid isolation: \"hyperv\" - linux only supports 'default'"#),
        (r#""Runtime":"x""#, "unknown or invalid runtime name: x"),
        (r#""Annotations":{"":"x"}"#, "invalid Annotations: the empty string is not permitted"),
        (r#""ExtraHosts":["x"]"#, r#"bad format for add-host: \"x\""#),
        (r#""ExtraHosts":["x:y"]"#, r#"invalid IP address in add-host: \"y\""#),
        (
            r#""RestartPolicy":{"Name":"sometimes"}"#,
            "invalid restart policy: unknown policy 'sometimes'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
        ),
        (
            r#""RestartPolicy":{"Name":"always","MaximumRetryCount":3}"#,
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ),
        (r#""Memory":"much""#, "invalid JSON: "),
        (r#""Memory":99999999999999999999999"#, "invalid JSON: "),
    ] {
        let body = format!(r#"{{"Image":"busybox","Cmd":["true"],"HostConfig":{{{host}}}}}"#);
        let (status, answer) = request(&engine, "POST /v1.45/containers/create", &body)?;
        if status != 400 || !answer.contains(sentence) {
            wrong.push(format!("{host}: {status} {answer}"));
        }
    }
    // Found out only at the start, as under dockerd.
    let sysctl = engine.docker(&[
        "run",
        "--rm",
        "--network",
        "host",
        "--sysctl",
        "net.core.somaxconn=1",
        "busybox",
        "true",
    ])?;
    if !sysctl.stderr.contains(
        r#"runc create failed: sysctl "net.core.somaxconn" not allowed in host network namespace: unknown"#,
    ) {
        wrong.push(format!("{sysctl:?}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(engine.docker(&["ps", "-aq"])?.ok()?, "");
    Ok(())
}

#[test]
fn what_has_no_effect_is_warned_about() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let body =
        r#"{"Image":"busybox","Cmd":["true"],"HostConfig":{"CpuPercent":5,"SecurityOpt":["apparmor=mine"]}}"#;
    let (status, answer) = request(&engine, "POST /v1.45/containers/create", body)?;
    assert_eq!(status, 201, "{answer}");
    for warning in
        ["linux does not support CPU percent. Percent discarded.", "AppArmor is not used by this engine"]
    {
        assert!(answer.contains(warning), "{answer}");
    }
    let (status, answer) = request(&engine, "POST /v1.45/containers/create?platform=linux/riscv64", body)?;
    assert_eq!(status, 404, "{answer}");
    assert!(answer.contains("does not match the specified platform: wanted linux/riscv64"), "{answer}");
    Ok(())
}

#[test]
fn the_files_over_etc_are_there_whatever_is_mounted_around_them() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let there = "ls /etc";
    let line = fs::read_to_string("/etc/hosts")?.lines().next().unwrap_or_default().to_owned();
    check(
        &engine,
        &[
            Seen { options: &["--tmpfs", "/etc"], script: there, expected: "hostname\nhosts\nresolv.conf" },
            Seen {
                options: &["-v", "own:/etc:nocopy"],
                script: there,
                expected: "hostname\nhosts\nresolv.conf",
            },
            Seen { options: &["--read-only"], script: "echo >> /etc/hosts || echo kept", expected: "kept" },
            Seen { options: &[], script: "echo >> /etc/hosts && echo mine", expected: "mine" },
            Seen { options: &["--network", "host"], script: "head -n 1 /etc/hosts", expected: line.trim() },
        ],
    )
}

#[test]
fn a_container_does_not_change_its_own_limits() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let script = "for folder in /sys/fs/cgroup /sys/fs/cgroup/*/; do mkdir $folder/own 2>/dev/null && echo $folder; \
                  done; echo tried";
    check(&engine, &[Seen { options: &[], script, expected: "tried" }])
}

#[test]
fn resource_limits_count_for_execs_and_impossible_ones_are_told() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine
        .docker(&["run", "-d", "--name", "box", "--ulimit", "nofile=9:11", "busybox", "sleep", "1000"])?
        .ok()?;
    assert_eq!(engine.docker(&["exec", "box", "sh", "-c", "ulimit -n; ulimit -Hn"])?.ok()?, "9\n11");
    let beyond = "nofile=9999999999:9999999999";
    let told =
        engine.docker(&["run", "--name", "never", "--ulimit", beyond, "busybox", "true"])?.fails(125)?;
    assert!(told.contains("error setting rlimit type 7: operation not permitted"), "{told}");
    assert_eq!(
        engine.docker(&["inspect", "-f", "{{.State.Status}} {{.State.Pid}}", "never"])?.ok()?,
        "created 0"
    );
    Ok(())
}
