//! Two machines at once are two engines.

use anyhow::Result;
use std::os::unix::fs::PermissionsExt;
use tests::Host;

#[test]
fn two_machines_share_nothing_and_their_sockets_are_their_owners() -> Result<()> {
    let host = Host::new()?;
    std::thread::scope(|scope| -> Result<()> {
        let (one, two) =
            (scope.spawn(|| host.create_with_busybox("one")), scope.spawn(|| host.create("two")));
        one.join().unwrap()?;
        two.join().unwrap()
    })?;
    assert_eq!(host.machine(&["ls", "-q"])?.ok()?, "one\ntwo");
    host.docker("one", &["run", "-d", "--name", "only", "busybox", "sleep", "1000"])?.ok()?;
    assert_eq!(host.docker("two", &["ps", "-aq"])?.ok()?, "");
    assert_eq!(host.docker("two", &["images", "-q"])?.ok()?, "");
    assert_ne!(
        host.docker("one", &["info", "-f", "{{.ID}}"])?.ok()?,
        host.docker("two", &["info", "-f", "{{.ID}}"])?.ok()?
    );
    for name in ["one", "two"] {
        let folder = host.folder(name);
        assert_eq!(folder.metadata()?.permissions().mode() & 0o777, 0o700);
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let mode = entry.metadata()?.permissions().mode() & 0o777;
            // Public halves of keys, and certificates, which are shown to whoever connects.
            let public = ["id_ed25519.pub", "ssh_host_ed25519_key.pub", "ca.pem", "cert.pem", "server.pem"];
            let secret = !public.iter().any(|name| entry.file_name() == *name);
            assert!(mode & 0o077 == 0 || !secret, "{} has mode {mode:o}", entry.path().display());
        }
    }
    Ok(())
}
