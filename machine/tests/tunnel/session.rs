//! Exit codes of remote commands.

use crate::server::{Machine, Server};
use machine::ssh::{SshError, run_command};

async fn run(command: &str) -> Result<i32, SshError> {
    let machine = Machine::new();
    let server = Server::start(&machine.keys, &machine.engine).await;
    let words = command.split(' ').map(str::to_owned).collect();
    run_command(&server.access(None), &machine.directory, Some(words), false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_remote_exit_code_is_ours() {
    assert_eq!(run("true").await.unwrap(), 0);
    assert_eq!(run("exit 7").await.unwrap(), 7);
    assert_eq!(run("die").await.unwrap(), 128 + 9);
    let lost = run("vanish").await.unwrap_err();
    assert!(matches!(lost, SshError::Lost), "{lost:?}");
}
