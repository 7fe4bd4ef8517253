//! Many commands at once.

use crate::support::Host;
use std::{collections::BTreeSet, thread};

#[test]
fn thirty_creates_into_an_empty_store() {
    let host = Host::new();
    let names: Vec<String> = (0..30).map(|number| format!("m{number}")).collect();
    thread::scope(|scope| names.iter().for_each(|name| _ = scope.spawn(|| host.create(name))));
    let listed = host.ok(&["ls", "-q"]);
    assert_eq!(listed.lines().collect::<Vec<_>>(), names);
    let ids: BTreeSet<String> =
        names.iter().map(|name| host.ok(&["inspect", "-f", "{{.Machine.ID}}", name])).collect();
    assert_eq!(ids.len(), 30);
    let all: Vec<&str> = ["rm", "-y"].into_iter().chain(names.iter().map(String::as_str)).collect();
    host.ok(&all);
    assert!(host.entries().is_empty());
}

#[test]
fn of_thirty_creates_of_one_name_one_succeeds() {
    let host = Host::new();
    let created = thread::scope(|scope| {
        let creates: Vec<_> =
            (0..30).map(|_| scope.spawn(|| host.run(&["create", "-d", "memory", "dev"]))).collect();
        let runs: Vec<_> = creates.into_iter().map(|create| create.join().unwrap()).collect();
        for run in runs.iter().filter(|run| run.code != 0) {
            assert!(run.code == 1 && run.stderr.contains("already exists"), "{run:?}");
        }
        runs.iter().filter(|run| run.code == 0).count()
    });
    assert_eq!(created, 1);
    assert_eq!(
        (host.ok(&["status", "dev"]), host.entries()),
        ("Running\n".to_owned(), vec!["dev".to_owned()])
    );
}

#[test]
fn commands_on_one_machine_take_turns() {
    let host = Host::new();
    host.create("dev");
    thread::scope(|scope| {
        for command in ["stop", "start", "restart", "kill", "start", "ls", "status", "inspect"] {
            for _ in 0..3 {
                let host = &host;
                let all = ["ls"];
                let one = [command, "dev"];
                scope.spawn(move || host.ok(if command == "ls" { &all } else { &one }));
            }
        }
    });
    host.ok(&["start", "dev"]);
    host.ok(&["rm", "-y", "dev"]);
}
