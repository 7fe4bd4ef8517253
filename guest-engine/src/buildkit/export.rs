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
use engine::{
    EngineError,
    build::buildkit::{Files, Solved},
    error::Result,
};
use std::{collections::HashMap, io::Read};
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
            "moby" | "image" => answer.extend(image(shared, solved, attributes).await?),
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
    Ok(answer)
}

async fn image(
    shared: &BuildKit,
    solved: &Solved,
    attributes: &HashMap<String, String>,
) -> Result<HashMap<String, String>, Status> {
    let names: Vec<String> = attributes
        .get("name")
        .map(|names| names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
        .unwrap_or_default();
    let made = shared.engine.builder.export_image(solved, &names).await;
    let id = made.map_err(|failure| failure::plain(&failure.error))?;
    let mut answer = HashMap::from([
        ("containerimage.digest".to_owned(), id.clone()),
        ("containerimage.config.digest".to_owned(), id),
    ]);
    if !names.is_empty() {
        answer.insert("image.name".to_owned(), names.join(","));
    }
    Ok(answer)
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
    let mut call = Request::new(stream_of(receiver));
    add_metadata(&mut call, "buildkit-attachable-exporter-id", &[number.to_string()]);
    let mut client = FileSendClient::new(session.channel.clone());
    // The client says nothing, not even that it is there, before it has everything.
    let taken = async {
        let answers = client.diff_copy(call).await;
        let mut answers = answers.map_err(|status| said("Could not send files", &status))?.into_inner();
        while answers.message().await.map_err(|status| said("Could not send files", &status))?.is_some() {}
        Ok(())
    };
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
    let (taken, sent): (Result<()>, Result<u64>) = tokio::join!(taken, sending);
    taken?;
    let sent = sent?;
    files.done(sent);
    Ok(())
}
