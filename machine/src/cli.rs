//! The command line as data; the comments here are the help text.
//!
//! Names are plain text at this point: a wrong one is told by `machine.rs`, in docker-machine's words.

use clap::{ArgAction, Args, Parser, Subcommand};
use std::path::PathBuf;

/// Create and drive machines, each an isolated container engine
#[derive(Clone, Debug, Parser)]
#[command(name = "machine", version, disable_version_flag = true, after_help = ENVIRONMENT_HELP)]
pub struct Cli {
    /// Folder of the store [env: MACHINE_STORAGE_PATH=] [default: ~/.docker/machine]
    #[arg(short, long, global = true, value_name = "DIR")]
    pub storage_path: Option<PathBuf>,
    /// Tell what is going on inside, on stderr
    #[arg(short = 'D', long, global = true)]
    pub debug: bool,
    /// Print version
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

const ENVIRONMENT_HELP: &str = "\
Environment:
  MACHINE_STORAGE_PATH    Folder of the store (default ~/.docker/machine)
  MACHINE_DRIVER          Driver of create (default kvm)
  MACHINE_GUEST_IMAGE     Folder of the guest image (default beside the executable)
  MACHINE_LOG             What the keeper and --debug log, such as info or machine=debug
  ENGINE_REGISTRY_MIRROR  Registry mirrors of new machines, separated by commas
  SHELL                   Shell of machine env
  NO_COLOR                No colours

Exit codes: 0 done, 1 an error, 2 a wrong command line, 3 a check before creation failed, 130 interrupted;
machine ssh passes the remote code through.";

/// The commands
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Print which machine the shell is set to
    Active,
    /// Create a machine
    Create(Create),
    /// Print the commands that set up the shell for a machine
    Env(Env),
    /// Print a machine's record
    Inspect(Inspect),
    /// Print the IP address of machines
    Ip(Names),
    /// Cut the power of machines
    Kill(Names),
    /// List machines
    Ls(Ls),
    /// Print what a machine's console or its keeper said last
    Logs(Logs),
    /// Restart machines
    Restart(Names),
    /// Remove machines
    Rm(Rm),
    /// Run a shell or a command in a machine
    Ssh(Ssh),
    /// Start machines
    Start(Names),
    /// Print the state of a machine
    Status(OptionalName),
    /// Stop machines
    Stop(Names),
    /// Print the URL of a machine's engine
    Url(OptionalName),
    /// Print the version of machine, or of a machine's engine
    Version(Version),
    /// Look after a running machine (started by the other commands)
    #[command(hide = true)]
    Keeper(Keeper),
}

/// Machines to act on
#[derive(Clone, Debug, Args)]
pub struct Names {
    /// Names of machines [default: default]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

/// A machine to act on
#[derive(Clone, Debug, Args)]
pub struct OptionalName {
    /// Name of the machine [default: default]
    pub name: Option<String>,
}

/// `create`; the drivers add their options
#[derive(Clone, Debug, Args)]
pub struct Create {
    /// Name of the new machine
    pub name: String,
    /// Driver that makes it [env: MACHINE_DRIVER=] [default: kvm]
    #[arg(short, long)]
    pub driver: Option<String>,
    /// Virtual CPUs
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<u32>,
    /// Memory in MiB, or with a unit: 2g
    #[arg(long, value_name = "SIZE", value_parser = mebibytes)]
    pub memory: Option<u64>,
    /// Data disk in GiB
    #[arg(long, value_name = "SIZE", value_parser = gibibytes)]
    pub disk: Option<u64>,
    /// Folder of the guest image [env: MACHINE_GUEST_IMAGE=]
    #[arg(long, value_name = "DIR")]
    pub image: Option<PathBuf>,
    /// Label of the engine (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub engine_label: Vec<String>,
    /// Environment variable of the engine (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub engine_env: Vec<String>,
    /// Mirror of Docker Hub (repeatable) [env: ENGINE_REGISTRY_MIRROR=]
    #[arg(long, value_name = "URL")]
    pub engine_registry_mirror: Vec<String>,
    /// Registry to speak to without verified TLS (repeatable)
    #[arg(long, value_name = "HOST[:PORT]")]
    pub engine_insecure_registry: Vec<String>,
    /// Keep what is there when creating fails
    #[arg(long)]
    pub keep_on_error: bool,
}

/// `env`
#[derive(Clone, Debug, Args)]
pub struct Env {
    /// Name of the machine [default: default]
    pub name: Option<String>,
    /// Shell to speak to: sh, bash, zsh, fish, powershell, cmd, tcsh or emacs [default: by SHELL]
    #[arg(long)]
    pub shell: Option<String>,
    /// Unset the variables instead
    #[arg(short, long)]
    pub unset: bool,
}

/// `inspect`
#[derive(Clone, Debug, Args)]
pub struct Inspect {
    /// Name of the machine [default: default]
    pub name: Option<String>,
    /// Print this template, such as {{.Driver.IPAddress}} or {{json .Driver}}
    #[arg(short, long, value_name = "TEMPLATE")]
    pub format: Option<String>,
}

/// `ls`
#[derive(Clone, Debug, Args)]
pub struct Ls {
    /// Print names only
    #[arg(short, long)]
    pub quiet: bool,
    /// Show only machines that match: driver=, state=, name= (a regular expression) or label= (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Seconds to wait for each machine
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10)]
    pub timeout: u64,
    /// Print table, json, or this template for each machine
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// `logs`
#[derive(Clone, Debug, Args)]
pub struct Logs {
    /// Name of the machine [default: default]
    pub name: Option<String>,
    /// What the guest printed on its console (this is the default)
    #[arg(long, conflicts_with = "keeper")]
    pub console: bool,
    /// What the machine's keeper logged
    #[arg(long)]
    pub keeper: bool,
    /// How many lines, counted from the end
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 200)]
    pub tail: usize,
}

/// `rm`
#[derive(Clone, Debug, Args)]
pub struct Rm {
    /// Names of machines
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// Remove the record even when the VM cannot be removed; asks nothing
    #[arg(short, long)]
    pub force: bool,
    /// Ask nothing
    #[arg(short)]
    pub yes: bool,
}

/// `ssh`
#[derive(Clone, Debug, Args)]
pub struct Ssh {
    /// Give the command a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Name of the machine [default: default]
    pub name: Option<String>,
    /// Command and arguments; a shell when there is none
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// `version`
#[derive(Clone, Debug, Args)]
pub struct Version {
    /// Machine whose engine is asked
    pub name: Option<String>,
}

/// `keeper`
#[derive(Clone, Debug, Args)]
pub struct Keeper {
    /// Name of the machine
    pub name: String,
}

fn mebibytes(text: &str) -> Result<u64, String> {
    size(text, 1)
}

fn gibibytes(text: &str) -> Result<u64, String> {
    size(text, 1024).and_then(|mebibytes| match mebibytes % 1024 {
        0 => Ok(mebibytes / 1024),
        _ => Err("must be whole GiB".to_owned()),
    })
}

/// `text` in MiB; a number without unit counts `plain` MiB.
fn size(text: &str, plain: u64) -> Result<u64, String> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix("ib").or(text.strip_suffix('b')).unwrap_or(&text);
    let (number, unit) = match text.chars().last() {
        Some('m') => (&text[..text.len() - 1], 1),
        Some('g') => (&text[..text.len() - 1], 1024),
        Some('t') => (&text[..text.len() - 1], 1024 * 1024),
        _ => (text, plain),
    };
    let number: u64 = number.trim().parse().map_err(|_| "is no size".to_owned())?;
    match number.checked_mul(unit) {
        Some(0) => Err("must be more than nothing".to_owned()),
        Some(size) => Ok(size),
        None => Err("is too large".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(mebibytes("1024"), Ok(1024));
        assert_eq!(mebibytes("2g"), Ok(2048));
        assert_eq!(mebibytes("512MiB"), Ok(512));
        assert_eq!(gibibytes("20"), Ok(20));
        assert_eq!(gibibytes("1TB"), Ok(1024));
        for text in ["", "x", "-1", "0", "1.5g", "99999999999999999999", "18446744073709551615t"] {
            assert!(mebibytes(text).is_err(), "{text}");
        }
        assert!(gibibytes("500m").is_err());
    }

    #[test]
    fn flags_may_follow_the_name_but_not_with_ssh() {
        let cli = Cli::try_parse_from(["machine", "rm", "dev", "-y"]).unwrap();
        assert!(matches!(cli.command, Command::Rm(Rm { yes: true, .. })));
        let cli = Cli::try_parse_from(["machine", "ssh", "dev", "ls", "-t", "-D"]).unwrap();
        let Command::Ssh(ssh) = cli.command else { panic!("not ssh") };
        assert_eq!((ssh.tty, ssh.command.join(" "), cli.debug), (false, "ls -t -D".to_owned(), false));
        let cli = Cli::try_parse_from(["machine", "ssh", "dev", "-x"]).unwrap();
        assert!(matches!(cli.command, Command::Ssh(Ssh { command, .. }) if command == ["-x"]));
    }
}
