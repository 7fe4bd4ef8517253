//! Where `tracing` goes: to the keeper's log, which is the keeper's stderr, and with `--debug` to the
//! user's stderr. Nowhere otherwise: what users must know is said by `ui.rs`.

use crate::{config::Environment, env_vars};
use std::io;
use tracing_subscriber::EnvFilter;

/// Begins to log, if there is a reason to. Twice is harmless.
pub(crate) fn begin(keeper: bool, debug: bool, environment: &Environment) {
    if !keeper && !debug {
        return;
    }
    let default = if debug {
        "machine=debug,machine_drivers=debug,driver_kvm=debug,driver_plugin=debug,info"
    } else {
        "machine=info,driver_kvm=info,warn"
    };
    let wanted = environment.get(env_vars::LOG).unwrap_or(default);
    let filter = EnvFilter::try_new(wanted).unwrap_or_else(|_| EnvFilter::new(default));
    // Fails only when somebody logs already, which is what we want.
    _ = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(io::stderr).try_init();
}
