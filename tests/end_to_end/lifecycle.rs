//! The README's way through a machine's life.

use anyhow::Result;
use serde_json::Value;
use tests::{Host, pty::Terminal};

#[test]
fn create_run_stop_start_rm() -> Result<()> {
    let host = Host::new()?;
    host.create_with_busybox("dev")?;
    assert_eq!(host.machine(&["status", "dev"])?.ok()?, "Running");
    assert_eq!(host.machine(&["ls", "-q"])?.ok()?, "dev");
    assert!(host.machine(&["ls"])?.ok()?.contains("kvm"));
    let inspected: Value = serde_json::from_str(&host.machine(&["inspect", "dev"])?.ok()?)?;
    assert_eq!((&inspected["Name"], &inspected["DriverName"]), (&"dev".into(), &"kvm".into()));
    assert_eq!(host.machine(&["ip", "dev"])?.ok()?, "127.0.0.1");

    let environment = host.machine(&["env", "--shell", "sh", "dev"])?.ok()?;
    let url = host.url("dev")?;
    assert!(environment.contains(&format!("export DOCKER_HOST=\"{url}\"")), "{environment}");

    assert_eq!(host.docker("dev", &["run", "--rm", "busybox", "echo", "hello"])?.ok()?, "hello");
    assert_eq!(
        host.docker_with_input("dev", &["run", "-i", "--rm", "busybox", "cat"], b"piped")?.ok()?,
        "piped"
    );
    host.docker("dev", &["run", "-d", "--name", "svc", "busybox", "sh", "-c", "echo started; sleep 1000"])?
        .ok()?;
    assert_eq!(host.docker("dev", &["logs", "svc"])?.ok()?, "started");
    assert!(host.docker("dev", &["ps", "--format", "{{.Names}} {{.Image}}"])?.ok()?.contains("svc busybox"));
    let mut exec = host.docker_command("dev", &["exec", "-it", "svc", "sh"])?;
    let mut terminal = Terminal::start(&mut exec, 90, 25)?;
    terminal.expect("# ")?;
    terminal.send("stty size; exit 8\r")?;
    terminal.expect("25 90")?;
    assert_eq!(terminal.wait()?, 8);

    host.machine(&["stop", "dev"])?.ok()?;
    assert_eq!(host.machine(&["status", "dev"])?.ok()?, "Stopped");
    host.machine(&["start", "dev"])?.ok()?;
    assert_eq!(host.docker("dev", &["run", "--rm", "busybox", "echo", "again"])?.ok()?, "again");
    let state = host.docker("dev", &["inspect", "-f", "{{.State.Status}}", "svc"])?.ok()?;
    assert_eq!(state, "exited", "containers are remembered across a reboot");
    host.machine(&["restart", "dev"])?.ok()?;
    host.machine(&["kill", "dev"])?.ok()?;
    assert_eq!(host.machine(&["status", "dev"])?.ok()?, "Stopped");
    host.machine(&["rm", "-y", "dev"])?.ok()?;
    assert_eq!(host.machine(&["ls", "-q"])?.ok()?, "");
    assert!(!host.folder("dev").exists());
    Ok(())
}

#[test]
fn ssh_has_a_shell_a_terminal_and_exit_codes() -> Result<()> {
    let host = Host::new()?;
    host.create("box")?;
    assert_eq!(host.machine(&["ssh", "box", "hostname"])?.ok()?, "box");
    assert_eq!(host.machine(&["ssh", "box", "exit 3"])?.code, 3);
    let mut shell = host.machine_command(&["ssh", "box"])?;
    let mut terminal = Terminal::start(&mut shell, 101, 31)?;
    terminal.expect("# ")?;
    terminal.send("stty size; exit 6\r")?;
    terminal.expect("31 101")?;
    assert_eq!(terminal.wait()?, 6);
    Ok(())
}

#[test]
fn a_container_reaches_the_network_outside() -> Result<()> {
    let host = Host::new()?;
    host.create_with_busybox("net")?;
    // QEMU's own name server answers at 10.0.2.3 whatever the host is connected to; getting a packet
    // there and back takes the bridge, the NAT rules and the guest's default route.
    let run = host.docker("net", &["run", "--rm", "busybox", "cat", "/etc/resolv.conf"])?.ok()?;
    assert!(run.contains("nameserver 10.0.2.3"), "{run}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port().to_string();
    let server = std::thread::spawn(move || -> Result<()> {
        std::io::Write::write_all(&mut listener.accept()?.0, b"from the host\n")?;
        Ok(())
    });
    // 10.0.2.2 is the host as QEMU's user network shows it.
    let said = host.docker("net", &["run", "--rm", "busybox", "nc", "-w", "20", "10.0.2.2", &port])?.ok()?;
    assert_eq!(said, "from the host");
    server.join().unwrap()
}
