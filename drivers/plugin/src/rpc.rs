//! One running plugin: its process, the connection to it, and the calls over that, as Go's `net/rpc` makes
//! them. A thread reads the connection, one writes it, one hears what the plugin prints, one says every few
//! seconds that we are still here.

use crate::gob::{Decoder, Encoder, FlagValue, GobError, Value};
use machine_drivers::{
    DriverError, Progress, Silent,
    external::{Calls, Child, Limits, Lines, readable},
};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::ChildStdout,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};
use tokio::{sync::watch, time::timeout};

/// The one version there ever was.
const VERSION: i64 = 1;
/// Between two signs of life; plugins end themselves after ten seconds without one.
const BEAT: Duration = Duration::from_secs(4);
/// A connection to this computer.
const CONNECT: Duration = Duration::from_secs(5);
/// How Go greets whoever wants to call.
const GREETING: &[u8] = b"CONNECT /_goRPC_ HTTP/1.0\n\n";
const WELCOME: &str = "HTTP/1.0 200 Connected to Go RPC";
/// Longest line of a plugin's that is kept whole.
const LINE: usize = 8 * 1024;

/// What plugins are called on the wire, newest first, with the name of the type that holds options.
const SERVICES: [Service; 2] = [
    Service { name: "RPCServerDriver", flags: "*rpcdriver.RPCFlags" },
    Service { name: "RpcServerDriver", flags: "*rpcdriver.RpcFlags" },
];

#[derive(Clone, Copy, Debug)]
struct Service {
    name: &'static str,
    flags: &'static str,
}

/// An argument.
pub(crate) enum Argument<'a> {
    Nothing,
    Bytes(&'a [u8]),
    Flags(&'a BTreeMap<String, FlagValue>),
}

type Answer = Result<Value, String>;
type Ready = Option<Result<Service, String>>;

/// The plugin. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Plugin {
    link: Arc<Link>,
    ready: watch::Receiver<Ready>,
}

#[derive(Debug)]
struct Link {
    calls: Calls<Answer>,
    encoder: Mutex<Encoder>,
}

impl Plugin {
    /// Starts `program`, the plugin of the driver `name`. Whatever goes wrong is told by the first call.
    pub(crate) fn start(name: &str, program: &Path) -> Self {
        let (tell, ready) = watch::channel(None);
        let link = Arc::new(Link { calls: Calls::new(program, 0, None), encoder: Mutex::default() });
        let environment =
            [("MACHINE_PLUGIN_TOKEN", OsStr::new("42")), ("MACHINE_PLUGIN_DRIVER_NAME", OsStr::new(name))];
        match Child::start(program, &environment) {
            Ok((child, _, stdout)) => {
                link.calls.adopt(child);
                let reading = Arc::clone(&link);
                thread::spawn(move || read(&reading, stdout, &tell));
            }
            Err(error) => {
                let why = format!("cannot be started: {error}");
                link.calls.fail(&why);
                tell.send_replace(Some(Err(why)));
            }
        }
        Self { link, ready }
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.link.calls.is_broken()
    }

    /// Waits until a call that was given up has been answered: there is no way to cancel one.
    pub(crate) async fn settled(&self, limit: Duration) -> bool {
        self.link.calls.settled(limit).await
    }

    /// The plugin did something wrong.
    pub(crate) fn wrong(&self, why: &str) -> DriverError {
        self.link.calls.wrong(why)
    }

    /// One call; `progress` hears what the plugin prints. An error of the plugin's is its own words.
    pub(crate) async fn call(
        &self,
        method: &str,
        argument: Argument<'_>,
        (limits, limit): (&Limits, Duration),
        progress: Option<&dyn Progress>,
    ) -> Result<Value, DriverError> {
        let service = self.ready(limits.hello).await?;
        let mut call = self.link.open(service, method, &argument)?;
        if progress.is_some() {
            call.hear_lines();
        }
        let answer = call.answered(method, limit, progress.unwrap_or(&Silent)).await?;
        answer.map_err(|words| DriverError::Provider { what: readable(&words) })
    }

    async fn ready(&self, limit: Duration) -> Result<Service, DriverError> {
        let mut ready = self.ready.clone();
        let calls = &self.link.calls;
        match timeout(limit, ready.wait_for(Option::is_some)).await {
            Ok(Ok(said)) => match &*said {
                Some(Ok(service)) => Ok(*service),
                Some(Err(why)) => Err(calls.wrong(why)),
                None => Err(calls.wrong("is of no use")),
            },
            Ok(Err(_)) => Err(calls.wrong("is of no use")),
            Err(_) => {
                calls.fail("does not say where it listens");
                let what =
                    format!("Waiting for the driver's program {} to say where it listens", calls.program());
                Err(DriverError::Timeout { what, limit })
            }
        }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        if let Some(Ok(service)) = &*self.ready.borrow() {
            self.link.tell(*service, "Close");
        }
        self.link.calls.end();
    }
}

impl Link {
    fn open(
        &self,
        service: Service,
        method: &str,
        argument: &Argument<'_>,
    ) -> Result<machine_drivers::external::Call<'_, Answer>, DriverError> {
        self.calls.open(method, |call| self.message(service, method, call, argument))
    }

    fn tell(&self, service: Service, method: &str) {
        self.calls.tell(|call| self.message(service, method, call, &Argument::Nothing));
    }

    /// Made in the order in which it is sent: types are defined by the first that has one.
    fn message(&self, service: Service, method: &str, call: u64, argument: &Argument<'_>) -> Vec<u8> {
        let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        let mut message = encoder.request(&format!("{}.{method}", service.name), call);
        message.extend(match argument {
            Argument::Nothing => encoder.empty(),
            Argument::Bytes(bytes) => Encoder::bytes(bytes),
            Argument::Flags(values) => encoder.flags(service.flags, values),
        });
        message
    }
}

/// The thread that reads: from the first line to the end of the connection.
fn read(link: &Arc<Link>, stdout: ChildStdout, tell: &watch::Sender<Ready>) {
    let why = match connected(link, stdout) {
        Ok(connection) => serve(link, connection, tell),
        Err(why) => why,
    };
    link.calls.fail(&why);
    tell.send_if_modified(|told| {
        let first = told.is_none();
        if first {
            *told = Some(Err(why));
        }
        first
    });
}

/// The plugin's first line is where it listens; what it prints later is for people.
fn connected(link: &Arc<Link>, stdout: ChildStdout) -> Result<BufReader<TcpStream>, String> {
    let mut lines = Lines::new(stdout, LINE);
    let line = match lines.next_cut() {
        Ok(Some(line)) => readable(&String::from_utf8_lossy(&line)),
        Ok(None) | Err(_) => return Err(link.calls.epitaph()),
    };
    let address: SocketAddr =
        line.parse().map_err(|_| format!("printed {line:?} and not where it listens"))?;
    if !address.ip().is_loopback() {
        return Err(format!("listens on {address}, which is not on this computer alone"));
    }
    let hearing = Arc::downgrade(link);
    thread::spawn(move || {
        while let Ok(Some(line)) = lines.next_cut() {
            let line = readable(&String::from_utf8_lossy(&line));
            tracing::debug!("{line}");
            let Some(link) = hearing.upgrade() else { return };
            if !line.is_empty() {
                link.calls.line(&line);
            }
        }
    });
    let failed = |error| format!("says it listens on {address}, where nobody is reached: {error}");
    let mut connection = TcpStream::connect_timeout(&address, CONNECT).map_err(failed)?;
    connection.set_nodelay(true).map_err(failed)?;
    connection.set_read_timeout(Some(CONNECT)).map_err(failed)?;
    connection.write_all(GREETING).map_err(failed)?;
    let mut reader = BufReader::new(connection);
    let mut welcome = Vec::new();
    let mut bounded = (&mut reader).take(u64::try_from(LINE).unwrap_or_default());
    for _ in 0..2 {
        bounded.read_until(b'\n', &mut welcome).map_err(failed)?;
    }
    let welcome = String::from_utf8_lossy(&welcome).into_owned();
    if welcome.trim_end() != WELCOME {
        return Err(format!("answers {:?} and not as Go's net/rpc does", readable(&welcome)));
    }
    reader.get_ref().set_read_timeout(None).map_err(failed)?;
    Ok(reader)
}

/// Both threads of the connection, until its end; how it ended.
fn serve(link: &Arc<Link>, reader: BufReader<TcpStream>, tell: &watch::Sender<Ready>) -> String {
    let writer = match reader.get_ref().try_clone() {
        Ok(writer) => writer,
        Err(error) => return format!("cannot be written to: {error}"),
    };
    let (out, messages) = channel();
    link.calls.begin(out);
    thread::spawn(move || write(writer, &messages));
    let mut decoder = Decoder::new(reader);
    let service = match agreed(link, &mut decoder) {
        Ok(service) => service,
        Err(why) => return why,
    };
    // Dropped with this function, which ends the beating.
    let (_alive, ended) = channel();
    let beating = Arc::downgrade(link);
    thread::spawn(move || beat(&beating, service, &ended));
    tell.send_replace(Some(Ok(service)));
    loop {
        let understood =
            answered(link, &mut decoder).and_then(|(call, answer)| link.calls.answer(call, answer));
        if let Err(why) = understood {
            return why;
        }
    }
}

/// Which of its names the plugin goes by, and whether we understand each other.
fn agreed(link: &Link, decoder: &mut Decoder<impl Read>) -> Result<Service, String> {
    for service in SERVICES {
        link.tell(service, "GetVersion");
        let (call, answer) = answered(link, decoder)?;
        link.calls.answer(call, Err(String::new()))?;
        match answer {
            Ok(Value::Int(VERSION)) => return Ok(service),
            Ok(Value::Int(version)) => {
                return Err(format!(
                    "speaks version {version} of the protocol, and this machine speaks {VERSION}"
                ));
            }
            Ok(_) => return Err("does not say which version of the protocol it speaks".to_owned()),
            // It has the other name.
            Err(_) => {}
        }
    }
    Err("is no plugin of docker-machine".to_owned())
}

/// The next answer, and the number of the call it is for.
fn answered(link: &Link, decoder: &mut Decoder<impl Read>) -> Result<(u64, Answer), String> {
    let corrupt = |error| match error {
        GobError::End | GobError::Io(_) => link.calls.epitaph(),
        error @ GobError::Corrupt(_) => format!("sent something that is no gob: {error}"),
    };
    let header = decoder.next().map_err(corrupt)?;
    let body = decoder.next().map_err(corrupt)?;
    let call = match (&header, header.field("Seq")) {
        (Value::Struct(_), Some(Value::Uint(call))) => *call,
        (Value::Struct(_), None) => 0,
        _ => return Err("sent an answer that is for no call".to_owned()),
    };
    match header.field("Error").and_then(Value::text) {
        Some(words) => Ok((call, Err(words.to_owned()))),
        None => Ok((call, Ok(body))),
    }
}

fn write(mut connection: TcpStream, messages: &Receiver<Vec<u8>>) {
    for message in messages {
        if connection.write_all(&message).is_err() {
            return;
        }
    }
}

fn beat(link: &Weak<Link>, service: Service, ended: &Receiver<()>) {
    use std::sync::mpsc::RecvTimeoutError::Timeout;
    while ended.recv_timeout(BEAT) == Err(Timeout) {
        let Some(link) = link.upgrade() else { return };
        link.tell(service, "Heartbeat");
    }
}
