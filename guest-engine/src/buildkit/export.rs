//! From a finished build to what the client wants of it.

use super::{
    BuildKit,
    builds::Job,
    failure,
    outgoing::{add_metadata, stream_of},
    session::{MESSAGE, Session, said},
};
use bollard_buildkit_proto::moby::{
    buildkit::v1::SolveRequest,
    filesync::{
        packet::file_send_client::FileSendClient as FolderClient,
        v1::{BytesMessage, file_send_client::FileSendClient},
    },
};
use bytes::Bytes;
use engine::{
    EngineError,
    build::{
        BuildFailure,
        buildkit::{Event, Files, Notice, Solved, Watcher},
    },
    error::Result,
};
use futures_util::{StreamExt, stream::BoxStream};
use std::{
    collections::HashMap,
    io::{self, Read},
};
use tokio::sync::mpsc;
use tonic::{Request, Status};

/// Messages that wait for the client.
const AHEAD: usize = 16;
/// Bytes of an archive that are sent at once.
const PIECE: usize = 64 << 10;

/// Exports what the client asked for; gives what `Solve` answers.
pub(super) async fn export(
    shared: &BuildKit,
    job: &Job,
    request: &SolveRequest,
    solved: Option<&Solved>,
) -> Result<HashMap<String, String>, Status> {
    let mut answer = HashMap::new();
    let asked = match request.exporters.as_slice() {
        [] if request.exporter_deprecated.is_empty() => Vec::new(),
        [] => vec![(request.exporter_deprecated.as_str(), &request.exporter_attrs_deprecated)],
        several => several.iter().map(|one| (one.r#type.as_str(), &one.attrs)).collect(),
    };
    // Nothing was built: a client that only tries what there is.
    let Some(solved) = solved else { return Ok(answer) };
    for (number, (kind, attributes)) in asked.into_iter().enumerate() {
        let session = || {
            let none = || Status::unknown("the client has no session to send files to");
            job.session.as_deref().ok_or_else(none)
        };
        match kind {
            // Clients that know whom they talk to ask for this, and push by the engine's own API.
            "moby" => answer.extend(image(shared, job, solved, attributes, false).await?),
            "image" => {
                let push = attributes.get("push").is_some_and(|push| push == "true");
                answer.extend(image(shared, job, solved, attributes, push).await?);
            }
            "docker" | "oci" => {
                if attributes.get("tar").is_some_and(|tar| tar == "false") {
                    return Err(Status::unknown(format!(
                        "--output type={kind},tar=false is not supported by this engine: it makes an archive"
                    )));
                }
                warn(job, attributes, "uncompressed");
                let title = format!("exporting to {kind} image format");
                let (builder, names) = (&shared.engine.builder, names(attributes));
                let exported = builder.export_archive(solved, &names, job.caches.inline, &title);
                let (id, archive) = exported.await.map_err(|failure| failure::plain(&failure.error))?;
                send(session()?, archive, number).await.map_err(|error| failure::plain(&error))?;
                answer.extend(described(&id, &names));
            }
            "local" => {
                let files = files(shared, solved, "exporting to client directory").await?;
                folder(session()?, files, number).await.map_err(|error| failure::plain(&error))?;
            }
            "tar" => {
                let files = files(shared, solved, "exporting to client tarball").await?;
                archive(session()?, files, number).await.map_err(|error| failure::plain(&error))?;
            }
            other => return Err(Status::unknown(format!("exporter {other:?} could not be found"))),
        }
    }
    for (name, all) in &job.caches.to {
        let session = job.session.as_deref();
        let session = session.ok_or_else(|| Status::unknown("a push needs the client's session"))?;
        let exported = shared.engine.builder.export_cache(solved, session, name, *all).await;
        exported.map_err(|failure| failure::plain(&failure.error))?;
    }
    Ok(answer)
}

async fn image(
    shared: &BuildKit,
    job: &Job,
    solved: &Solved,
    attributes: &HashMap<String, String>,
    push: bool,
) -> Result<HashMap<String, String>, Status> {
    warn(job, attributes, "gzip");
    let names = names(attributes);
    let builder = &shared.engine.builder;
    let failed = |failure: BuildFailure| failure::plain(&failure.error);
    let id = builder.export_image(solved, &names, job.caches.inline).await.map_err(failed)?;
    if push {
        let session = job.session.as_deref();
        let session = session.ok_or_else(|| Status::unknown("a push needs the client's session"))?;
        builder.push_image(solved, session, &id, &names).await.map_err(failed)?;
    }
    Ok(described(&id, &names))
}

fn names(attributes: &HashMap<String, String>) -> Vec<String> {
    let names = attributes.get("name").map(String::as_str).unwrap_or_default();
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// What clients write to their metadata files.
fn described(id: &str, names: &[String]) -> HashMap<String, String> {
    let mut answer = HashMap::from([
        ("containerimage.digest".to_owned(), id.to_owned()),
        ("containerimage.config.digest".to_owned(), id.to_owned()),
    ]);
    if !names.is_empty() {
        answer.insert("image.name".to_owned(), names.join(","));
    }
    answer
}

/// Says what is asked of an image and not done.
fn warn(job: &Job, attributes: &HashMap<String, String>, compression: &str) {
    for text in not_done(attributes, compression) {
        job.feed.tell(Event::Warning(Notice { text, ..Notice::default() }));
    }
}

/// What is not done of an exporter's attributes, when its layers are compressed in one way only.
fn not_done(attributes: &HashMap<String, String>, compression: &str) -> Vec<String> {
    let mut texts = Vec::new();
    if attributes.keys().any(|key| key.starts_with("annotation")) {
        texts.push(
            "annotations are not kept: images of this engine have a configuration and labels".to_owned(),
        );
    }
    if let Some(asked) = attributes.get("compression").filter(|asked| *asked != compression) {
        texts.push(format!(
            "compression={asked} is not used: layers come out of this engine as {compression}"
        ));
    }
    texts
}

async fn files(shared: &BuildKit, solved: &Solved, title: &str) -> Result<Files, Status> {
    let packed = shared.engine.builder.export_files(solved, title).await;
    packed.map_err(|failure| failure::plain(&failure.error))
}

/// `--output type=local`
async fn folder(session: &Session, files: Files, number: usize) -> Result<()> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let mut call = Request::new(stream_of(receiver));
    add_metadata(&mut call, "buildkit-attachable-exporter-id", &[number.to_string()]);
    let mut client = FolderClient::new(session.channel.clone()).max_decoding_message_size(MESSAGE);
    let packets = async {
        let packets = client.diff_copy(call).await;
        Ok(packets.map_err(|status| said("Could not send files", &status))?.into_inner())
    };
    let sent = super::files::send(&files, packets, &sender).await?;
    files.done(sent);
    Ok(())
}

/// `--output type=tar`
async fn archive(session: &Session, mut files: Files, number: usize) -> Result<()> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let sending = async {
        let mut sent = 0;
        loop {
            let mut data = vec![0; PIECE];
            let read = files.archive().read(&mut data);
            let read = read.map_err(|e| EngineError::system("Could not read files").because(e))?;
            data.truncate(read);
            sent += read as u64;
            if read == 0 || sender.send(BytesMessage { data }).await.is_err() {
                drop(sender);
                return Ok(sent);
            }
        }
    };
    let (taken, sent): (Result<()>, Result<u64>) = tokio::join!(taken(session, receiver, number), sending);
    taken?;
    let sent = sent?;
    files.done(sent);
    Ok(())
}

/// `--output type=docker` and `oci`
async fn send(
    session: &Session,
    mut archive: BoxStream<'static, io::Result<Bytes>>,
    number: usize,
) -> Result<()> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let sending = async {
        while let Some(piece) = archive.next().await {
            let piece = piece.map_err(|e| EngineError::system("Could not read the image").because(e))?;
            for part in piece.chunks(PIECE) {
                if sender.send(BytesMessage { data: part.to_vec() }).await.is_err() {
                    return Ok(());
                }
            }
        }
        drop(sender);
        Ok(())
    };
    let (taken, sent): (Result<()>, Result<()>) = tokio::join!(taken(session, receiver, number), sending);
    taken?;
    sent
}

/// The client takes an archive. It says nothing, not even that it is there, before it has everything.
async fn taken(session: &Session, receiver: mpsc::Receiver<BytesMessage>, number: usize) -> Result<()> {
    let mut call = Request::new(stream_of(receiver));
    add_metadata(&mut call, "buildkit-attachable-exporter-id", &[number.to_string()]);
    let mut client = FileSendClient::new(session.channel.clone());
    let answers = client.diff_copy(call).await;
    let mut answers = answers.map_err(|status| said("Could not send files", &status))?.into_inner();
    while answers.message().await.map_err(|status| said("Could not send files", &status))?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_done_is_said() {
        let asked = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            not_done(&pairs.collect(), "uncompressed")
        };
        assert_eq!(asked(&[("name", "x"), ("compression", "uncompressed")]), [""; 0]);
        assert_eq!(
            asked(&[("compression", "zstd")]),
            ["compression=zstd is not used: layers come out of this engine as uncompressed"]
        );
        assert!(asked(&[("annotation.a", "b")])[0].starts_with("annotations are not kept"));
    }
}
