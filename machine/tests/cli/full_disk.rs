//! A store on a disk that is full at any moment: a clear error, and nothing that a later command trips over.

use crate::killed::victim_command;
use std::process::Command;

/// Fills a small file system up to every level, page by page, and creates and removes a machine at each.
const SCRIPT: &str = r#"
set -eu
store=$1; shift
mount -t tmpfs -o size=256k none "$store"
kib=0
while [ $kib -le 252 ]; do
    rm -rf "$store"/* "$store"/.[!.]*
    dd if=/dev/zero of="$store/ballast" bs=1k count=$kib 2>/dev/null
    code=0
    MACHINE_TEST_ARGUMENTS='create -d memory dev' "$@" >"/tmp/said.$$" 2>&1 || code=$?
    case $code in
    0) full=no ;;
    1) full=yes; grep -q 'No space left on device' "/tmp/said.$$" || { cat "/tmp/said.$$"; exit 10; } ;;
    *) cat "/tmp/said.$$"; exit 11 ;;
    esac
    rm -f "$store/ballast"
    MACHINE_TEST_ARGUMENTS='ls' "$@" >"/tmp/said.$$" 2>&1 || { cat "/tmp/said.$$"; exit 12; }
    if [ $full = yes ] && [ -e "$store/machines/dev" ]; then
        echo "left behind with $kib KiB used"; exit 13
    fi
    MACHINE_TEST_ARGUMENTS='rm -f dev' "$@" >"/tmp/said.$$" 2>&1 || { cat "/tmp/said.$$"; exit 14; }
    MACHINE_TEST_ARGUMENTS='create -d memory dev' "$@" >"/tmp/said.$$" 2>&1 || { cat "/tmp/said.$$"; exit 15; }
    echo "$kib $full"
    kib=$((kib + $((kib < 160 ? 40 : 4))))
done
rm -f "/tmp/said.$$"
"#;

#[test]
fn every_level_of_full() {
    let store = tempfile::tempdir().unwrap();
    let victim = victim_command(store.path(), "never", "");
    // A name space of its own: nobody else sees the mount, and it ends with the script.
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", SCRIPT, "full-disk"]);
    command.arg(store.path()).arg(victim.get_program()).args(victim.get_args());
    command.envs(victim.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains(" yes\n") && said.contains(" no\n"), "both happened: {said}");
}
