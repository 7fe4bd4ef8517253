//! The other end: any [`Driver`] as an executable. Its whole program is `fn main() { serve(MyDriver) }`.
//!
//! ```no_run
//! # use machine_drivers::{Driver, external::serve};
//! # fn program(my_driver: impl Driver + 'static) {
//! serve(my_driver)
//! # }
//! ```

use super::{
    child::Lines,
    described::PROTOCOL,
    wire::{self, Failure},
};
use crate::{Driver, DriverOptions, Instance, MachineSpec, NewSizes, Progress};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IsTerminal, Write},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Which calls can be cancelled.
type Open = Arc<Mutex<BTreeMap<u64, oneshot::Sender<()>>>>;

/// Answers calls on standard input until its end. The driver must print nothing on standard output; what it
/// prints on standard error is `machine`'s debug log.
///
/// A call that is cancelled is dropped, as the trait says; so are all that are open when the input ends.
pub fn serve(driver: impl Driver + 'static) {
    if io::stdin().is_terminal() {
        let name = driver.name();
        // Nobody may be there to read it.
        _ = writeln!(
            io::stderr(),
            "This is a driver of machine. Put it in a folder of PATH as {}{name}: machine create -d {name} --help",
            super::PREFIX
        );
        return;
    }
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            runtime.block_on(answer_all(Arc::new(driver)));
            // Nobody waits for what is still under way.
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
        Err(error) => _ = writeln!(io::stderr(), "The driver cannot run: {error}"),
    }
}

async fn answer_all(driver: Arc<dyn Driver>) {
    let (tell, mut lines) = mpsc::unbounded_channel();
    thread::spawn(move || {
        let mut input = Lines::new(io::stdin(), wire::LONGEST);
        while let Ok(Some(line)) = input.next_line() {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    let open = Open::default();
    while let Some(line) = lines.recv().await {
        let Ok(message) = serde_json::from_slice::<wire::Message>(&line) else {
            _ = writeln!(io::stderr(), "A line that is no message was left out");
            continue;
        };
        match (message.id, message.method) {
            (Some(id), Some(method)) => {
                let (cancel, cancelled) = oneshot::channel();
                lock(&open).insert(id, cancel);
                let (driver, open) = (Arc::clone(&driver), Arc::clone(&open));
                tokio::spawn(async move {
                    let outcome = tokio::select! {
                        outcome = answer(&*driver, id, &method, message.params) => outcome,
                        Ok(()) = cancelled => Err(Failure::new(wire::CANCELLED, "Cancelled")),
                    };
                    lock(&open).remove(&id);
                    say(&wire::answer(id, outcome));
                });
            }
            (None, Some(method)) if method == "cancel" => {
                let call = serde_json::from_value::<wire::Cancel>(message.params).ok();
                if let Some(cancel) = call.and_then(|cancel| lock(&open).remove(&cancel.call)) {
                    // It may just have ended.
                    _ = cancel.send(());
                }
            }
            _ => {}
        }
    }
}

async fn answer(driver: &dyn Driver, id: u64, method: &str, parameters: Value) -> Result<Value, Failure> {
    let told = Told { call: id };
    match method {
        "initialize" => {
            // A later host may speak more than ours; it decides whether this is enough.
            let introduction = wire::Introduction {
                protocol: PROTOCOL,
                name: driver.name().to_owned(),
                version: None,
                capabilities: driver.capabilities().into(),
                options: driver.options().iter().map(Into::into).collect(),
            };
            value(&introduction)
        }
        "check" => {
            let Of { spec } = read(parameters)?;
            value(&wire::Remarks { remarks: driver.check(&spec).await? })
        }
        "create" => {
            let Of { spec } = read(parameters)?;
            value(&wire::Made { instance: driver.create(&spec, &told).await? })
        }
        "recover" => {
            let Lost { directory, machine_id } = read(parameters)?;
            value(&wire::Found { instance: driver.recover(&directory, &machine_id).await? })
        }
        "start" => {
            let On { instance } = read(parameters)?;
            driver.start(&instance, &told).await?;
            Ok(Value::Null)
        }
        "stop" => {
            let Stop { instance, grace_ms } = read(parameters)?;
            driver.stop(&instance, Duration::from_millis(grace_ms)).await?;
            Ok(Value::Null)
        }
        "kill" => {
            let On { instance } = read(parameters)?;
            driver.kill(&instance).await?;
            Ok(Value::Null)
        }
        "remove" => {
            let On { instance } = read(parameters)?;
            driver.remove(&instance).await?;
            Ok(Value::Null)
        }
        "state" => {
            let On { instance } = read(parameters)?;
            value(&wire::State { state: driver.state(&instance).await? })
        }
        "access" => {
            let On { instance } = read(parameters)?;
            value(&wire::Reached { access: driver.access(&instance).await? })
        }
        "console_tail" => {
            let Tail { instance, lines } = read(parameters)?;
            value(&wire::Console { lines: driver.console_tail(&instance, lines).await? })
        }
        "console_file" => {
            let On { instance } = read(parameters)?;
            value(&wire::ConsoleFile { path: driver.console_file(&instance) })
        }
        "leftovers" => {
            let Leftovers { options, owner, alive, remove } = read(parameters)?;
            value(&wire::Left { leftovers: driver.leftovers(&options, &owner, &alive, remove).await? })
        }
        "resize" => {
            let Resize { instance, sizes } = read(parameters)?;
            value(&wire::Made { instance: driver.resize(&instance, &sizes).await? })
        }
        method => Err(Failure::unknown_method(method)),
    }
}

#[derive(Deserialize)]
struct Of {
    spec: MachineSpec,
}

#[derive(Deserialize)]
struct On {
    instance: Instance,
}

#[derive(Deserialize)]
struct Lost {
    directory: PathBuf,
    machine_id: String,
}

#[derive(Deserialize)]
struct Stop {
    instance: Instance,
    grace_ms: u64,
}

#[derive(Deserialize)]
struct Tail {
    instance: Instance,
    lines: usize,
}

#[derive(Deserialize)]
struct Leftovers {
    options: DriverOptions,
    owner: String,
    alive: BTreeSet<String>,
    remove: bool,
}

#[derive(Deserialize)]
struct Resize {
    instance: Instance,
    sizes: NewSizes,
}

/// Steps of a call, told to whoever made it.
struct Told {
    call: u64,
}

impl Progress for Told {
    fn step(&self, text: &str) {
        say(&wire::notification("progress", &json!({ "call": self.call, "text": text })));
    }
}

fn read<T: DeserializeOwned>(parameters: Value) -> Result<T, Failure> {
    serde_json::from_value(parameters).map_err(|error| Failure::new(wire::BAD_PARAMETERS, error.to_string()))
}

fn value(answer: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(answer).map_err(|error| Failure::new(wire::BAD_PARAMETERS, error.to_string()))
}

/// One line, whole: the lock is held for all of it.
fn say(message: &Value) {
    let mut line = message.to_string();
    line.push('\n');
    let mut output = io::stdout().lock();
    // When nobody listens any more, the end of the input comes next.
    _ = output.write_all(line.as_bytes()).and_then(|()| output.flush());
}

fn lock(open: &Open) -> std::sync::MutexGuard<'_, BTreeMap<u64, oneshot::Sender<()>>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}
