//! The shim as a program of its own, for the tests: `shim-for-tests shim FOLDER`.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let args: Vec<_> = env::args_os().skip(1).collect();
    match args.split_first() {
        Some((command, rest)) if command == "shim" => engine_linux::shim::main(rest),
        _ => ExitCode::from(2),
    }
}
