//! One mount and its keeper's two connections: threads that carry messages between them.

use super::{
    mount::{agree, draw_id, mount_folder, read_ahead},
    places::Place,
    requests::{Failed, Requests, slot},
    spawn,
};
use guest_contract::{
    folders::{Hello, LONGEST_LINE, Lane, PULSE, SILENCE, SharedFolder, Welcome},
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
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long whoever connects may take to say who it is.
const INTRODUCTION: Duration = Duration::from_secs(10);
/// A keeper that takes nothing for this long is none.
const STUCK: Duration = Duration::from_secs(10);
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
    /// There is something to be sent over the bulk lane, or its session has ended.
    bulk: Condvar,
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
    /// By [`slot`].
    lanes: [Option<Connection>; 2],
}

#[derive(Debug)]
struct Connection {
    writer: Arc<Mutex<UnixStream>>,
    /// To end it, whatever its writer waits for.
    socket: UnixStream,
}

impl Share {
    /// Mounts it, at its path or at a place with a link to it there, and starts to take the kernel's messages.
    pub(super) fn begin(folder: &SharedFolder, place: Option<Place<'_>>) -> Self {
        let path = Path::new(&folder.path);
        let at = place.as_ref().map_or_else(|| path.to_owned(), Place::path);
        let mount = |id| Ok((id, mount_folder(&at, folder.read_only)?));
        let mounted = match &place {
            Some(place) => place.linked(path, || draw_id().and_then(mount)),
            None => draw_id().and_then(mount),
        };
        let state = mounted.map_err(|error| {
            tracing::error!(%error, path = folder.path, "Could not mount a folder of the user's");
            format!("Could not mount {} in the machine: {error}", folder.path)
        });
        let state = state.map(|(id, device)| {
            let requests = Requests::new(Instant::now());
            let state = Mutex::new(State { requests, session: None });
            let (bulk, impatient) = (Condvar::new(), Condvar::new());
            let mounted = Arc::new(Mounted { id, device, state, bulk, impatient });
            let (reader, clock) = (mounted.clone(), mounted.clone());
            spawn("fuse", move || reader.take_messages(&at));
            spawn("patience", move || clock.watch());
            mounted
        });
        Self { path: folder.path.clone(), state }
    }
}

/// Hears a keeper's introduction and carries its lane.
pub(super) fn welcome(shares: &[Arc<Share>], stream: &UnixStream) {
    if let Err(error) = try_welcome(shares, stream) {
        tracing::debug!(%error, "A keeper's connection ended");
    }
}

fn try_welcome(shares: &[Arc<Share>], stream: &UnixStream) -> io::Result<()> {
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
    let mut writer = stream;
    writer.write_all(format!("{}\n", serde_json::to_string(&answer)?).as_bytes())?;
    let Some(mounted) = mounted else { return Ok(()) };
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(Some(STUCK))?;
    mounted.join(&hello, stream)?;
    let outcome = mounted.take_answers(&mut reader, || stream.set_read_timeout(Some(SILENCE)));
    let is_silent = outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    let now = Instant::now();
    // Whoever waits does so since the keeper was last heard of.
    mounted.leave(hello.session, now.checked_sub(SILENCE).filter(|_| is_silent).unwrap_or(now));
    outcome
}

impl Mounted {
    /// Reads the kernel's messages until the folder is unmounted.
    fn take_messages(&self, path: &Path) {
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
                        tracing::error!(%error, path = %path.display(), "A folder of the user's is lost");
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
                        tracing::debug!(%error, path = %path.display(), "The kernel reads ahead less than it could");
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
                opcode::GETXATTR if is_kernels_own(message) => {
                    let error = -(Errno::EOPNOTSUPP as i32);
                    self.tell_kernel(&answer_header(ANSWER_HEADER, error, header.unique));
                }
                _ => {
                    let (lane, down) = {
                        let mut state = self.state();
                        let lane = state.requests.push(&header, message, Instant::now());
                        (lane, state.requests.is_down())
                    };
                    match lane {
                        _ if down => self.impatient.notify_one(),
                        // At once: handing over to another thread takes longer than the call.
                        Lane::Quick => self.send_all(lane),
                        Lane::Bulk => self.bulk.notify_one(),
                    }
                }
            }
        }
    }

    /// A lane of a keeper that is new, or the second one of it.
    fn join(self: &Arc<Self>, hello: &Hello, stream: &UnixStream) -> io::Result<()> {
        let number = hello.session;
        let writer = Arc::new(Mutex::new(stream.try_clone()?));
        let connection = Connection { writer, socket: stream.try_clone()? };
        let failed = {
            let mut state = self.state();
            let mut failed = Vec::new();
            if state.session.as_ref().is_none_or(|session| session.number != number) {
                failed = state.end_session(Instant::now());
                state.session = Some(Session { number, lanes: [None, None] });
            }
            if let Some(session) = &mut state.session {
                session.lanes[slot(hello.lane)] = Some(connection);
                if session.is_complete() {
                    state.requests.up();
                }
            }
            failed
        };
        self.fail(&failed);
        if hello.lane == Lane::Bulk {
            let mounted = self.clone();
            spawn("bulk", move || mounted.send_bulk(number));
        }
        self.bulk.notify_all();
        self.send_all(Lane::Quick);
        Ok(())
    }

    /// One connection of the session has ended, so the session has, and had so at that time.
    fn leave(&self, number: u64, ended: Instant) {
        let failed = {
            let mut state = self.state();
            match &state.session {
                Some(session) if session.number == number => state.end_session(ended),
                _ => return,
            }
        };
        self.fail(&failed);
        self.bulk.notify_all();
        self.impatient.notify_one();
    }

    fn send_bulk(&self, number: u64) {
        loop {
            self.send_all(Lane::Bulk);
            let state = self.state();
            match &state.session {
                Some(session) if session.number == number => {
                    if !(session.is_complete() && state.requests.has_unsent(Lane::Bulk)) {
                        drop(self.bulk.wait(state));
                    }
                }
                _ => return,
            }
        }
    }

    /// Sends what there is for a lane, once its keeper is here.
    fn send_all(&self, lane: Lane) {
        loop {
            let (message, writer, number) = {
                let mut state = self.state();
                let Some(session) = state.session.as_ref().filter(|session| session.is_complete()) else {
                    return;
                };
                let Some(connection) = &session.lanes[slot(lane)] else { return };
                let (writer, number) = (connection.writer.clone(), session.number);
                let Some(message) = state.requests.next(lane) else { return };
                (message, writer, number)
            };
            let sent = writer.lock().unwrap_or_else(PoisonError::into_inner).write_all(&message);
            if let Err(error) = sent {
                tracing::debug!(%error, "A keeper does not listen any more");
                self.leave(number, Instant::now());
            }
        }
    }

    fn take_answers(
        &self,
        reader: &mut impl Read,
        expect_pulse: impl Fn() -> io::Result<()>,
    ) -> io::Result<()> {
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
                match error {
                    INVALIDATE_INODE => self.tell_kernel(&answer),
                    // Not before: a keeper of an earlier release has none.
                    PULSE => expect_pulse()?,
                    _ => {}
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

/// Whether an attribute is one that only a kernel asks for, as this one does before the first write to a file. No
/// keeper has any of them.
fn is_kernels_own(message: &[u8]) -> bool {
    /// The name stands behind the size that is wanted.
    const NAME: usize = REQUEST_HEADER + 8;
    message.get(NAME..).is_some_and(|name| !name.starts_with(b"user."))
}

impl Session {
    fn is_complete(&self) -> bool {
        self.lanes.iter().all(Option::is_some)
    }
}

impl State {
    fn end_session(&mut self, ended: Instant) -> Vec<Failed> {
        let Some(session) = self.session.take() else { return Vec::new() };
        for connection in session.lanes.into_iter().flatten() {
            // Gone already, most likely.
            drop(connection.socket.shutdown(Shutdown::Both));
        }
        self.requests.down(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::{fd::OwnedFd, unix::net::UnixDatagram};

    const LIMIT: Option<Duration> = Some(Duration::from_secs(20));

    /// A mount whose kernel is the other end of a socket that keeps messages apart, as the device does.
    fn mounted() -> (Arc<Share>, UnixDatagram) {
        let (kernel, device) = UnixDatagram::pair().unwrap();
        kernel.set_read_timeout(LIMIT).unwrap();
        let state = State { requests: Requests::new(Instant::now()), session: None };
        let mounted = Arc::new(Mounted {
            id: "m".to_owned(),
            device: File::from(OwnedFd::from(device)),
            state: Mutex::new(state),
            bulk: Condvar::new(),
            impatient: Condvar::new(),
        });
        let reader = mounted.clone();
        spawn("fuse", move || reader.take_messages(Path::new("/nowhere")));
        (Arc::new(Share { path: "/shared".to_owned(), state: Ok(mounted) }), kernel)
    }

    fn lane(share: &Arc<Share>, session: u64, lane: Lane) -> UnixStream {
        let (mut keeper, theirs) = UnixStream::pair().unwrap();
        keeper.set_read_timeout(LIMIT).unwrap();
        let share = share.clone();
        spawn("keeper", move || welcome(&[share], &theirs));
        let hello = Hello { folder: "/shared".to_owned(), session, lane };
        keeper.write_all(format!("{}\n", serde_json::to_string(&hello).unwrap()).as_bytes()).unwrap();
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            keeper.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        assert_eq!(serde_json::from_slice::<Welcome>(&line).unwrap(), Welcome::Mount("m".to_owned()));
        keeper
    }

    fn request(opcode: u32, unique: u64) -> Vec<u8> {
        let mut message = vec![0; REQUEST_HEADER];
        message[..4].copy_from_slice(&(REQUEST_HEADER as u32).to_le_bytes());
        message[4..8].copy_from_slice(&opcode.to_le_bytes());
        message[8..16].copy_from_slice(&unique.to_le_bytes());
        message
    }

    fn asked(keeper: &mut UnixStream) -> (u32, u64) {
        let mut message = [0; REQUEST_HEADER];
        keeper.read_exact(&mut message).unwrap();
        let header = request_header(&message).unwrap();
        (header.opcode, header.unique)
    }

    fn told(kernel: &UnixDatagram) -> (i32, u64) {
        let mut answer = [0; 64];
        let length = kernel.recv(&mut answer).unwrap();
        let (claimed, error, unique) = parse_answer_header(answer[..ANSWER_HEADER].try_into().unwrap());
        assert_eq!(claimed, length);
        (error, unique)
    }

    #[test]
    fn answers_come_in_any_order_and_a_new_keeper_goes_on() {
        let (share, kernel) = mounted();
        // Asked before anybody is there.
        kernel.send(&request(opcode::LOOKUP, 1)).unwrap();
        kernel.send(&request(opcode::READ, 2)).unwrap();
        let (mut quick, mut bulk) = (lane(&share, 7, Lane::Quick), lane(&share, 7, Lane::Bulk));
        assert_eq!(asked(&mut quick), (opcode::LOOKUP, 1));
        assert_eq!(asked(&mut bulk), (opcode::READ, 2));
        bulk.write_all(&answer_header(ANSWER_HEADER, 0, 2)).unwrap();
        assert_eq!(told(&kernel), (0, 2));
        quick.write_all(&answer_header(ANSWER_HEADER, -2, 1)).unwrap();
        assert_eq!(told(&kernel), (-2, 1));

        // Nobody has what only kernels want.
        let mut wanted = request(opcode::GETXATTR, 50);
        wanted.extend_from_slice(b"\0\0\0\0\0\0\0\0security.capability\0");
        wanted[0] = wanted.len() as u8;
        kernel.send(&wanted).unwrap();
        assert_eq!(told(&kernel), (-(Errno::EOPNOTSUPP as i32), 50));

        // Notes of its own, but only of the kind that we know; then no answer to nothing.
        quick.write_all(&answer_header(ANSWER_HEADER, 4, 0)).unwrap();
        quick.write_all(&answer_header(ANSWER_HEADER, PULSE, 0)).unwrap();
        quick.write_all(&answer_header(ANSWER_HEADER, 0, 99)).unwrap();
        quick.write_all(&answer_header(ANSWER_HEADER, INVALIDATE_INODE, 0)).unwrap();
        assert_eq!(told(&kernel), (INVALIDATE_INODE, 0));

        // What it leaves behind is asked again, or has failed.
        kernel.send(&request(opcode::GETATTR, 3)).unwrap();
        assert_eq!(asked(&mut quick), (opcode::GETATTR, 3));
        kernel.send(&request(opcode::MKDIR, 4)).unwrap();
        assert_eq!(asked(&mut quick), (opcode::MKDIR, 4));
        drop((quick, bulk));
        assert_eq!(told(&kernel), (-(Errno::EIO as i32), 4));
        let (mut quick, _bulk) = (lane(&share, 8, Lane::Quick), lane(&share, 8, Lane::Bulk));
        assert_eq!(asked(&mut quick), (opcode::GETATTR, 3));
        // An error that is none must not leave the kernel waiting.
        quick.write_all(&answer_header(ANSWER_HEADER, 5, 3)).unwrap();
        assert_eq!(told(&kernel), (-(Errno::EIO as i32), 3));
    }
}
