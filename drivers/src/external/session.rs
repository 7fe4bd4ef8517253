//! One running process, spoken to in JSON-RPC: the thread that writes, the thread that reads, and what counts
//! as breaking the rules. Threads, so that it serves callers inside any runtime and outside one.

use super::{Calls, Child, Described, Lines, described::PROTOCOL, readable, wire};
use crate::{DriverError, Progress};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    path::Path,
    process::ChildStdout,
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};
use tokio::{sync::watch, time::timeout};

/// The number of the call that introduces both sides to each other.
const HELLO: u64 = 0;

type Answer = Result<Value, wire::Failure>;
type Hello = Option<Result<Described, String>>;

/// The process. Dropping it ends it in good order.
#[derive(Debug)]
pub(super) struct Session {
    calls: Arc<Calls<Answer>>,
    hello: watch::Receiver<Hello>,
}

impl Session {
    /// Starts `path`, the program of the driver `name`. Whatever goes wrong is told by the first call.
    pub(super) fn start(name: &'static str, path: &Path) -> Self {
        let (tell, hello) = watch::channel(None);
        let calls = Arc::new(Calls::new(path, HELLO + 1, Some(cancel)));
        match Child::start(path, &[]) {
            Ok((child, stdin, stdout)) => {
                let (out, lines) = channel();
                let parameters = json!({ "protocol": PROTOCOL, "machine": env!("CARGO_PKG_VERSION") });
                // The receiver is at hand.
                _ = out.send(line(&wire::request(HELLO, "initialize", &parameters)));
                calls.adopt(child);
                calls.begin(out);
                thread::spawn(move || write(stdin, &lines));
                let reader = Reader { name, calls: Arc::clone(&calls), tell };
                thread::spawn(move || reader.read(stdout));
            }
            Err(error) => {
                let why = format!("cannot be started: {error}");
                calls.fail(&why);
                tell.send_replace(Some(Err(why)));
            }
        }
        Self { calls, hello }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.calls.is_broken()
    }

    /// Who it is.
    pub(super) async fn hello(&self, limit: Duration) -> Result<Described, DriverError> {
        let mut hello = self.hello.clone();
        let said = match timeout(limit, hello.wait_for(Option::is_some)).await {
            Ok(Ok(said)) => said.clone(),
            // The thread that tells has not told.
            Ok(Err(_)) => None,
            Err(_) => {
                self.give_up("does not say who it is");
                let what =
                    format!("Waiting for the driver's program {} to say who it is", self.calls.program());
                return Err(DriverError::Timeout { what, limit });
            }
        };
        match said {
            Some(Ok(described)) => Ok(described),
            Some(Err(why)) => Err(self.calls.wrong(&why)),
            None => Err(self.calls.wrong("is of no use")),
        }
    }

    /// Waits until cancelled calls have been answered; `false` when they are not.
    pub(super) async fn settled(&self, limit: Duration) -> bool {
        self.calls.settled(limit).await
    }

    /// Ends it, for what it did.
    pub(super) fn give_up(&self, why: &str) {
        self.calls.fail(why);
    }

    /// One call, until its answer or for `limit`.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        parameters: Value,
        limit: Duration,
        progress: &dyn Progress,
    ) -> Result<T, DriverError> {
        let mut call = self.calls.open(method, |id| line(&wire::request(id, method, &parameters)))?;
        drop(parameters);
        match call.answered(method, limit, progress).await? {
            Ok(result) => serde_json::from_value(result).map_err(|error| {
                let why = format!("answered {method:?} with something else than was asked for: {error}");
                self.calls.wrong(&why)
            }),
            Err(failure) => Err(failure.into_error(self.calls.program(), method)),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The thread that reads has a share in the calls: it goes with the process.
        self.calls.end();
    }
}

fn cancel(call: u64) -> Vec<u8> {
    line(&wire::notification("cancel", &json!({ "call": call })))
}

fn line(message: &Value) -> Vec<u8> {
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Until nobody has anything to say any more, or nobody listens. Its end is the end of the input.
pub(super) fn write(mut to: impl Write, messages: &Receiver<Vec<u8>>) {
    for message in messages {
        if to.write_all(&message).is_err() {
            return;
        }
    }
}

/// The thread that reads.
struct Reader {
    name: &'static str,
    calls: Arc<Calls<Answer>>,
    tell: watch::Sender<Hello>,
}

impl Reader {
    fn read(self, stdout: ChildStdout) {
        let mut lines = Lines::new(stdout, wire::LONGEST);
        let why = loop {
            let understood = match lines.next_line() {
                Ok(Some(line)) => self.understand(&line),
                Ok(None) => Err(self.calls.epitaph()),
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                    Err(format!("printed a line of more than {} MiB", wire::LONGEST >> 20))
                }
                Err(error) => Err(format!("cannot be read from: {error}")),
            };
            if let Err(why) = understood {
                break why;
            }
        };
        self.calls.fail(&why);
        self.tell.send_if_modified(|told| {
            let first = told.is_none();
            if first {
                *told = Some(Err(why));
            }
            first
        });
    }

    /// `Err` where the rules are broken.
    fn understand(&self, line: &[u8]) -> Result<(), String> {
        let message: wire::Message = serde_json::from_slice(line)
            .map_err(|_| format!("printed something that is no message: {}", quoted(line)))?;
        if message.jsonrpc != "2.0" {
            return Err(format!("speaks JSON-RPC {:?}, not 2.0", readable(&message.jsonrpc)));
        }
        match (message.method.as_deref(), message.id, message.result, message.error) {
            (Some("progress"), None, None, None) => self.step(message.params),
            // Of a later version of the protocol, and not important: it wants no answer.
            (Some(_), None, None, None) => Ok(()),
            (None, Some(HELLO), Some(result), None) => self.introduced(result),
            (None, Some(HELLO), None, Some(error)) => {
                Err(format!("refuses to begin: {}", readable(&error.message)))
            }
            (None, Some(id), Some(result), None) => self.calls.answer(id, Ok(result)),
            (None, Some(id), None, Some(error)) => self.calls.answer(id, Err(error)),
            _ => Err(format!("printed a message that is neither answer nor progress: {}", quoted(line))),
        }
    }

    fn step(&self, params: Value) -> Result<(), String> {
        let step: wire::Step = serde_json::from_value(params)
            .map_err(|error| format!("told of progress in a way that is not understood: {error}"))?;
        self.calls.step(step.call, &readable(&step.text));
        Ok(())
    }

    fn introduced(&self, result: Value) -> Result<(), String> {
        if self.tell.borrow().is_some() {
            return Err("said twice who it is".to_owned());
        }
        let said = serde_json::from_value(result)
            .map_err(|error| format!("says who it is in a way that is not understood: {error}"))?;
        let described = Described::of(self.name, said)?;
        self.tell.send_replace(Some(Ok(described)));
        Ok(())
    }
}

/// The beginning of a line, for a message.
fn quoted(line: &[u8]) -> String {
    let beginning = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
    format!("{:?}", readable(&beginning))
}
