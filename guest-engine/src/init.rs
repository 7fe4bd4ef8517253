//! PID 1 of the guest, from the kernel's first instruction in user space to the power-off. Boots
//! anonymous, is told who it is over the seed channel, and then supervises two processes.
//!
//! ```text
//!   booting ─▶ waiting ──seed──▶ seeded ─▶ network ─▶ disk ─▶ services ─▶ ready
//!      │                            └──────────┴────────┴─────────┴──▶ failed (stays up)
//!      └ meanwhile in threads: engine modules · DHCP
//! ```
//!
//! Its threads never end the process: a panic is a line on the console. The main thread only reaps
//! and takes signals.

mod channel;
mod children;
mod clock;
mod dhcp;
mod disk;
mod identity;
mod log;
mod modules;
mod mounts;
mod netlink;
mod network;
mod power;
mod services;
mod session;
mod shutdown;
mod virtio_port;

use channel::{Arrival, Channel};
use children::Children;
use guest_contract::Phase;
use nix::sys::signal::{SigSet, Signal};
use services::Services;
use shutdown::Shutdown;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The virtio ports and the engine's modules are there within this time or not at all.
const DEVICE_DEADLINE: Duration = Duration::from_secs(10);
/// Folders are mounted within this time, or the engine begins without.
const FOLDERS_DEADLINE: Duration = Duration::from_secs(10);
/// Under a slow emulator the services need seconds, never minutes.
const SERVICES_DEADLINE: Duration = Duration::from_secs(60);
/// PID 1's threads do little and are many.
const STACK: usize = 256 << 10;

/// Where the boot stopped and why; told to the host as one sentence.
#[derive(Debug)]
struct Failure {
    phase: Phase,
    message: String,
}

/// Boots the guest and stays. Called as the first process of the kernel, and only there.
pub fn run() -> ! {
    log::catch_panics();
    mounts::mount_base();
    log::open();
    block_signals();
    raise_limits();
    let channel = Channel::new();
    let children = Children::default();
    let services = Services::new(children.clone());
    let shutdown = Shutdown::new(services.clone());
    let powered = shutdown.clone();
    thread("boot", move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| boot(&channel, &services, &powered)));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(Failure { phase, message })) => channel.fail(phase, message),
            Err(_) => channel.fail(Phase::Booting, "Internal error of the guest's init".to_owned()),
        }
    });
    loop {
        let _ = catch_unwind(AssertUnwindSafe(|| reap_and_take_signals(&children, &shutdown)));
    }
}

/// The way from power-on to service, top to bottom.
fn boot(channel: &Channel, services: &Services, shutdown: &Shutdown) -> Result<(), Failure> {
    channel.enter(Phase::Booting);
    let boot_modules = modules::load_list(modules::BOOT);
    let network = spawn("network", network::configure);
    let arrivals = channel
        .connect(Instant::now() + DEVICE_DEADLINE)
        .map_err(|error| failure(Phase::Booting, &error, &boot_modules.failures))?;
    let engine_modules = spawn("modules", || {
        let loaded = modules::load_list(modules::ENGINE);
        network::set_kernel_parameters();
        log::line(format_args!("{} modules for the engine", loaded.loaded));
    });
    let powered = shutdown.clone();
    thread("power", move || power::listen(&powered));
    mounts::furnish();

    channel.enter(Phase::Waiting);
    let Arrival { seed, waited_for_guest } =
        arrivals.recv().map_err(|error| failure(Phase::Waiting, &error, &[]))?;
    clock::set_from_seed(seed.time_unix_nanos, waited_for_guest);
    identity::apply(&seed).map_err(|error| failure(Phase::Seeded, &error, &[]))?;
    channel.enter(Phase::Seeded);
    services.start_sshd(&seed.folders);
    if !seed.folders.is_empty() {
        // Mounted before the engine begins, as its containers may want them; the files come with the keeper.
        modules::load_list(modules::FOLDERS);
        services.start_folders(&seed.folders);
    }
    services.start_engine(&seed.engine).map_err(|error| failure(Phase::Seeded, &error, &[]))?;

    channel.enter(Phase::Network);
    join(network, Phase::Network)?
        .map_err(|error| failure(Phase::Network, &error, &boot_modules.failures))?;

    channel.enter(Phase::Disk);
    let disk = disk::mount_data().map_err(|error| failure(Phase::Disk, &error, &boot_modules.failures))?;

    channel.enter(Phase::Services);
    join(engine_modules, Phase::Services)?;
    services.wait_for_folders(Instant::now() + FOLDERS_DEADLINE);
    services.open_gate();
    services.wait_until_ready(Instant::now() + SERVICES_DEADLINE).map_err(|late| Failure {
        phase: Phase::Services,
        message: format!("The service {late} did not answer within {} s", SERVICES_DEADLINE.as_secs()),
    })?;
    channel.enter(Phase::Ready);

    load_the_rest();
    disk::grow(&disk, || services.are_stopping());
    Ok(())
}

/// What nobody waits for, at low priority.
fn load_the_rest() {
    thread("late", || {
        let own_thread = rustix::thread::gettid();
        let _ = rustix::process::setpriority_process(Some(own_thread), 19);
        // Does nothing where they are loaded.
        modules::load_list(modules::FOLDERS);
        let late = modules::load_list(modules::LATE);
        network::set_kernel_parameters();
        modules::delete_files();
        log::line(format_args!("{} more modules", late.loaded));
    });
}

fn reap_and_take_signals(children: &Children, shutdown: &Shutdown) {
    let _alone = children.reap();
    match handled_signals().wait() {
        Ok(Signal::SIGCHLD) | Err(_) => {}
        Ok(signal) => shutdown.begin(signal.as_str()),
    }
}

/// Those that `poweroff`, `halt` and `reboot` send, and those of the kernel.
fn handled_signals() -> SigSet {
    let signals =
        [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGPWR, Signal::SIGUSR1, Signal::SIGUSR2];
    signals.into_iter().collect()
}

fn block_signals() {
    if let Err(error) = handled_signals().thread_block() {
        log::line(format_args!("Could not block signals: {error}"));
    }
    // Ctrl-Alt-Del becomes SIGINT instead of an immediate restart.
    let _ = nix::sys::reboot::set_cad_enabled(false);
}

/// What Docker hosts usually give to their engine, and so to containers.
fn raise_limits() {
    use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
    for (resource, limit) in [
        (Resource::RLIMIT_NOFILE, 1 << 20),
        (Resource::RLIMIT_NPROC, RLIM_INFINITY),
        (Resource::RLIMIT_CORE, RLIM_INFINITY),
    ] {
        if let Err(error) = setrlimit(resource, limit, limit) {
            log::line(format_args!("Could not raise {resource:?}: {error}"));
        }
    }
}

/// A failure as one sentence with its causes, and those of the modules that may be behind it.
fn failure(phase: Phase, error: &dyn Error, modules: &[String]) -> Failure {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    for module in modules {
        message = format!("{message}. {module}");
    }
    Failure { phase, message }
}

fn join<T>(handle: Option<JoinHandle<T>>, phase: Phase) -> Result<T, Failure> {
    handle
        .and_then(|handle| handle.join().ok())
        .ok_or_else(|| Failure { phase, message: "Internal error of the guest's init".to_owned() })
}

/// Starts a thread that nobody waits for.
fn thread(name: &str, work: impl FnOnce() + Send + 'static) {
    drop(spawn(name, work));
}

fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Option<JoinHandle<T>> {
    let handle = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(work);
    handle.map_err(|error| log::line(format_args!("Could not start the thread {name}: {error}"))).ok()
}
