//! The command line as data; the comments here are the help text.
//!
//! Names are plain text at this point: a wrong one is told by `machine.rs`, in docker-machine's words.

mod create;
mod sizes;

pub use create::{Create, VirtualBox};

use clap::{ArgAction, Args, Parser, Subcommand};
use std::path::PathBuf;

/// Options that every command has come after its own in its help.
const GLOBAL_ORDER: usize = 900;

/// Create and drive machines, each an isolated container engine
#[derive(Clone, Debug, Parser)]
#[command(name = "machine", version, disable_version_flag = true, after_help = ENVIRONMENT_HELP)]
pub struct Cli {
    /// Folder of the store [env: MACHINE_STORAGE_PATH=] [default: ~/.docker/machine]
    #[arg(short, long, global = true, value_name = "DIR", display_order = GLOBAL_ORDER)]
    pub storage_path: Option<PathBuf>,
    /// Tell what is going on inside, on stderr
    #[arg(short = 'D', long, global = true, display_order = GLOBAL_ORDER)]
    pub debug: bool,
    /// Print version
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    legacy: LegacyGlobal,
    /// Files of the authority and the client
    #[command(flatten)]
    pub tls: TlsFiles,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Options of docker-machine that callers still pass and that have nothing to decide here: SSH is always
/// our own, nothing is fetched from GitHub, and nobody is told of crashes
#[derive(Clone, Debug, Args)]
struct LegacyGlobal {
    /// As always: SSH needs no ssh program
    #[arg(long, hide = true)]
    native_ssh: bool,
    /// Nothing is fetched from GitHub
    #[arg(long, hide = true, value_name = "TOKEN")]
    github_api_token: Option<String>,
    /// Nobody is told of crashes
    #[arg(long, hide = true, value_name = "TOKEN")]
    bugsnag_api_token: Option<String>,
}

/// Where new machines' certificates come from; remembered with the machine
#[derive(Clone, Debug, Default, Args)]
pub struct TlsFiles {
    /// Certificate of the authority [env: MACHINE_TLS_CA_CERT=] [default: certs/ca.pem in the store]
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub tls_ca_cert: Option<PathBuf>,
    /// Its key [env: MACHINE_TLS_CA_KEY=]
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub tls_ca_key: Option<PathBuf>,
    /// Certificate of the client [env: MACHINE_TLS_CLIENT_CERT=]
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub tls_client_cert: Option<PathBuf>,
    /// Its key [env: MACHINE_TLS_CLIENT_KEY=]
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub tls_client_key: Option<PathBuf>,
}

const ENVIRONMENT_HELP: &str = "\
Environment:
  MACHINE_STORAGE_PATH    Folder of the store (default ~/.docker/machine)
  MACHINE_DRIVER          Driver of create (default kvm)
  MACHINE_GUEST_IMAGE     Folder of the guest image (default beside the executable)
  MACHINE_ENGINE_BINARY   Engine put on cloud hosts (default beside the executable)
  MACHINE_CONFIG          Configuration file (default ~/.config/machine/config.toml)
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
    Active(Active),
    /// Print a shell's completion function: source <(machine completion bash)
    Completion(Completion),
    /// Print a machine's TLS endpoint as options of the docker client
    Config(Config),
    /// Create a machine
    Create(Box<Create>),
    /// Try out a driver that is a program
    #[command(subcommand)]
    Driver(DriverCommand),
    /// Write a machine that is off to a file
    Export(Export),
    /// Remove what interrupted commands left, here and in a cloud account
    Gc(Gc),
    /// Make a machine of a file that export wrote
    Import(Import),
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
    /// Print what a machine's console, its engine or its keeper said last
    Logs(Logs),
    /// Mount a folder of a machine on this computer, by sshfs
    Mount(Mount),
    /// Check running machines and bring their connections in order
    Provision(Names),
    /// Make the TLS certificates of machines anew
    RegenerateCerts(RegenerateCerts),
    /// Restart machines
    Restart(Names),
    /// Remove machines
    Rm(Rm),
    /// Change a machine's sizes, or whether it is started with the computer
    Set(Set),
    /// Copy files between this computer and machines, or between machines
    #[command(visible_alias = "cp")]
    Scp(Scp),
    /// Run a shell or a command in a machine
    Ssh(Ssh),
    /// Start machines
    Start(Names),
    /// Print the state of a machine
    Status(OptionalName),
    /// Stop machines
    Stop(Names),
    /// Bring machines to the engine of this machine's guest image
    Upgrade(Names),
    /// Print the URL of a machine's engine
    Url(Url),
    /// Make the docker CLI talk to a machine, by its context
    Use(Use),
    /// Print the version of machine, or of a machine's engine
    Version(Version),
    /// Write the manual pages
    #[command(hide = true)]
    Man(Man),
    /// Look after a running machine (started by the other commands)
    #[command(hide = true)]
    Keeper(Keeper),
}

impl Command {
    /// Whether it changes machines, rather than tell something of them.
    pub fn acts(&self) -> bool {
        matches!(
            self,
            Self::Create(_)
                | Self::Kill(_)
                | Self::Provision(_)
                | Self::RegenerateCerts(_)
                | Self::Restart(_)
                | Self::Rm(_)
                | Self::Start(_)
                | Self::Stop(_)
                | Self::Upgrade(_)
        )
    }
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

/// `active`
#[derive(Clone, Debug, Args)]
pub struct Active {
    /// Seconds to wait for an answer; none is needed, the answer is in the store
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10, hide = true)]
    pub timeout: u64,
}

/// `completion`
#[derive(Clone, Debug, Args)]
pub struct Completion {
    /// bash, zsh, fish, powershell or elvish
    pub shell: String,
}

/// `config`
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Name of the machine [default: default]
    pub name: Option<String>,
    /// Refused: there is no Swarm as docker-machine had it
    #[arg(long, hide = true)]
    pub swarm: bool,
}

/// `env`
#[derive(Clone, Debug, Args)]
pub struct Env {
    /// Name of the machine [default: default]
    pub name: Option<String>,
    /// Shell to speak to: sh, bash, zsh, fish, powershell, cmd, tcsh or emacs [default: by SHELL]
    #[arg(long)]
    pub shell: Option<String>,
    /// Name the TLS endpoint and its certificates instead of the socket
    #[arg(long)]
    pub tcp: bool,
    /// Unset the variables instead
    #[arg(short, long)]
    pub unset: bool,
    /// Add the machine's address to NO_PROXY (its endpoint needs no proxy; containers' ports may)
    #[arg(long)]
    pub no_proxy: bool,
    /// Refused: there is no Swarm as docker-machine had it
    #[arg(long, hide = true)]
    pub swarm: bool,
}

/// `gc`; the drivers add their options
#[derive(Clone, Debug, Args)]
pub struct Gc {
    /// Cloud driver whose account is looked at as well
    #[arg(short, long)]
    pub driver: Option<String>,
    /// Do not ask before anything in the account is removed
    #[arg(short)]
    pub yes: bool,
    /// Only tell what would be removed
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
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
    /// Seconds to wait for machines [default: 10 for those elsewhere, a moment for those on this computer]
    #[arg(short, long, value_name = "SECONDS")]
    pub timeout: Option<f64>,
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
    #[arg(long, conflicts_with_all = ["engine", "keeper"])]
    pub console: bool,
    /// What the machine's engine logged, in a guest since that was started
    #[arg(long, conflicts_with = "keeper")]
    pub engine: bool,
    /// What the machine's keeper logged
    #[arg(long)]
    pub keeper: bool,
    /// How many lines, counted from the end
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 200)]
    pub tail: usize,
    /// Go on with what is said from now on, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
}

/// `driver`
#[derive(Clone, Debug, Subcommand)]
pub enum DriverCommand {
    /// Make, start, stop, kill and remove machines with it, and tell of each rule whether it was kept
    Check(DriverCheck),
}

/// `driver check`
#[derive(Clone, Debug, Args)]
pub struct DriverCheck {
    /// File machine-driver-NAME or docker-machine-driver-NAME
    #[arg(value_name = "PROGRAM")]
    pub program: PathBuf,
    /// The driver's own options, as create takes them
    #[arg(last = true, value_name = "OPTIONS")]
    pub options: Vec<String>,
}

/// `export`
#[derive(Clone, Debug, Args)]
pub struct Export {
    /// Name of the machine
    pub name: String,
    /// File to write [default: NAME.machine]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// `import`
#[derive(Clone, Debug, Args)]
pub struct Import {
    /// File that export wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Name of the new machine [default: as it was called]
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// `mount`
#[derive(Clone, Debug, Args)]
pub struct Mount {
    /// Unmount instead
    #[arg(short, long)]
    pub unmount: bool,
    /// [NAME:]FOLDER in a machine
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Folder here [default: the same path]
    #[arg(value_name = "MOUNTPOINT")]
    pub point: Option<PathBuf>,
}

/// `set`
#[derive(Clone, Debug, Args)]
pub struct Set {
    /// Name of the machine [default: default]
    pub name: Option<String>,
    /// Virtual CPUs
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<u32>,
    /// Memory in MiB, or with a unit: 2g
    #[arg(long, value_name = "SIZE", value_parser = sizes::mebibytes)]
    pub memory: Option<u64>,
    /// Data disk in GiB; it can only grow
    #[arg(long, value_name = "SIZE", value_parser = sizes::gibibytes)]
    pub disk: Option<u64>,
    /// Folders of this computer that the machine sees, instead of those that it did (repeatable)
    #[arg(long, value_name = "PATH[:ro]")]
    pub mount: Vec<String>,
    /// Let the machine see no folders of this computer
    #[arg(long)]
    pub no_mount: bool,
    /// Start the machine with this computer (true or false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub autostart: Option<bool>,
    /// Take the token or keys of the machine's cloud account anew, from the environment variables of its driver
    #[arg(long)]
    pub credentials: bool,
}

/// `regenerate-certs`
#[derive(Clone, Debug, Args)]
pub struct RegenerateCerts {
    /// Names of machines [default: default]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Ask nothing
    #[arg(short, long)]
    pub force: bool,
    /// Make the authority and the client's certificate anew as well, which all machines share
    #[arg(long)]
    pub client_certs: bool,
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

/// `scp`
#[derive(Clone, Debug, Args)]
pub struct Scp {
    /// Copy folders with all that is in them
    #[arg(short, long)]
    pub recursive: bool,
    /// Copy only files whose size or time differs, and folders with all that is in them
    #[arg(short, long)]
    pub delta: bool,
    /// Do not tell what is being copied
    #[arg(short, long)]
    pub quiet: bool,
    /// FILE here, or NAME:FILE in a machine
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// FILE here, or NAME:FILE in a machine
    #[arg(value_name = "TARGET")]
    pub target: String,
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

/// `url`
#[derive(Clone, Debug, Args)]
pub struct Url {
    /// Name of the machine [default: default]
    pub name: Option<String>,
    /// Print the TLS endpoint (called as docker-machine this is the default)
    #[arg(long)]
    pub tcp: bool,
}

/// `use`
#[derive(Clone, Debug, Args)]
pub struct Use {
    /// Name of the machine [default: default]
    pub name: Option<String>,
    /// Go back to docker's default context
    #[arg(short, long, conflicts_with = "name")]
    pub unset: bool,
}

/// `man`
#[derive(Clone, Debug, Args)]
pub struct Man {
    /// Folder for all pages; without it the first one is printed
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
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
