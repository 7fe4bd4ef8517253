//! A program of a session: started with pipes or with a terminal, fed and drained until it ends,
//! and its end told to the client.

use super::home;
use super::pty::{Pty, Size};
use super::relay::copy;
use engine_linux::controlling_terminal;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use russh::server::{Handle, Msg};
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::process::{Child, Command};

const SHELL: &str = "/bin/sh";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Output of a terminal that is still on its way when its program has ended, while something else
/// keeps the terminal open.
const DRAIN: Duration = Duration::from_millis(200);
/// `ssh`'s own status for what could not be found.
const NOT_FOUND: u32 = 127;
const STDERR: u32 = 1;

/// What a session asked for before it started its program.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// `None`: a login shell.
    pub command: Option<String>,
    pub environment: Vec<(String, String)>,
    /// `TERM` and the first size.
    pub terminal: Option<(String, Size)>,
}

/// Runs the program and closes the channel after it.
pub(super) async fn run(channel: Channel<Msg>, handle: Handle, plan: Plan) {
    let id = channel.id();
    let (reader, writer) = channel.split();
    let outcome = match &plan.terminal {
        Some((_, size)) => run_in_terminal(reader, &writer, &plan, *size).await,
        None => run_with_pipes(reader, &writer, &plan).await,
    };
    let _ = writer.eof().await;
    match outcome {
        Ok(Some(status)) => tell_end(&handle, id, &writer, status).await,
        // The client is gone: nobody to tell.
        Ok(None) => {}
        Err(error) => {
            let text = if Path::new(SHELL).exists() {
                format!("Could not start {SHELL}: {error}\n")
            } else {
                format!("This machine has no shell ({SHELL})\n")
            };
            let _ = writer.extended_data_bytes(STDERR, text.into_bytes()).await;
            let _ = writer.exit_status(NOT_FOUND).await;
        }
    }
    let _ = writer.close().await;
}

fn command(plan: &Plan) -> Command {
    let mut command = Command::new(SHELL);
    match &plan.command {
        Some(line) => {
            command.arg("-c").arg(line);
        }
        // A leading dash makes it a login shell.
        None => {
            command.arg0("-sh");
        }
    }
    command.env_clear().envs(plan.environment.iter().map(|(name, value)| (name, value)));
    let home = home();
    command.envs([("USER", "root"), ("LOGNAME", "root"), ("SHELL", SHELL), ("PATH", PATH)]);
    command.env("HOME", &home);
    if let Some((term, _)) = &plan.terminal {
        command.env("TERM", term);
    }
    command.current_dir(home);
    command
}

async fn run_with_pipes(
    mut reader: ChannelReadHalf,
    writer: &ChannelWriteHalf<Msg>,
    plan: &Plan,
) -> io::Result<Option<ExitStatus>> {
    let mut command = command(plan);
    controlling_terminal::detach(command.as_std_mut());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let group = group(&child);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let output = async {
        let mut to = writer.make_writer();
        if let Some(mut from) = stdout {
            let _ = copy(&mut from, &mut to).await;
        }
    };
    let errors = async {
        let mut to = writer.make_writer_ext(Some(STDERR));
        if let Some(mut from) = stderr {
            let _ = copy(&mut from, &mut to).await;
        }
    };
    let ended = async {
        let ((), (), status) = tokio::join!(output, errors, child.wait());
        status
    };
    tokio::select! {
        status = ended => status.map(Some),
        () = feed(&mut reader, stdin, group, None) => {
            // As with any hang-up: whoever wants to outlive its client must have said so (nohup).
            hang_up(group);
            Ok(None)
        }
    }
}

async fn run_in_terminal(
    mut reader: ChannelReadHalf,
    writer: &ChannelWriteHalf<Msg>,
    plan: &Plan,
    size: Size,
) -> io::Result<Option<ExitStatus>> {
    let (pty, inner) = Pty::open(size)?;
    let mut child = spawn_in_terminal(plan, inner)?;
    let group = group(&child);
    let mut from = pty.clone();
    let mut to = writer.make_writer();
    let output = copy(&mut from, &mut to);
    let ended = async {
        tokio::pin!(output);
        tokio::select! {
            _ = &mut output => child.wait().await,
            status = child.wait() => {
                let _ = tokio::time::timeout(DRAIN, &mut output).await;
                status
            }
        }
    };
    tokio::select! {
        status = ended => status.map(Some),
        () = feed(&mut reader, Some(pty.clone()), group, Some(&pty)) => {
            hang_up(group);
            Ok(None)
        }
    }
}

fn spawn_in_terminal(plan: &Plan, inner: OwnedFd) -> io::Result<Child> {
    let mut command = command(plan);
    command.stdin(inner.try_clone()?).stdout(inner.try_clone()?).stderr(inner);
    controlling_terminal::take(command.as_std_mut());
    command.spawn()
}

/// Passes on what the client sends: bytes, the end of them, signals, sizes. Comes back when the
/// client is gone.
async fn feed(
    from: &mut ChannelReadHalf,
    mut stdin: Option<impl AsyncWrite + Unpin>,
    group: Option<Pid>,
    terminal: Option<&Pty>,
) {
    loop {
        match from.wait().await {
            Some(ChannelMsg::Data { data }) => {
                if let Some(open) = &mut stdin
                    && open.write_all(&data).await.is_err()
                {
                    stdin = None;
                }
            }
            // A terminal has no end of input of its own; its user types ^D.
            Some(ChannelMsg::Eof) if terminal.is_none() => stdin = None,
            Some(ChannelMsg::WindowChange { col_width, row_height, pix_width, pix_height }) => {
                if let Some(pty) = terminal {
                    let size =
                        Size { columns: col_width, rows: row_height, width: pix_width, height: pix_height };
                    let _ = pty.resize(size);
                }
            }
            Some(ChannelMsg::Signal { signal }) => {
                if let (Some(group), Some(signal)) = (group, to_unix(&signal)) {
                    let _ = killpg(group, signal);
                }
            }
            Some(ChannelMsg::Close) | None => return,
            Some(_) => {}
        }
    }
}

/// The child leads its own session, and so its own process group.
fn group(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
}

fn hang_up(group: Option<Pid>) {
    if let Some(group) = group {
        let _ = killpg(group, Signal::SIGHUP);
    }
}

async fn tell_end(handle: &Handle, id: ChannelId, writer: &ChannelWriteHalf<Msg>, status: ExitStatus) {
    match status.signal().and_then(|number| Signal::try_from(number).ok()) {
        Some(signal) => {
            let name = to_ssh(signal);
            let _ = handle
                .exit_signal_request(id, name, status.core_dumped(), String::new(), String::new())
                .await;
        }
        None => {
            let code = status.code().and_then(|code| u32::try_from(code).ok()).unwrap_or(u32::MAX);
            let _ = writer.exit_status(code).await;
        }
    }
}

fn to_unix(signal: &Sig) -> Option<Signal> {
    match signal {
        Sig::ABRT => Some(Signal::SIGABRT),
        Sig::ALRM => Some(Signal::SIGALRM),
        Sig::FPE => Some(Signal::SIGFPE),
        Sig::HUP => Some(Signal::SIGHUP),
        Sig::ILL => Some(Signal::SIGILL),
        Sig::INT => Some(Signal::SIGINT),
        Sig::KILL => Some(Signal::SIGKILL),
        Sig::PIPE => Some(Signal::SIGPIPE),
        Sig::QUIT => Some(Signal::SIGQUIT),
        Sig::SEGV => Some(Signal::SIGSEGV),
        Sig::TERM => Some(Signal::SIGTERM),
        Sig::USR1 => Some(Signal::SIGUSR1),
        Sig::Custom(name) => format!("SIG{name}").parse().ok(),
    }
}

fn to_ssh(signal: Signal) -> Sig {
    match signal {
        Signal::SIGABRT => Sig::ABRT,
        Signal::SIGALRM => Sig::ALRM,
        Signal::SIGFPE => Sig::FPE,
        Signal::SIGHUP => Sig::HUP,
        Signal::SIGILL => Sig::ILL,
        Signal::SIGINT => Sig::INT,
        Signal::SIGKILL => Sig::KILL,
        Signal::SIGPIPE => Sig::PIPE,
        Signal::SIGQUIT => Sig::QUIT,
        Signal::SIGSEGV => Sig::SEGV,
        Signal::SIGTERM => Sig::TERM,
        Signal::SIGUSR1 => Sig::USR1,
        other => Sig::Custom(other.as_str().trim_start_matches("SIG").to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_survive_the_way_there_and_back() {
        for signal in Signal::iterator() {
            assert_eq!(to_unix(&to_ssh(signal)), Some(signal));
        }
        assert_eq!(to_unix(&Sig::Custom("NONSENSE".to_owned())), None);
    }

    #[test]
    fn the_client_cannot_replace_what_a_login_sets() {
        let plan = Plan { environment: vec![("HOME".to_owned(), "/x".to_owned())], ..Plan::default() };
        let command = command(&plan);
        let home = command.as_std().get_envs().find(|(name, _)| *name == "HOME");
        assert_eq!(home.unwrap().1.unwrap(), super::home());
    }
}
