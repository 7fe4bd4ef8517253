//! Folders over the wire: entries first, each numbered by its place, then the contents that were asked for.
//! Both sides end with FIN.

use super::session::said;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat, packet::PacketType};
use engine::{
    EngineError,
    build::buildkit::{EntryKind, FileEntry, FileSink, Files},
    error::Result,
};
use std::io::Read;
use tokio::sync::mpsc;
use tonic::Streaming;

/// Go's bits for what is no permission.
const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const TYPE: u32 = DIRECTORY | SYMLINK | 1 << 26 | FIFO | SOCKET | 1 << 21 | 1 << 19;
/// Go's bits and the kernel's for setuid, setgid and sticky.
const SPECIAL: [(u32, u32); 3] = [(1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000)];
/// Bytes of a file that are sent at once.
const PIECE: usize = 32 << 10;

/// Takes a folder in. Requests go out on `sender`, which takes at most one for every entry.
pub(super) async fn receive(
    mut packets: Streaming<Packet>,
    sender: &mpsc::UnboundedSender<Packet>,
    sink: &mut dyn FileSink,
) -> Result<()> {
    let broken = || EngineError::invalid("The client ended the transfer of files early");
    let send = |kind: PacketType, id: u32| {
        sender.send(Packet { r#type: kind.into(), id, ..Packet::default() }).map_err(|_| broken())
    };
    let (mut number, mut awaited, mut listed, mut finished) = (0, 0_u64, false, false);
    loop {
        if listed && awaited == 0 && !finished {
            send(PacketType::PacketFin, 0)?;
            finished = true;
        }
        let packet = packets.message().await.map_err(|status| said("Could not load files", &status))?;
        let Some(packet) = packet else { return Err(broken()) };
        match packet.r#type() {
            PacketType::PacketStat => match packet.stat {
                Some(stat) => {
                    if sink.entry(entry(stat))? {
                        awaited += 1;
                        send(PacketType::PacketReq, number)?;
                    }
                    number += 1;
                }
                None => listed = true,
            },
            PacketType::PacketData if packet.data.is_empty() => {
                awaited = awaited.checked_sub(1).ok_or_else(broken)?;
                sink.complete(packet.id)?;
            }
            PacketType::PacketData => sink.content(packet.id, &packet.data)?,
            PacketType::PacketFin => return Ok(()),
            PacketType::PacketErr => {
                return Err(EngineError::invalid(String::from_utf8_lossy(&packet.data).into_owned()));
            }
            PacketType::PacketReq => return Err(broken()),
        }
    }
}

/// Sends a folder: answers to `packets` go out on `sender`. Says how many bytes of content that were. The
/// client's packets may begin only after it has heard ours.
pub(super) async fn send(
    files: &Files,
    packets: impl Future<Output = Result<Streaming<Packet>>>,
    sender: &mpsc::Sender<Packet>,
) -> Result<u64> {
    let broken = || EngineError::invalid("The client ended the transfer of files early");
    let put = async |packet: Packet| sender.send(packet).await.map_err(|_| broken());
    let of = |kind: PacketType| Packet { r#type: kind.into(), ..Packet::default() };
    let list = async {
        for number in 0..files.count() {
            let stat = files.entry(number).map(stat);
            put(Packet { stat, ..of(PacketType::PacketStat) }).await?;
        }
        // Nothing is the end of the list.
        put(of(PacketType::PacketStat)).await
    };
    let answer = async {
        let mut packets = packets.await?;
        let mut sent = 0;
        loop {
            let packet = packets.message().await.map_err(|status| said("Could not send files", &status))?;
            let Some(packet) = packet else { return Err(broken()) };
            match packet.r#type() {
                PacketType::PacketReq => {
                    let number = usize::try_from(packet.id).unwrap_or(usize::MAX);
                    if let Some(mut content) = files.content(number) {
                        loop {
                            let mut data = vec![0; PIECE];
                            let read = content
                                .read(&mut data)
                                .map_err(|e| EngineError::system("Could not read files").because(e))?;
                            data.truncate(read);
                            if read == 0 {
                                break;
                            }
                            sent += read as u64;
                            put(Packet { id: packet.id, data, ..of(PacketType::PacketData) }).await?;
                        }
                    }
                    put(Packet { id: packet.id, ..of(PacketType::PacketData) }).await?;
                }
                PacketType::PacketFin => {
                    put(of(PacketType::PacketFin)).await?;
                    return Ok(sent);
                }
                PacketType::PacketErr => {
                    return Err(EngineError::invalid(String::from_utf8_lossy(&packet.data).into_owned()));
                }
                PacketType::PacketStat | PacketType::PacketData => return Err(broken()),
            }
        }
    };
    let (listed, answered) = tokio::join!(list, answer);
    listed?;
    answered
}

fn entry(stat: Stat) -> FileEntry {
    let kind = match stat.mode & TYPE {
        0 if !stat.linkname.is_empty() => EntryKind::SameAs { path: stat.linkname },
        0 => EntryKind::File { length: u64::try_from(stat.size).unwrap_or(0) },
        DIRECTORY => EntryKind::Folder,
        SYMLINK => EntryKind::Link { target: stat.linkname },
        FIFO => EntryKind::Fifo,
        _ => EntryKind::Other,
    };
    let special = SPECIAL.iter().filter(|(go, _)| stat.mode & go != 0).map(|(_, kernel)| kernel);
    let mut attributes: Vec<(String, Vec<u8>)> = stat.xattrs.into_iter().collect();
    attributes.sort();
    FileEntry {
        path: stat.path,
        kind,
        mode: special.fold(stat.mode & 0o777, |mode, bit| mode | bit),
        modified: stat.mod_time,
        attributes,
    }
}

fn stat(entry: FileEntry) -> Stat {
    let special = SPECIAL.iter().filter(|(_, kernel)| entry.mode & kernel != 0).map(|(go, _)| go);
    let mut stat = Stat {
        path: entry.path,
        mode: special.fold(entry.mode & 0o777, |mode, bit| mode | bit),
        mod_time: entry.modified,
        xattrs: entry.attributes.into_iter().collect(),
        ..Stat::default()
    };
    match entry.kind {
        EntryKind::File { length } => stat.size = i64::try_from(length).unwrap_or(i64::MAX),
        EntryKind::Folder => stat.mode |= DIRECTORY,
        EntryKind::Link { target } => {
            stat.mode |= SYMLINK;
            stat.linkname = target;
        }
        EntryKind::SameAs { path } => stat.linkname = path,
        EntryKind::Fifo => stat.mode |= FIFO,
        // Nothing that a client could mistake for a file.
        EntryKind::Other => stat.mode |= SOCKET,
    }
    stat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos_on_the_wire() {
        let there = FileEntry {
            path: "a/b".into(),
            kind: EntryKind::File { length: 3 },
            mode: 0o4755,
            modified: 5,
            attributes: vec![("user.x".into(), b"1".to_vec())],
        };
        let wire = stat(there.clone());
        assert_eq!(wire.mode, 1 << 23 | 0o755);
        assert_eq!(entry(wire), there);
        for kind in
            [EntryKind::Folder, EntryKind::Link { target: "x".into() }, EntryKind::Fifo, EntryKind::Other]
        {
            let there = FileEntry { kind, ..FileEntry::default() };
            assert_eq!(entry(stat(there.clone())), there);
        }
    }
}
