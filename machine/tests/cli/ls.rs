//! `ls`.

use crate::support::Host;
use snapbox::{assert_data_eq, str};

#[test]
fn an_empty_store_is_a_heading() {
    let host = Host::new();
    assert_eq!(host.ok(&["ls"]), "NAME   ACTIVE   DRIVER   STATE   URL   SWARM   DOCKER   ERRORS\n");
    assert_eq!(host.ok(&["ls", "-q"]), "");
    assert!(!host.store().exists(), "looking makes nothing");
}

#[test]
fn the_table_is_docker_machines() {
    let mut host = Host::new();
    for name in ["web10", "web2", "Dev"] {
        host.create(name);
    }
    host.ok(&["stop", "web2"]);
    let url = format!("unix://{}/docker.sock", host.machine_folder("Dev").display());
    host.variables.insert("DOCKER_HOST".to_owned(), url);
    let row = "{{.Name}}|{{.Active}}|{{.DriverName}}|{{.State}}|{{.URL}}|{{.DockerVersion}}|{{.Error}}";
    assert_data_eq!(
        host.ok(&["ls", "-f", row]),
        str![[r#"
Dev|*|memory|Running|unix://[STORE]/machines/Dev/docker.sock|Unknown|Unable to query docker version: [..]
web2|-|memory|Stopped||Unknown|
web10|-|memory|Running|unix://[STORE]/machines/web10/docker.sock|Unknown|Unable to query docker version: [..]

"#]]
    );
    assert_eq!(host.ok(&["ls", "-q"]), "Dev\nweb2\nweb10\n");
    assert!(host.ok(&["ls"]).contains("web2    -        memory   Stopped"));
}

#[test]
fn formats() {
    let host = Host::new();
    host.create("dev");
    let json: serde_json::Value = serde_json::from_str(&host.ok(&["ls", "--format", "json"])).unwrap();
    assert_eq!((&json["Name"], &json["State"]), (&"dev".into(), &"Running".into()));
    assert_eq!(host.ok(&["ls", "-f", "table {{.Name}}\\t{{.State}}"]), "NAME   STATE\ndev    Running\n");
    assert!(host.fails(1, &["ls", "-f", "{{range .}}"]).contains("unclosed action"));
    assert!(host.fails(1, &["ls", "-f", "{{template \"x\"}}"]).contains("is not supported"));
}

#[test]
fn filters() {
    let host = Host::new();
    host.ok(&["create", "-d", "memory", "--engine-label", "tier=web", "web1"]);
    host.create("db");
    host.ok(&["kill", "db"]);
    let names = |filters: &[&str]| {
        let mut arguments = vec!["ls", "-q"];
        for filter in filters {
            arguments.extend(["--filter", filter]);
        }
        host.ok(&arguments).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(&["state=stopped"]), ["db"]);
    assert_eq!(names(&["name=^w.b"]), ["web1"]);
    assert_eq!(names(&["name=^w", "name=^d"]), ["db", "web1"]);
    assert_eq!(names(&["name=^w", "state=Stopped"]), [""; 0]);
    assert_eq!(names(&["label=tier=web"]), ["web1"]);
    assert_eq!(names(&["driver=other"]), [""; 0]);
    assert!(host.fails(2, &["ls", "--filter", "x"]).contains("Unsupported filter syntax"));
    assert!(host.fails(2, &["ls", "--filter", "x=y"]).contains("Unsupported filter key 'x'"));
    assert!(host.fails(2, &["ls", "--filter", "name=("]).contains("is wrong"));
}

#[test]
fn machines_that_do_not_answer_hold_up_nobody() {
    let host = Host::new();
    let names: Vec<String> = (0..50).map(|number| format!("m{number}")).collect();
    std::thread::scope(|scope| {
        for chunk in names.chunks(10) {
            let host = &host;
            scope.spawn(move || chunk.iter().for_each(|name| host.create(name)));
        }
    });
    host.guests.silent.lock().unwrap().extend(names.iter().take(10).cloned());
    // The silent ones would be waited for until the harness loses patience.
    let listed = host.ok(&["ls", "-f", "{{.Name}} {{.State}}"]);
    let states: Vec<&str> = listed.lines().map(|line| line.split(' ').next_back().unwrap()).collect();
    assert_eq!(states[..10], ["Timeout"; 10]);
    assert_eq!(states[10..], ["Running"; 40]);
    let timed_out = host.ok(&["ls", "-q", "--filter", "state=Timeout", "--timeout", "0.2"]);
    assert_eq!(timed_out.lines().count(), 10);
}
