//! What a container may ask of the kernel.

use anyhow::Result;
use tests::NativeEngine;

/// System calls that busybox can make and Docker's profile refuses to a container without privileges.
const REFUSED: [&str; 3] = ["unshare -U true", "unshare -m true", "mount -t tmpfs none /tmp"];

#[test]
fn dockers_seccomp_profile_holds_in_containers_and_in_execs() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    engine.docker(&["run", "-d", "--name", "shut", "busybox", "sleep", "1000"])?.ok()?;
    let status = "grep -E '^(Seccomp|NoNewPrivs|CapEff):' /proc/self/status | tr -d '\\t\\n'";
    for prefix in [&["run", "--rm", "busybox"][..], &["exec", "shut"][..]] {
        for user in ["0:0", "1000:1000"] {
            let args = [&prefix[..1], &["-u", user], &prefix[1..], &["sh", "-c"]].concat();
            let run = |script: &str| engine.docker(&[&args[..], &[script]].concat());
            let shown = run(status)?.ok()?;
            let capabilities = if user == "0:0" { "00000000a80425fb" } else { "0000000000000000" };
            assert_eq!(shown, format!("CapEff:{capabilities}NoNewPrivs:0Seccomp:2"), "{args:?}");
            for script in REFUSED {
                let refused = run(script)?.fails(1)?;
                assert!(refused.contains("not permitted") || refused.contains("denied"), "{refused}");
            }
            // Threads, children and pipes go on as ever.
            assert_eq!(run("(echo a & wait) | cat")?.ok()?, "a");
        }
    }
    assert_eq!(engine.docker(&["exec", "shut", "ping", "-c", "1", "127.0.0.1"])?.code, 0);
    let info = engine.docker(&["info", "-f", "{{.SecurityOptions}}"])?.ok()?;
    assert!(info.contains("name=seccomp,profile=builtin"), "{info}");
    Ok(())
}

#[test]
fn the_profile_can_be_lifted_and_replaced() -> Result<()> {
    let engine = NativeEngine::with_busybox()?;
    let mode = |options: &[&str]| {
        let command = ["busybox", "sh", "-c", "grep ^Seccomp: /proc/self/status | tr -dc 0-9"];
        engine.docker(&[&["run", "--rm"], options, &command].concat())?.ok()
    };
    assert_eq!(mode(&["--security-opt", "seccomp=unconfined"])?, "0");
    assert_eq!(mode(&["--privileged"])?, "0");
    assert_eq!(mode(&["--security-opt", "seccomp=builtin", "--security-opt", "no-new-privileges"])?, "2");
    // With the capability, the calls that need it are open.
    let mounted =
        ["run", "--rm", "--cap-add", "SYS_ADMIN", "busybox", "mount", "-t", "tmpfs", "none", "/tmp"];
    engine.docker(&mounted)?.ok()?;

    let profile = engine.data_root().join("profile.json");
    std::fs::write(
        &profile,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],
            "syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#,
    )?;
    let option = format!("seccomp={}", profile.display());
    let full =
        engine.docker(&["run", "--rm", "--security-opt", &option, "busybox", "mkdir", "/tmp/x"])?.fails(1)?;
    assert!(full.contains("No space left on device"), "{full}");
    std::fs::write(&profile, r#"{"defaultAction":"SCMP_ACT_WHATEVER"}"#)?;
    let refused = engine.docker(&["create", "--security-opt", &option, "busybox", "true"])?.fails(1)?;
    assert!(refused.contains("unsupported seccomp action"), "{refused}");
    Ok(())
}
