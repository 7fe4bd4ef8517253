//! One binary, several programs: which one is decided before anything else happens, because the shim and
//! PID 1 must not share a process with threads they did not ask for. The only file that names
//! `engine_linux`'s adapters.

use clap::Parser;
use engine::engine::Ports;
use engine_linux::{
    FolderVolumes, NetlinkLinks, OverlayLayers, ShimRuntime, container_init, free_memory, shim,
};
use guest_engine::{
    bounded_log::BoundedLog,
    config::{Arguments, Command, ServeOptions},
    dial, folders, init,
    keeper_link::KeeperLink,
    ready, serve, sshd,
};
use std::{
    error::Error,
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex},
};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|word| word == "shim") {
        return shim::main(arguments.get(2..).unwrap_or_default());
    }
    let called = arguments.first().map(Path::new).and_then(Path::file_name);
    if called.is_some_and(|name| name == container_init::NAME) {
        return container_init::main(arguments.get(1..).unwrap_or_default());
    }
    if std::process::id() == 1 && called.is_none_or(|name| name == "init") {
        init::run();
    }
    let arguments = Arguments::parse_from(arguments);
    if let Err(error) = log_to(arguments.log_file.as_deref()) {
        report(&error);
        return ExitCode::FAILURE;
    }
    let done = match arguments.command {
        Command::Serve(options) => run_engine(options),
        Command::Dial { target } => dial::run(&target).map_err(Into::into),
        Command::Folders(options) => folders::run(&options).map_err(Into::into),
        Command::Sshd(options) => sshd::run(options).map_err(Into::into),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn run_engine(options: ServeOptions) -> Result<(), Box<dyn Error>> {
    free_memory::give_back();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(fd) = options.begin_fd {
        ready::wait_to_begin(fd)?;
    }
    let done = runtime.block_on(serve::serve(options, adapters));
    // Streams to clients that are still connected end here.
    runtime.shutdown_background();
    Ok(done?)
}

fn adapters(options: &ServeOptions, keeper: Arc<KeeperLink>) -> Ports {
    if let Err(error) = engine_linux::clear_cgroup_root() {
        tracing::warn!(%error, "The cgroup of this container cannot be divided: containers may not start");
    }
    // The running binary, whatever happens to its file.
    let executable = PathBuf::from("/proc/self/exe");
    let layers = Arc::new(OverlayLayers::new(&options.data_root));
    Ports {
        runtime: Arc::new(ShimRuntime::new(&options.run_root, &options.data_root, executable)),
        files: layers.clone(),
        layers,
        volumes: Arc::new(FolderVolumes::new(&options.run_root, &options.data_root)),
        links: Arc::new(NetlinkLinks::new(&options.run_root)),
        host_ports: keeper,
    }
}

/// To the file, else to standard error.
fn log_to(file: Option<&Path>) -> io::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MACHINE_ENGINE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    match file {
        Some(file) => log.with_writer(Mutex::new(BoundedLog::open(file)?)).init(),
        None => log.with_writer(io::stderr).init(),
    }
    Ok(())
}

fn report(error: &dyn Error) {
    let mut text = format!("Error: {error}\n");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!("Caused by: {error}\n"));
        cause = error.source();
    }
    // Nobody to tell when stderr is gone.
    drop(std::io::stderr().write_all(text.as_bytes()));
}
