//! `rm`.

use crate::support::Host;
use machine_drivers::{DriverError, testing::Step};
use snapbox::{assert_data_eq, str};

#[test]
fn it_asks_first() {
    let host = Host::new();
    host.create("dev");
    let no = host.run_with_input(&["rm", "dev"], "n\n");
    assert_eq!(no.code, 0);
    assert_data_eq!(
        no.stderr,
        str![[r#"
About to remove dev
WARNING: This action will delete both local reference and remote instance.
Are you sure? (y/n): 
"#]]
    );
    assert_eq!(host.entries(), ["dev"]);
    let yes = host.run_with_input(&["rm", "dev"], "y\n");
    assert!(yes.stderr.ends_with("Successfully removed dev\n"), "{yes:?}");
    assert!(host.entries().is_empty());
}

#[test]
fn nobody_to_ask_is_an_error() {
    let host = Host::new();
    host.create("dev");
    assert!(host.fails(1, &["rm", "dev"]).contains("Hint: Say so with -y"));
    assert_eq!(host.entries(), ["dev"]);
}

#[test]
fn a_running_machine_goes_with_its_vm_and_keeper() {
    let host = Host::new();
    host.create("dev");
    host.ok(&["rm", "dev", "-y"]);
    assert!(host.driver.calls().contains(&Step::Remove));
    assert!(!host.kept("dev"));
    assert_eq!(host.ok(&["ls", "-q"]), "");
}

#[test]
fn what_the_driver_refuses_to_remove_goes_with_force() {
    let host = Host::new();
    host.create("dev");
    host.driver.fail_next(Step::Remove, DriverError::Provider { what: "The provider is down".to_owned() });
    let stderr = host.fails(1, &["rm", "-y", "dev"]);
    assert!(
        stderr.contains("Error: Error removing host \"dev\"\nCaused by: The provider is down\n"),
        "{stderr}"
    );
    let run = host.run(&["status", "dev"]);
    assert_eq!(run.stdout, "Error\n");
    assert!(run.stderr.contains("rm was interrupted; finish it with machine rm dev"), "{run:?}");
    host.driver.fail_next(Step::Remove, DriverError::Provider { what: "The provider is down".to_owned() });
    let run = host.run(&["rm", "-f", "dev"]);
    assert_eq!(run.code, 0);
    assert!(run.stderr.contains("Warning: The provider is down; only the local record"), "{run:?}");
    assert!(host.entries().is_empty());
}

#[test]
fn an_absent_machine_is_an_error_unless_forced() {
    let host = Host::new();
    let stderr = host.fails(1, &["rm", "-y", "dev"]);
    assert!(
        stderr.contains("Error: Docker machine \"dev\" does not exist\nHint: \"machine ls\" lists"),
        "{stderr}"
    );
    assert_eq!(host.run(&["rm", "-f", "dev"]).code, 0);
    assert!(!host.store().exists());
}
