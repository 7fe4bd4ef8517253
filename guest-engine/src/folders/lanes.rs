//! One mount and its keeper's two connections: threads that carry messages between them.

use super::{
    mount::{agree, draw_id, mount_folder, read_ahead},
    requests::{Failed, Requests, slot},
    spawn,
};
use guest_contract::{
    folders::{Hello, LONGEST_LINE, Lane, SharedFolder, Welcome},
    fuse::{
        ANSWER_HEADER, INVALIDATE_INODE, LONGEST_MESSAGE, REQUEST_HEADER, answer_header, opcode,
        parse_answer_header, request_header,
    },
};
use nix::errno::Errno;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long whoever connects may take to say who it is.
const INTRODUCTION: Duration = Duration::from_secs(10);
/// How often is looked for requests that have waited too long.
const LOOK: Duration = Duration::from_millis(250);
/// The kernel's biggest error number.
const LAST_ERROR: i32 = 511;

/// A folder: mounted, or why not.
#[derive(Debug)]
pub(super) struct Share {
    path: String,
    state: Result<Arc<Mounted>, String>,
}

#[derive(Debug)]
struct Mounted {
    id: String,
    device: File,
    state: Mutex<State>,
    /// There is something for a lane, or the lane's session has ended.
    unsent: [Condvar; 2],
    /// There may be something that expires.
    impatient: Condvar,
}

#[derive(Debug)]
struct State {
    requests: Requests,
    session: Option<Session>,
}

/// A keeper's connections; it is here once it has both.
#[derive(Debug)]
struct Session {
    number: u64,
    quick: Option<UnixStream>,
    bulk: Option<UnixStream>,
}

impl Share {
    /// Mounts it and starts to take the kernel's messages.
    pub(super) fn begin(folder: &SharedFolder) -> Self {
        let mounted = draw_id().and_then(|id| Ok((id, mount_folder(folder)?)));
        let state = mounted.map_err(|error| {
            tracing::error!(%error, path = folder.path, "Could not mount a folder of the user's");
            format!("Could not mount {} in the machine: {error}", folder.path)
        });
        let state = state.map(|(id, device)| {
            let requests = Requests::new(Instant::now());
            let state = Mutex::new(State { requests, session: None });
            let (unsent, impatient) = (Default::default(), Condvar::new());
            let mounted = Arc::new(Mounted { id, device, state, unsent, impatient });
            let (reader, clock, path) = (mounted.clone(), mounted.clone(), folder.path.clone());
            spawn("fuse", move || reader.take_messages(&path));
            spawn("patience", move || clock.watch());
            mounted
        });
        Self { path: folder.path.clone(), state }
    }
}

/// Hears a keeper's introduction and carries its lane.
pub(super) fn welcome(shares: &[Arc<Share>], stream: UnixStream) {
    if let Err(error) = try_welcome(shares, stream) {
        tracing::debug!(%error, "A keeper's connection ended");
    }
}

fn try_welcome(shares: &[Arc<Share>], stream: UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(INTRODUCTION))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    (&mut reader).take(LONGEST_LINE as u64).read_line(&mut line)?;
    let hello: Hello = serde_json::from_str(&line)?;
    let found = shares.iter().find(|share| share.path == hello.folder);
    let (answer, mounted) = match found.map(|share| &share.state) {
        Some(Ok(mounted)) => (Welcome::Mount(mounted.id.clone()), Some(mounted)),
        Some(Err(why)) => (Welcome::Refused(why.clone()), None),
        None => (Welcome::Refused("It is not shared since the machine's last start".to_owned()), None),
    };
    (&stream).write_all(format!("{}\n", serde_json::to_string(&answer)?).as_bytes())?;
    let Some(mounted) = mounted else { return Ok(()) };
    stream.set_read_timeout(None)?;
    mounted.join(&hello, &stream)?;
    let outcome = mounted.take_answers(&mut reader);
    mounted.leave(hello.session);
    outcome
}

impl Mounted {
    /// Reads the kernel's messages until the folder is unmounted.
    fn take_messages(&self, path: &str) {
        let mut buffer = vec![0; LONGEST_MESSAGE];
        loop {
            let length = match (&self.device).read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => length,
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    // The kernel has taken a request back.
                    Some(Errno::ENOENT | Errno::EINTR | Errno::EAGAIN) => continue,
                    Some(Errno::ENODEV) => return,
                    _ => {
                        tracing::error!(%error, path, "A folder of the user's is lost");
                        return;
                    }
                },
            };
            let message = &buffer[..length];
            let Some(header) = request_header(message) else { continue };
            match header.opcode {
                opcode::INIT => {
                    self.tell_kernel(&agree(message));
                    if let Err(error) = read_ahead(path) {
                        tracing::debug!(%error, path, "The kernel reads ahead less than it could");
                    }
                }
                opcode::DESTROY => {
                    self.tell_kernel(&answer_header(ANSWER_HEADER, 0, header.unique));
                }
                opcode::INTERRUPT => {
                    let of = message.get(REQUEST_HEADER..REQUEST_HEADER + 8);
                    if let Some(of) = of.and_then(|bytes| bytes.try_into().ok()) {
                        self.state().requests.interrupt(u64::from_le_bytes(of), Instant::now());
                        self.impatient.notify_one();
                    }
                }
                _ => {
                    let (lane, down) = {
                        let mut state = self.state();
                        let lane = state.requests.push(&header, message, Instant::now());
                        (lane, state.requests.is_down())
                    };
                    let waits = if down { &self.impatient } else { &self.unsent[slot(lane)] };
                    waits.notify_one();
                }
            }
        }
    }

    /// A lane of a keeper that is new, or the second one of it.
    fn join(self: &Arc<Self>, hello: &Hello, stream: &UnixStream) -> io::Result<()> {
        let (lane, number) = (hello.lane, hello.session);
        let (watched, writer) = (stream.try_clone()?, stream.try_clone()?);
        let failed = {
            let mut state = self.state();
            let mut failed = Vec::new();
            if state.session.as_ref().is_none_or(|session| session.number != number) {
                failed = state.end_session();
                state.session = Some(Session { number, quick: None, bulk: None });
            }
            if let Some(session) = &mut state.session {
                *match lane {
                    Lane::Quick => &mut session.quick,
                    Lane::Bulk => &mut session.bulk,
                } = Some(watched);
                if session.quick.is_some() && session.bulk.is_some() {
                    state.requests.up();
                }
            }
            failed
        };
        self.fail(&failed);
        let mounted = self.clone();
        spawn("lane", move || {
            if let Err(error) = mounted.send_requests(lane, number, &writer) {
                tracing::debug!(%error, "A keeper does not listen any more");
            }
            mounted.leave(number);
        });
        self.unsent.iter().for_each(Condvar::notify_all);
        Ok(())
    }

    /// One connection of the session has ended, so the session has.
    fn leave(&self, number: u64) {
        let failed = {
            let mut state = self.state();
            match &state.session {
                Some(session) if session.number == number => state.end_session(),
                _ => return,
            }
        };
        self.fail(&failed);
        self.unsent.iter().for_each(Condvar::notify_all);
        self.impatient.notify_one();
    }

    fn send_requests(&self, lane: Lane, number: u64, mut stream: &UnixStream) -> io::Result<()> {
        loop {
            let message = {
                let mut state = self.state();
                loop {
                    let Some(session) = state.session.as_ref().filter(|session| session.number == number)
                    else {
                        return Ok(());
                    };
                    // With one lane only the keeper does not serve yet.
                    let complete = session.quick.is_some() && session.bulk.is_some();
                    if let Some(message) = complete.then(|| state.requests.next(lane)).flatten() {
                        break message;
                    }
                    state = self.unsent[slot(lane)].wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            };
            stream.write_all(&message)?;
        }
    }

    fn take_answers(&self, reader: &mut impl Read) -> io::Result<()> {
        let mut answer = Vec::new();
        loop {
            let mut header = [0; ANSWER_HEADER];
            reader.read_exact(&mut header)?;
            let (length, error, unique) = parse_answer_header(&header);
            if !(ANSWER_HEADER..=LONGEST_MESSAGE).contains(&length) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            answer.clear();
            answer.extend_from_slice(&header);
            answer.resize(length, 0);
            reader.read_exact(&mut answer[ANSWER_HEADER..])?;
            if unique == 0 {
                if error == INVALIDATE_INODE {
                    self.tell_kernel(&answer);
                }
            } else if self.state().requests.answered(unique) {
                if (-LAST_ERROR..=0).contains(&error) {
                    self.tell_kernel(&answer);
                } else {
                    self.fail(&[(unique, Errno::EIO)]);
                }
            }
        }
    }

    /// Answers what has waited too long.
    fn watch(&self) {
        loop {
            {
                let mut state = self.state();
                while !state.requests.may_expire() {
                    state = self.impatient.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
            std::thread::sleep(LOOK);
            let expired = self.state().requests.expired(Instant::now());
            self.fail(&expired);
        }
    }

    fn fail(&self, failed: &[Failed]) {
        for (unique, error) in failed {
            self.tell_kernel(&answer_header(ANSWER_HEADER, -(*error as i32), *unique));
        }
    }

    fn tell_kernel(&self, message: &[u8]) {
        // The kernel may have given up on it, or have forgotten the file.
        drop((&self.device).write(message));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end_session(&mut self) -> Vec<Failed> {
        let Some(session) = self.session.take() else { return Vec::new() };
        for stream in [session.quick, session.bulk].into_iter().flatten() {
            // Gone already, most likely.
            drop(stream.shutdown(Shutdown::Both));
        }
        self.requests.down(Instant::now())
    }
}
