//! A session channel: the requests that prepare it (environment, terminal), and the one that starts
//! what it is for.

use super::process::{self, Plan};
use super::pty::Size;
use super::relay::relay;
use super::{Options, command, sftp};
use russh::server::{Handle, Msg};
use russh::{Channel, ChannelId, ChannelMsg};
use std::path::Path;
use std::sync::Arc;
use tokio::net::UnixStream;

/// More variables than any client sends; the rest is refused.
const MAX_VARIABLES: usize = 256;
/// How much a relayed program may have under way, for SFTP.
const PIPE: usize = 256 << 10;

/// Serves one session channel to its end.
pub(super) async fn run(mut channel: Channel<Msg>, handle: Handle, options: Arc<Options>) {
    let id = channel.id();
    let mut plan = Plan::default();
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::SetEnv { variable_name, variable_value, want_reply } => {
                let accepted = plan.environment.len() < MAX_VARIABLES && is_variable(&variable_name);
                if accepted {
                    plan.environment.push((variable_name, variable_value));
                }
                answer(&handle, id, want_reply, accepted).await;
            }
            ChannelMsg::RequestPty {
                term, col_width, row_height, pix_width, pix_height, want_reply, ..
            } => {
                let size =
                    Size { columns: col_width, rows: row_height, width: pix_width, height: pix_height };
                plan.terminal = Some((term, size));
                answer(&handle, id, want_reply, true).await;
            }
            ChannelMsg::RequestShell { want_reply } => {
                answer(&handle, id, want_reply, true).await;
                return process::run(channel, handle, plan).await;
            }
            ChannelMsg::Exec { command, want_reply } => {
                answer(&handle, id, want_reply, true).await;
                let command = String::from_utf8_lossy(&command).into_owned();
                if command::is_dial_stdio(&command) {
                    return dial_engine(channel, &options.engine_socket).await;
                }
                plan.command = Some(command);
                return process::run(channel, handle, plan).await;
            }
            ChannelMsg::RequestSubsystem { name, want_reply } => {
                let known = name == "sftp";
                answer(&handle, id, want_reply, known).await;
                if known {
                    let (ours, theirs) = tokio::io::duplex(PIPE);
                    russh_sftp::server::run(theirs, sftp::Server::default()).await;
                    return relay(channel, ours, Some(0)).await;
                }
            }
            ChannelMsg::AgentForward { want_reply } | ChannelMsg::RequestX11 { want_reply, .. } => {
                answer(&handle, id, want_reply, false).await;
            }
            ChannelMsg::Close => return,
            _ => {}
        }
    }
}

async fn dial_engine(channel: Channel<Msg>, socket: &Path) {
    match UnixStream::connect(socket).await {
        Ok(stream) => relay(channel, stream, Some(0)).await,
        Err(error) => {
            let text = format!("Could not connect to the engine at {}: {error}\n", socket.display());
            let _ = channel.extended_data_bytes(1, text.into_bytes()).await;
            let _ = channel.exit_status(1).await;
            let _ = channel.eof().await;
            let _ = channel.close().await;
        }
    }
}

async fn answer(handle: &Handle, id: ChannelId, wanted: bool, success: bool) {
    if wanted {
        let _ = if success { handle.channel_success(id).await } else { handle.channel_failure(id).await };
    }
}

/// What a client may set. Those that steer the dynamic linker are as harmless as the command itself
/// (the client is root), but a name must be one.
fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}
