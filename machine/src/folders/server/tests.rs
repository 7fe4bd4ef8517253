//! A kernel of few words: requests as bytes, answers taken apart.

use super::FolderServer;
use crate::folders::message::Request;
use guest_contract::fuse::{
    ANSWER_HEADER, INVALIDATE_INODE, REQUEST_HEADER, ROOT, opcode, parse_answer_header,
};
use rustix::io::Errno;
use std::{
    cell::Cell,
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};
use tempfile::TempDir;

const WRITE_ONLY: u32 = 1;
const TRUNCATE: u32 = 0o1000;
const CREATE: u32 = 0o100;
/// How the note begins that attributes are not what they were.
const NOTICE: [u8; 8] = [NOTICE_LENGTH as u8, 0, 0, 0, INVALIDATE_INODE as u8, 0, 0, 0];
const NOTICE_LENGTH: usize = 40;

struct Client {
    server: FolderServer,
    unique: Cell<u64>,
}

/// What a body is made of.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn u32s(mut self, fields: &[u32]) -> Self {
        fields.iter().for_each(|field| self.0.extend_from_slice(&field.to_le_bytes()));
        self
    }

    fn u64s(mut self, fields: &[u64]) -> Self {
        fields.iter().for_each(|field| self.0.extend_from_slice(&field.to_le_bytes()));
        self
    }

    fn text(mut self, text: &str) -> Self {
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

fn body() -> Body {
    Body::default()
}

impl Client {
    fn new(folder: &Path, read_only: bool, journal: Option<&Path>, held: usize) -> Self {
        Self { server: FolderServer::open(folder, read_only, journal, held).unwrap(), unique: Cell::new(1) }
    }

    fn raw(&self, opcode: u32, node: u64, body: &Body) -> Vec<u8> {
        self.send(opcode, node, body.0.clone())
    }

    fn send(&self, opcode: u32, node: u64, body: Vec<u8>) -> Vec<u8> {
        self.unique.set(self.unique.get() + 1);
        let mut message = Vec::new();
        for field in [(REQUEST_HEADER + body.len()) as u32, opcode] {
            message.extend_from_slice(&field.to_le_bytes());
        }
        for field in [self.unique.get(), node] {
            message.extend_from_slice(&field.to_le_bytes());
        }
        message.resize(REQUEST_HEADER, 0);
        message.extend(body);
        self.server.answer(&message)
    }

    fn ask(&self, opcode: u32, node: u64, body: Body) -> Result<Vec<u8>, Errno> {
        let mut answer = self.send(opcode, node, body.0);
        if answer.starts_with(&NOTICE) {
            answer.drain(..NOTICE_LENGTH);
        }
        let (length, error, unique) = parse_answer_header(answer[..ANSWER_HEADER].try_into().unwrap());
        assert_eq!((length, unique), (answer.len(), self.unique.get()));
        match error {
            0 => Ok(answer[ANSWER_HEADER..].to_vec()),
            error => Err(Errno::from_raw_os_error(-error)),
        }
    }

    /// A name's number and mode; 0 when nothing is there.
    fn look_up(&self, folder: u64, name: &str) -> Result<(u64, u32), Errno> {
        let answer = self.ask(opcode::LOOKUP, folder, body().text(name))?;
        let mut fields = Request::new(&answer);
        let number = fields.u64()?;
        fields.skip(32 + 60)?;
        Ok((number, fields.u32()?))
    }

    fn open(&self, node: u64, flags: u32) -> Result<u64, Errno> {
        let answer = self.ask(opcode::OPEN, node, body().u32s(&[flags, 0]))?;
        Request::new(&answer).u64()
    }

    fn create(&self, folder: u64, name: &str) -> Result<(u64, u64), Errno> {
        let answer = self.ask(
            opcode::CREATE,
            folder,
            body().u32s(&[WRITE_ONLY | CREATE, 0o100_644, 0o22, 0]).text(name),
        )?;
        let mut fields = Request::new(&answer);
        let number = fields.u64()?;
        fields.skip(120)?;
        Ok((number, fields.u64()?))
    }

    fn read(&self, node: u64, handle: u64) -> Result<Vec<u8>, Errno> {
        self.ask(opcode::READ, node, body().u64s(&[handle, 0]).u32s(&[4096, 0]).u64s(&[0]).u32s(&[0, 0]))
    }

    fn write(&self, node: u64, handle: u64, data: &[u8]) -> Result<(), Errno> {
        let size = data.len() as u32;
        let request =
            body().u64s(&[handle, 0]).u32s(&[size, 0]).u64s(&[0]).u32s(&[WRITE_ONLY, 0]).bytes(data);
        let answer = self.ask(opcode::WRITE, node, request)?;
        assert_eq!(Request::new(&answer).u32(), Ok(size));
        Ok(())
    }

    fn rename(&self, from: u64, name: &str, to: u64, to_name: &str) -> Result<(), Errno> {
        self.ask(opcode::RENAME, from, body().u64s(&[to]).text(name).text(to_name)).map(drop)
    }

    fn names(&self, opcode: u32, folder: u64, size: u32) -> Vec<String> {
        let answer = self.ask(opcode::OPENDIR, folder, body().u32s(&[0, 0])).unwrap();
        let handle = Request::new(&answer).u64().unwrap();
        let (mut names, mut offset) = (Vec::new(), 0);
        loop {
            let request = body().u64s(&[handle, offset]).u32s(&[size, 0]).u64s(&[0]).u32s(&[0, 0]);
            let answer = self.ask(opcode, folder, request).unwrap();
            if answer.is_empty() {
                return names;
            }
            let mut rest = &answer[..];
            while !rest.is_empty() {
                if opcode == opcode::READDIRPLUS {
                    rest = &rest[128..];
                }
                let mut entry = Request::new(rest);
                entry.skip(8).unwrap();
                offset = entry.u64().unwrap();
                let length = entry.u32().unwrap() as usize;
                names.push(String::from_utf8(rest[24..24 + length].to_vec()).unwrap());
                rest = &rest[(24 + length).next_multiple_of(8)..];
            }
        }
    }
}

fn shared() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(folder.path().join("secret"), "secret").unwrap();
    (folder, shared)
}

#[test]
fn files_are_made_written_linked_moved_and_removed() {
    let (_outside, shared) = shared();
    let client = Client::new(&shared, false, None, 64);
    let made = client.ask(opcode::MKDIR, ROOT, body().u32s(&[0o755, 0]).text("d")).unwrap();
    let folder = Request::new(&made).u64().unwrap();
    let (file, handle) = client.create(folder, "f").unwrap();
    client.write(file, handle, b"hello").unwrap();
    assert_eq!(fs::read(shared.join("d/f")).unwrap(), b"hello");
    let reader = client.open(file, 0).unwrap();
    assert_eq!(client.read(file, reader).unwrap(), b"hello");

    let linked = client.ask(opcode::LINK, ROOT, body().u64s(&[file]).text("l")).unwrap();
    assert_eq!(Request::new(&linked).u64().unwrap(), file, "the same file has one number");
    assert_eq!(fs::metadata(shared.join("l")).unwrap().nlink(), 2);
    client.rename(folder, "f", ROOT, "g").unwrap();
    assert_eq!(client.look_up(ROOT, "g").unwrap().0, file);
    assert_eq!(client.look_up(folder, "f").unwrap().0, 0);

    // Size 2 and mode 0600.
    let request = body().u32s(&[1 | 8, 0]).u64s(&[0, 2, 0, 0, 0, 0]).u32s(&[0, 0, 0, 0o600, 0, 0, 0, 0]);
    client.ask(opcode::SETATTR, file, request).unwrap();
    let found = fs::metadata(shared.join("g")).unwrap();
    assert_eq!((found.len(), found.permissions().mode() & 0o7777), (2, 0o600));

    client.ask(opcode::UNLINK, ROOT, body().text("l")).unwrap();
    assert_eq!(client.ask(opcode::RMDIR, ROOT, body().text("g")).unwrap_err(), Errno::NOTDIR);
    client.ask(opcode::RMDIR, ROOT, body().text("d")).unwrap();
    assert_eq!(fs::read_dir(&shared).unwrap().count(), 1);
}

#[test]
fn no_name_leads_out() {
    let (outside, shared) = shared();
    symlink(outside.path().join("secret"), shared.join("file")).unwrap();
    symlink(outside.path(), shared.join("folder")).unwrap();
    fs::create_dir(shared.join("d")).unwrap();
    let client = Client::new(&shared, false, None, 64);
    let (file, mode) = client.look_up(ROOT, "file").unwrap();
    assert_eq!(mode & 0o170_000, 0o120_000, "a link is a link");
    assert_eq!(client.open(file, 0), Err(Errno::LOOP));
    let (folder, _) = client.look_up(ROOT, "folder").unwrap();
    assert_eq!(client.look_up(folder, "secret"), Err(Errno::NOTDIR));
    assert_eq!(client.create(folder, "new").unwrap_err(), Errno::NOTDIR);
    let (inner, _) = client.look_up(ROOT, "d").unwrap();
    for name in ["..", ".", "", "../secret", "/etc/passwd"] {
        assert_eq!(client.look_up(inner, name), Err(Errno::INVAL), "{name}");
        assert_eq!(client.create(inner, name).unwrap_err(), Errno::INVAL, "{name}");
        assert_eq!(client.rename(ROOT, "d", inner, name), Err(Errno::INVAL), "{name}");
    }
    // A name that is a link by now opens nothing, and truncates nothing.
    let flags = WRITE_ONLY | CREATE | TRUNCATE;
    let request = body().u32s(&[flags, 0o100_644, 0o22, 0]).text("file");
    assert_eq!(client.ask(opcode::CREATE, ROOT, request).unwrap_err(), Errno::LOOP);
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret");
    let device = body().u32s(&[0o020_666, 0x103, 0, 0]).text("null");
    assert_eq!(client.ask(opcode::MKNOD, ROOT, device).unwrap_err(), Errno::PERM);
}

#[test]
fn no_race_leads_out() {
    let (outside, shared) = shared();
    fs::create_dir(shared.join("d")).unwrap();
    fs::write(shared.join("d/secret"), "mine").unwrap();
    symlink(outside.path(), shared.join("link")).unwrap();
    // No descriptor is kept: every access walks the path.
    let client = Client::new(&shared, false, None, 0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let names = ["d", "link", "spare"].map(|name| shared.join(name));
            while !stop.load(Ordering::Relaxed) {
                for (from, to) in [(0, 2), (1, 0), (0, 1), (2, 0)] {
                    fs::rename(&names[from], &names[to]).unwrap();
                }
            }
        });
        let mut read = 0;
        for _ in 0..20_000 {
            let Ok((folder, _)) = client.look_up(ROOT, "d") else { continue };
            let Ok((file, _)) = client.look_up(folder, "secret") else { continue };
            if let Ok(handle) = client.open(file, 0) {
                assert_eq!(client.read(file, handle).unwrap(), b"mine");
                let release = body().u64s(&[handle]).u32s(&[0, 0]).u64s(&[0]);
                client.ask(opcode::RELEASE, file, release).unwrap();
                read += 1;
                if read == 200 {
                    break;
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(read > 0, "sometimes the folder is there");
    });
}

#[test]
fn a_read_only_folder_stays_as_it_is() {
    let (_outside, shared) = shared();
    fs::write(shared.join("f"), "text").unwrap();
    let client = Client::new(&shared, true, None, 64);
    let (file, _) = client.look_up(ROOT, "f").unwrap();
    for flags in [WRITE_ONLY, 2, TRUNCATE, WRITE_ONLY | TRUNCATE] {
        assert_eq!(client.open(file, flags), Err(Errno::ROFS), "{flags:o}");
    }
    let handle = client.open(file, 0).unwrap();
    assert_eq!(client.read(file, handle).unwrap(), b"text");
    assert_eq!(client.write(file, handle, b"x"), Err(Errno::ROFS));
    assert_eq!(client.create(ROOT, "g"), Err(Errno::ROFS));
    assert_eq!(client.rename(ROOT, "f", ROOT, "g"), Err(Errno::ROFS));
    assert_eq!(client.ask(opcode::ACCESS, file, body().u32s(&[2, 0])), Err(Errno::ROFS));
    for (opcode, text) in
        [(opcode::MKDIR, "\0\0\0\0\0\0\0\0d"), (opcode::UNLINK, "f"), (opcode::SYMLINK, "l\0t")]
    {
        assert_eq!(client.ask(opcode, ROOT, body().text(text)), Err(Errno::ROFS));
    }
    let request = body().u32s(&[1, 0]).u64s(&[0; 6]).u32s(&[0; 8]);
    assert_eq!(client.ask(opcode::SETATTR, file, request), Err(Errno::ROFS));
    assert_eq!(fs::read(shared.join("f")).unwrap(), b"text");
}

#[test]
fn numbers_outlive_their_keeper() {
    let (outside, shared) = shared();
    fs::create_dir_all(shared.join("a/b")).unwrap();
    fs::write(shared.join("a/b/f"), "text").unwrap();
    fs::write(shared.join("a/g"), "gone").unwrap();
    let journal = outside.path().join("journal");
    let first = Client::new(&shared, false, Some(&journal), 64);
    let (a, _) = first.look_up(ROOT, "a").unwrap();
    let (b, _) = first.look_up(a, "b").unwrap();
    let (f, _) = first.look_up(b, "f").unwrap();
    let (g, _) = first.look_up(a, "g").unwrap();
    let handle = first.open(f, 0).unwrap();
    first.rename(a, "b", ROOT, "c").unwrap();
    first.ask(opcode::GETATTR, g, body().u32s(&[0, 0]).u64s(&[0])).unwrap();
    drop(first);
    fs::remove_file(shared.join("a/g")).unwrap();
    fs::write(shared.join("a/g"), "another").unwrap();

    let second = Client::new(&shared, false, Some(&journal), 64);
    assert_eq!(second.read(f, handle).unwrap(), b"text", "opened again");
    let answer = second.ask(opcode::GETATTR, g, body().u32s(&[0, 0]).u64s(&[0]));
    // Where files have no time of birth, a number that is used again is all there is to go by.
    assert!(matches!(answer, Err(Errno::STALE)) || cfg!(not(target_os = "linux")), "{answer:?}");
    let (other, _) = second.look_up(a, "g").unwrap();
    assert!(![a, b, f, g].contains(&other), "a number is not used again");
    second.raw(opcode::FORGET, f, &body().u64s(&[1]));
    assert_eq!(second.open(f, 0), Err(Errno::STALE));
}

#[test]
fn few_descriptors_are_enough() {
    let (_outside, shared) = shared();
    for number in 0..100 {
        fs::create_dir(shared.join(format!("d{number}"))).unwrap();
        fs::write(shared.join(format!("d{number}/f")), number.to_string()).unwrap();
    }
    let client = Client::new(&shared, false, None, 3);
    let nodes: Vec<u64> = (0..100)
        .map(|number| {
            let (folder, _) = client.look_up(ROOT, &format!("d{number}")).unwrap();
            client.look_up(folder, "f").unwrap().0
        })
        .collect();
    let held = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = held();
    for (number, node) in nodes.iter().enumerate() {
        let handle = client.open(*node, 0).unwrap();
        assert_eq!(client.read(*node, handle).unwrap(), number.to_string().as_bytes());
        client.ask(opcode::RELEASE, *node, body().u64s(&[handle]).u32s(&[0, 0]).u64s(&[0])).unwrap();
    }
    // Other tests open files meanwhile.
    assert!(held() < before + 80);
}

#[test]
fn who_opens_a_file_that_changed_here_is_told_so() {
    let (_outside, shared) = shared();
    fs::write(shared.join("f"), "old").unwrap();
    let client = Client::new(&shared, false, None, 64);
    let (file, _) = client.look_up(ROOT, "f").unwrap();
    let first = |answer: &[u8]| parse_answer_header(answer[..ANSWER_HEADER].try_into().unwrap());
    let open = body().u32s(&[0, 0]);
    assert_eq!(first(&client.raw(opcode::OPEN, file, &open)).1, 0);
    fs::write(shared.join("f"), "newer").unwrap();
    let answer = client.raw(opcode::OPEN, file, &open);
    assert_eq!(first(&answer), (40, INVALIDATE_INODE, 0));
    assert_eq!(first(&answer[40..]).2, client.unique.get(), "and then the answer");
    assert_eq!(first(&client.raw(opcode::OPEN, file, &open)).1, 0, "once");
}

#[test]
fn every_name_is_listed_once() {
    let (_outside, shared) = shared();
    let mut expected: BTreeSet<String> = (0..300).map(|number| format!("file-{number}")).collect();
    for name in &expected {
        fs::write(shared.join(name), "").unwrap();
    }
    expected.extend([".".to_owned(), "..".to_owned()]);
    let client = Client::new(&shared, false, None, 8);
    for opcode in [opcode::READDIR, opcode::READDIRPLUS] {
        let names = client.names(opcode, ROOT, 4096);
        assert_eq!(names.len(), expected.len());
        assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), expected);
    }
}

#[test]
fn attributes_of_the_users_own_kind_only() {
    let (_outside, shared) = shared();
    fs::write(shared.join("f"), "").unwrap();
    let client = Client::new(&shared, false, None, 8);
    let (file, _) = client.look_up(ROOT, "f").unwrap();
    let set = |name: &str| client.ask(opcode::SETXATTR, file, body().u32s(&[2, 0]).text(name).bytes(b"ab"));
    for name in ["security.capability", "trusted.x", "system.posix_acl_access", "user.machine.owner"] {
        assert_eq!(set(name), Err(Errno::OPNOTSUPP), "{name}");
    }
    match set("user.mine") {
        Ok(_) => {}
        // Not every file system has them.
        Err(Errno::OPNOTSUPP) => return,
        Err(error) => panic!("{error}"),
    }
    let get = |size: u32| client.ask(opcode::GETXATTR, file, body().u32s(&[size, 0]).text("user.mine"));
    assert_eq!(get(16).unwrap(), b"ab");
    assert_eq!(get(0).unwrap(), [2, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(get(1), Err(Errno::RANGE));
    assert_eq!(client.ask(opcode::LISTXATTR, file, body().u32s(&[64, 0])).unwrap(), b"user.mine\0");
}

#[test]
fn what_is_no_request_is_not_answered() {
    let (_outside, shared) = shared();
    let client = Client::new(&shared, false, None, 8);
    assert!(client.server.answer(&[1, 2, 3]).is_empty());
    assert_eq!(client.ask(opcode::OPEN, ROOT, body()), Err(Errno::INVAL));
    assert_eq!(client.ask(opcode::WRITE, ROOT, body().u64s(&[0, 0]).u32s(&[9999, 0])), Err(Errno::INVAL));
    assert_eq!(client.ask(9999, ROOT, body()), Err(Errno::NOSYS));
    assert_eq!(client.ask(opcode::GETATTR, 77, body().u32s(&[0, 0]).u64s(&[0])), Err(Errno::STALE));
}
