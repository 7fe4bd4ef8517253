//! `env`, `url`, `ip` and `active`.

use crate::support::Host;
use snapbox::{assert_data_eq, str};

fn host() -> Host {
    let host = Host::new();
    host.create("dev");
    host
}

#[test]
fn every_shell_is_spoken_to() {
    let host = host();
    let env = |shell: &str| host.ok(&["env", "--shell", shell, "dev"]);
    let posix = str![[r#"
export DOCKER_HOST="unix://[STORE]/machines/dev/docker.sock"
export MACHINE_NAME="dev"
# Run this command to configure your shell: 
# eval $(machine env --shell [..] dev)

"#]];
    for shell in ["sh", "bash", "zsh"] {
        assert_data_eq!(env(shell), posix.clone());
    }
    assert_data_eq!(
        env("fish"),
        str![[r#"
set -gx DOCKER_HOST "unix://[STORE]/machines/dev/docker.sock";
set -gx MACHINE_NAME "dev";
# Run this command to configure your shell: 
# eval (machine env --shell fish dev)

"#]]
    );
    assert_data_eq!(
        env("powershell"),
        str![[r#"
$Env:DOCKER_HOST = "unix://[STORE]/machines/dev/docker.sock"
$Env:MACHINE_NAME = "dev"
# Run this command to configure your shell: 
# & machine env --shell powershell dev | Invoke-Expression

"#]]
    );
    assert_data_eq!(
        env("cmd"),
        str![[r#"
SET DOCKER_HOST=unix://[STORE]/machines/dev/docker.sock
SET MACHINE_NAME=dev
REM Run this command to configure your shell: 
REM @FOR /f "tokens=*" %i IN ('machine env --shell cmd dev') DO @%i

"#]]
    );
    assert_data_eq!(
        env("tcsh"),
        str![[r#"
setenv DOCKER_HOST "unix://[STORE]/machines/dev/docker.sock";
setenv MACHINE_NAME "dev";
: "Run this command to configure your shell: "
: 'eval `machine env --shell tcsh dev`'

"#]]
    );
    assert_data_eq!(
        env("emacs"),
        str![[r#"
(setenv "DOCKER_HOST" "unix://[STORE]/machines/dev/docker.sock")
(setenv "MACHINE_NAME" "dev")
;; Run this command to configure your shell: 
;; (with-temp-buffer (shell-command "machine env --shell emacs dev" (current-buffer)) (eval-buffer))

"#]]
    );
    assert!(host.fails(2, &["env", "--shell", "dos", "dev"]).contains("Unknown shell \"dos\""));
}

#[test]
fn the_shell_is_taken_from_the_environment() {
    let mut host = host();
    host.variables.insert("SHELL".to_owned(), "/usr/bin/fish".to_owned());
    assert!(host.ok(&["env", "dev"]).starts_with("set -gx DOCKER_HOST"));
    host.variables.remove("SHELL");
    assert!(host.ok(&["env", "dev"]).starts_with("export DOCKER_HOST"));
}

#[test]
fn unset_needs_no_machine() {
    let host = Host::new();
    assert_data_eq!(
        host.ok(&["env", "-u"]),
        str![[r#"
unset DOCKER_TLS_VERIFY
unset DOCKER_HOST
unset DOCKER_CERT_PATH
unset MACHINE_NAME
# Run this command to configure your shell: 
# eval $(machine env -u)

"#]]
    );
    assert!(
        host.fails(2, &["env", "-u", "dev"]).contains("Expected no machine name when the -u flag is present")
    );
}

#[test]
fn what_docker_machine_left_in_the_shell_is_unset() {
    let mut host = host();
    host.variables.insert("DOCKER_TLS_VERIFY".to_owned(), "1".to_owned());
    assert!(host.ok(&["env", "dev"]).starts_with("unset DOCKER_TLS_VERIFY;\nexport DOCKER_HOST="));
}

#[test]
fn a_machine_that_is_off_has_no_environment() {
    let host = host();
    host.ok(&["stop", "dev"]);
    for command in ["env", "url", "ip"] {
        assert_data_eq!(
            host.fails(1, &[command, "dev"]),
            str![[r#"
Error: Host "dev" is not running
Hint: Start it with "machine start dev"

"#]]
        );
    }
}

#[test]
fn a_dead_keeper_is_replaced() {
    let host = host();
    for command in [&["url", "dev"][..], &["env", "dev"], &["status", "dev"], &["ls"]] {
        host.lose_keeper("dev");
        host.ok(command);
        assert!(host.kept("dev"), "{command:?}");
    }
}

#[test]
fn the_default_machine_is_meant_when_none_is_named() {
    let host = Host::new();
    let stderr = host.fails(1, &["url"]);
    assert!(stderr.contains("there is no machine \"default\""), "{stderr}");
    host.create("default");
    assert_eq!(host.ok(&["url"]), "unix://[STORE]/machines/default/docker.sock\n");
    assert_eq!(host.ok(&["ip"]), "127.0.0.1\n");
}

#[test]
fn active_is_the_one_the_shell_is_set_to() {
    let mut host = host();
    assert!(host.fails(1, &["active"]).contains("No active host found"));
    let url = format!("unix://{}/docker.sock", host.machine_folder("dev").display());
    host.variables.insert("DOCKER_HOST".to_owned(), url);
    assert_eq!(host.ok(&["active"]), "dev\n");
}
