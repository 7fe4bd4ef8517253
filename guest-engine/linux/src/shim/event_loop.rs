//! The life of a shim after it has created its process: one thread, one `poll`.
//!
//! ```text
//!   Running ──process reaped──▶ Draining ──streams ended or quiet──▶ record written, waiters told
//!                                                                      │
//!                                        exit ◀──clients caught up── Leaving
//! ```

use super::{
    client::Client,
    config::{ShimConfig, Size},
    exit_record,
    gate::{Gate, Heard},
    log::{Log, Source},
    protocol::{ExitRecord, Reply, Request},
    stdio::{self, Streams},
};
use crate::{cgroup::Cgroup, reaped};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, kill},
        signalfd::SignalFd,
        wait::waitpid,
    },
    unistd::Pid,
};
use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    os::{fd::AsFd, unix::net::UnixListener},
    path::PathBuf,
    time::{Duration, Instant},
};

/// One read of output, and one write to the log.
const CHUNK: usize = 64 * 1024;
/// Somebody may have inherited the pipes of a process that has ended: its silence is taken for the end…
const QUIET: Duration = Duration::from_millis(100);
/// …and its chatter is listened to no longer than this, as dockerd does.
const DRAIN: Duration = Duration::from_secs(2);
/// How long a client may take to fetch the rest after the end.
const LEAVE: Duration = Duration::from_secs(10);

/// What a shim is made of.
#[derive(Debug)]
pub(super) struct Session {
    pub folder: PathBuf,
    pub config: ShimConfig,
    pub listener: UnixListener,
    pub children: SignalFd,
    pub gate: Option<Gate>,
    pub pid: Pid,
    pub streams: Streams,
    pub log: Option<Log>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Running,
    Draining { code: i32, since: Instant, heard: Instant },
    Leaving { record: ExitRecord, since: Instant },
}

struct State {
    session: Session,
    phase: Phase,
    clients: Vec<Client>,
    buffer: Vec<u8>,
    /// Stdin that the process has not taken yet.
    input: Vec<u8>,
    /// Stdin ends when `input` has been written.
    input_ends: bool,
    /// What the process said when its `exec` failed.
    refused: Option<String>,
    started: bool,
}

/// Serves until the process has ended, its record is written and everybody knows.
pub(super) fn run(session: Session) -> io::Result<()> {
    let mut state = State {
        session,
        phase: Phase::Running,
        clients: Vec::new(),
        buffer: vec![0; CHUNK],
        input: Vec::new(),
        input_ends: false,
        refused: None,
        started: false,
    };
    // It may have ended before the signal was watched.
    state.reap();
    while !state.is_over() {
        state.turn()?;
    }
    let State { session: Session { log, listener, .. }, clients, .. } = state;
    drop((listener, clients));
    if let Some(mut log) = log {
        // Everybody knows of the end already; only the log server is still waiting.
        log.close();
    }
    Ok(())
}

/// What a descriptor in the poll list belongs to.
#[derive(Clone, Copy)]
enum Token {
    Children,
    Listener,
    Gate,
    Room,
    Stdin,
    Stdout,
    Stderr,
    Client(usize),
}

impl State {
    fn is_over(&self) -> bool {
        match self.phase {
            Phase::Leaving { since, .. } => {
                since.elapsed() > LEAVE || self.clients.iter().all(|client| client.pending() == 0)
            }
            _ => false,
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        let (tokens, ready) = self.poll()?;
        for (token, events) in tokens.into_iter().zip(ready) {
            if events.is_empty() {
                continue;
            }
            match token {
                Token::Children => {
                    // One read empties it: signals of a kind do not queue.
                    let _signal = self.session.children.read_signal();
                    self.reap();
                }
                Token::Listener => self.accept(),
                Token::Gate => {
                    self.hear();
                }
                Token::Room => {
                    if let Some(log) = &self.session.log {
                        log.has_room();
                    }
                }
                Token::Stdin => self.write_input(),
                Token::Stdout => self.read_output(Source::Stdout),
                Token::Stderr => self.read_output(Source::Stderr),
                Token::Client(index) => self.serve(index, events),
            }
        }
        // A client that went away without ending its stdin has ended it as well.
        if self.clients.iter().any(|client| client.is_done() && client.gives_stdin()) {
            self.end_input();
        }
        self.clients.retain(|client| !client.is_done());
        self.advance();
        Ok(())
    }

    fn poll(&self) -> io::Result<(Vec<Token>, Vec<PollFlags>)> {
        let session = &self.session;
        let mut tokens = vec![Token::Children, Token::Listener];
        let mut fds = vec![
            PollFd::new(session.children.as_fd(), PollFlags::POLLIN),
            PollFd::new(session.listener.as_fd(), PollFlags::POLLIN),
        ];
        let mut add = |token, fd, flags| {
            tokens.push(token);
            fds.push(PollFd::new(fd, flags));
        };
        if let Some(gate) = &session.gate {
            add(Token::Gate, gate.as_fd(), PollFlags::POLLIN);
        }
        let ended = !matches!(self.phase, Phase::Running);
        let full = session.log.as_ref().filter(|log| log.is_full());
        if let Some(room) = full.and_then(Log::room) {
            add(Token::Room, room, PollFlags::POLLIN);
        }
        // A client that is behind holds the process back; one that has ended is not held back any more.
        if ended || (full.is_none() && !self.clients.iter().any(Client::is_behind)) {
            if let Some(stdout) = &session.streams.stdout {
                add(Token::Stdout, stdout.as_fd(), PollFlags::POLLIN);
            }
            if let Some(stderr) = &session.streams.stderr {
                add(Token::Stderr, stderr.as_fd(), PollFlags::POLLIN);
            }
        }
        if let Some(stdin) = &session.streams.stdin
            && !self.input.is_empty()
        {
            add(Token::Stdin, stdin.as_fd(), PollFlags::POLLOUT);
        }
        for (index, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLOUT, client.pending() > 0);
            let reads = client.is_asking() || (client.gives_stdin() && self.input.is_empty());
            flags.set(PollFlags::POLLIN, reads);
            // Its stdin has to wait; a hang-up, which cannot be masked, would be reported again and again.
            if flags.is_empty() && client.gives_stdin() {
                continue;
            }
            add(Token::Client(index), client.as_fd(), flags);
        }
        let timeout = match self.phase {
            Phase::Running => PollTimeout::NONE,
            Phase::Draining { .. } => PollTimeout::from(20_u8),
            Phase::Leaving { .. } => PollTimeout::from(250_u8),
        };
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok((Vec::new(), Vec::new())),
            Err(error) => return Err(error.into()),
        }
        let ready = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
        Ok((tokens, ready))
    }

    fn accept(&mut self) {
        while let Ok((socket, _)) = self.session.listener.accept() {
            if let Ok(client) = Client::new(socket) {
                self.clients.push(client);
            }
        }
    }

    fn serve(&mut self, index: usize, events: PollFlags) {
        let input_full = !self.input.is_empty();
        let Some(client) = self.clients.get_mut(index) else { return };
        if events.contains(PollFlags::POLLOUT) {
            client.flush();
        }
        if client.is_asking() {
            if let Some(request) = client.request() {
                self.answer(index, &request);
            }
            return;
        }
        if client.gives_stdin() && !input_full && events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP) {
            self.read_input(index);
            return;
        }
        if !events.contains(PollFlags::POLLOUT) && events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR)
        {
            client.hang_up();
        }
    }

    fn answer(&mut self, index: usize, request: &Request) {
        let reply = match *request {
            Request::Start => match self.start() {
                Some(reply) => reply,
                None => {
                    self.clients[index].wait_for_start();
                    return;
                }
            },
            Request::Wait => match self.phase {
                Phase::Leaving { record, .. } => Reply::Exited(record),
                _ => {
                    self.clients[index].wait_for_exit(self.session.pid.as_raw().unsigned_abs());
                    return;
                }
            },
            Request::Resize { width, height } => match &self.session.streams.terminal {
                Some(terminal) => match stdio::resize(terminal, Size { width, height }) {
                    Ok(()) => Reply::Done,
                    Err(error) => Reply::Failed { message: error.to_string() },
                },
                None => Reply::Done,
            },
            Request::Signal { signal } => self.signal(signal),
            Request::Attach { stdin, stdout, stderr } => {
                if matches!(self.phase, Phase::Leaving { .. }) {
                    Reply::Failed { message: "process has already exited".to_owned() }
                } else {
                    let stdin = stdin && self.session.streams.stdin.is_some() && !self.input_ends;
                    self.clients[index].attach(stdin, stdout, stderr);
                    return;
                }
            }
        };
        self.clients[index].answer(&reply);
    }

    fn start(&mut self) -> Option<Reply> {
        if self.started {
            return Some(Reply::Failed { message: "the process has been started already".to_owned() });
        }
        let Some(gate) = &self.session.gate else {
            return Some(Reply::Failed { message: "the process ended before it was started".to_owned() });
        };
        self.started = true;
        match gate.open() {
            Ok(()) => None,
            Err(error) => Some(Reply::Failed { message: error.to_string() }),
        }
    }

    fn signal(&self, signal: i32) -> Reply {
        // Only while it has not been reaped: afterwards its pid may be somebody else's.
        if !matches!(self.phase, Phase::Running) {
            return Reply::Done;
        }
        match crate::cgroup::send_signal(self.session.pid.as_raw(), signal) {
            Ok(()) | Err(Errno::ESRCH) => Reply::Done,
            Err(error) => Reply::Failed { message: error.desc().to_owned() },
        }
    }

    /// The process speaks, or has closed its end of the gate. False when there was nothing to hear.
    fn hear(&mut self) -> bool {
        let Some(gate) = &self.session.gate else { return false };
        match gate.hear() {
            Ok(Heard::Sentence(text)) => self.refused = Some(text),
            Ok(Heard::Event(_)) => {}
            Ok(Heard::Nothing) => return false,
            Ok(Heard::End) | Err(_) => {
                self.session.gate = None;
                let reply = match &self.refused {
                    None => Reply::Done,
                    Some(sentence) => Reply::Failed { message: sentence.clone() },
                };
                for client in self.clients.iter_mut().filter(|client| client.is_starting()) {
                    client.answer(&reply);
                }
            }
        }
        true
    }

    fn read_output(&mut self, source: Source) {
        let stream = match source {
            Source::Stdout => &mut self.session.streams.stdout,
            Source::Stderr => &mut self.session.streams.stderr,
        };
        let Some(file) = stream else { return };
        let length = match file.read(&mut self.buffer) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
            // A terminal ends with EIO.
            Err(_) => 0,
        };
        if length == 0 {
            *stream = None;
        }
        let data = &self.buffer[..length];
        if let Some(log) = &mut self.session.log {
            // A log that cannot be written (a full disk) must not stop the process.
            let _lost = if length == 0 { log.finish(source) } else { log.write(source, data) };
        }
        for client in &mut self.clients {
            client.output(source, data);
        }
        if let Phase::Draining { heard, .. } = &mut self.phase {
            *heard = Instant::now();
        }
    }

    fn read_input(&mut self, index: usize) {
        match self.clients[index].read_stdin(&mut self.buffer) {
            Ok(0) => self.end_input(),
            Ok(length) => {
                self.input.extend_from_slice(&self.buffer[..length]);
                self.write_input();
            }
            Err(_) => {}
        }
    }

    /// The first client that ends its stdin ends the process's; a terminal's stays open.
    fn end_input(&mut self) {
        if self.session.config.stdin_once && !self.session.config.terminal {
            self.input_ends = true;
            self.write_input();
        }
    }

    fn write_input(&mut self) {
        let Some(stdin) = &mut self.session.streams.stdin else {
            self.input.clear();
            return;
        };
        let mut written = 0;
        let closed = loop {
            if written == self.input.len() {
                break self.input_ends;
            }
            match File::write(stdin, &self.input[written..]) {
                Ok(length) => written += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                // The process does not read any more; what still comes is thrown away.
                Err(_) => {
                    written = self.input.len();
                    break true;
                }
            }
        };
        self.input.drain(..written);
        if closed {
            self.session.streams.stdin = None;
        }
        if self.input.is_empty() {
            self.input = Vec::new();
        }
    }

    /// Reaps whatever has ended: the process, and orphans that came to us as the subreaper.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = reaped::next() {
            if pid != self.session.pid || !matches!(self.phase, Phase::Running) {
                continue;
            }
            if !self.session.config.exec && !self.session.config.private_pids {
                // Nobody else ends the rest of a container that shares its pids with the host.
                let _already_gone = Cgroup::at(&self.session.config.cgroup).kill();
            }
            let now = Instant::now();
            self.phase = Phase::Draining { code: reaped::code(status), since: now, heard: now };
        }
    }

    fn advance(&mut self) {
        match self.phase {
            Phase::Running => {}
            Phase::Draining { code, since, heard } => {
                let streams = &self.session.streams;
                let ended = streams.stdout.is_none() && streams.stderr.is_none();
                if ended || heard.elapsed() > QUIET || since.elapsed() > DRAIN {
                    self.leave(code);
                }
            }
            Phase::Leaving { .. } => {
                for client in self.clients.iter_mut().filter(|c| c.is_attached() && c.pending() == 0) {
                    client.end();
                    client.drop_when_idle();
                }
                self.clients.retain(|client| !client.is_done());
            }
        }
    }

    /// The end: log complete, record written, everybody told, in this order.
    fn leave(&mut self, code: i32) {
        if let Some(log) = &mut self.session.log {
            let _lost = log.finish(Source::Stdout).and(log.finish(Source::Stderr));
            log.settle();
        }
        while self.hear() {}
        // What a shell says when it cannot execute.
        let code = match &self.refused {
            Some(sentence) if sentence.contains("permission denied") => 126,
            Some(_) => 127,
            None => code,
        };
        let oom_killed = !self.session.config.exec && Cgroup::at(&self.session.config.cgroup).oom_killed();
        let record = ExitRecord::now(code, oom_killed);
        // Without the folder nobody is interested: the container has been deleted.
        let _deleted = exit_record::write(&self.session.folder, &record);
        for client in &mut self.clients {
            if client.is_waiting() {
                client.answer(&Reply::Exited(record));
            } else if client.is_starting() {
                client.answer(&Reply::Done);
            }
        }
        self.phase = Phase::Leaving { record, since: Instant::now() };
        self.advance();
    }
}

/// Ends a process that was created and cannot be served.
pub(super) fn abandon(pid: Pid) {
    let _gone = kill(pid, Signal::SIGKILL);
    let _reaped = waitpid(pid, None);
}
