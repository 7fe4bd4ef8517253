//! `config`, `url --tcp`, `env --tcp` and `regenerate-certs`; that the endpoint works is `tests/tunnel`'s.

use crate::support::Host;
use snapbox::{assert_data_eq, str};
use std::fs;

#[test]
fn the_tls_endpoint_is_named_with_its_certificates() {
    let host = Host::new();
    host.create("dev");
    assert_eq!(host.ok(&["url", "--tcp", "dev"]), "tcp://127.0.0.1:2376\n");
    assert_eq!(host.ok(&["url", "dev"]), "unix://[STORE]/machines/dev/docker.sock\n");
    let store_path = host.ok(&["inspect", "dev", "-f", "{{.HostOptions.AuthOptions.StorePath}}"]);
    assert_eq!(store_path, "[STORE]/machines/dev\n");
    for file in ["ca.pem", "cert.pem", "key.pem", "server.pem", "server-key.pem"] {
        assert!(host.machine_folder("dev").join(file).exists(), "{file}");
    }
    // Nobody is behind the pretended endpoint: `config` and `env --tcp` dial it first.
    for command in [&["config", "dev"][..], &["env", "--tcp", "dev"]] {
        let stderr = host.fails(1, command);
        assert!(stderr.contains("Error checking TLS connection"), "{stderr}");
        assert!(stderr.contains("Could not connect to tcp://127.0.0.1:2376"), "{stderr}");
    }
    host.ok(&["stop", "dev"]);
    assert!(host.fails(1, &["config", "dev"]).contains("Host \"dev\" is not running"));
}

#[test]
fn certificates_are_made_anew_when_that_is_wanted() {
    let host = Host::new();
    host.create("dev");
    host.create("other");
    let read = |path: &str| fs::read(host.store().join(path)).unwrap();
    let (server, authority) = (read("machines/dev/server.pem"), read("certs/ca.pem"));
    let no = host.run_with_input(&["regenerate-certs", "dev"], "n\n");
    assert_data_eq!(
        no.stderr,
        str![[r#"
Regenerate TLS machine certs?  Warning: this is irreversible. (y/n): 
"#]]
    );
    assert_eq!((no.code, read("machines/dev/server.pem")), (0, server.clone()));
    let yes = host.run(&["regenerate-certs", "-f", "dev"]);
    assert_eq!((yes.code, yes.stderr.as_str()), (0, "Regenerating TLS certificates\n"));
    assert_ne!(read("machines/dev/server.pem"), server);
    assert_eq!(read("certs/ca.pem"), authority);
    host.ok(&["regenerate-certs", "-f", "--client-certs", "dev"]);
    assert_ne!(read("certs/ca.pem"), authority);
    assert_ne!(read("machines/other/ca.pem"), read("certs/ca.pem"), "it follows when it is next used");
    host.ok(&["url", "--tcp", "other"]);
    assert_eq!(read("machines/other/ca.pem"), read("certs/ca.pem"));
}

#[test]
fn other_names_and_other_files_are_remembered() {
    let host = Host::new();
    let elsewhere = host.store().with_file_name("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let file = |name: &str| elsewhere.join(name).display().to_string();
    let create = ["create", "-d", "memory", "--tls-san", "build.example", "--tls-san", "10.0.0.9", "dev"];
    let flags = ["--tls-ca-cert", &file("a.pem"), "--tls-ca-key", &file("b.pem")];
    host.ok(&[&flags[..], &create].concat());
    assert!(elsewhere.join("a.pem").exists() && !host.store().join("certs/ca.pem").exists());
    let auth = "{{json .HostOptions.AuthOptions.ServerCertSANs}} {{.HostOptions.AuthOptions.CaCertPath}}";
    let said = host.ok(&["inspect", "dev", "-f", auth]);
    assert_eq!(said, format!("[\"build.example\",\"10.0.0.9\"] {}\n", file("a.pem")));
    let stderr = host.fails(1, &["create", "-d", "memory", "--tls-san", "no name", "bad"]);
    assert!(stderr.contains("\"no name\" is no host name and no address"), "{stderr}");
    assert_eq!(host.entries(), ["dev"]);
}
