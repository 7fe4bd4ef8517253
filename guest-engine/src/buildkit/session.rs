//! A connected client as a build sees it: each question is a call on the session's connection.

use super::{
    files,
    outgoing::{add_metadata, stream_of},
};
use bollard_buildkit_proto::moby::{
    buildkit::secrets::v1::{GetSecretRequest, secrets_client::SecretsClient},
    filesync::{
        packet::file_sync_client::FileSyncClient,
        v1::{CredentialsRequest, CredentialsResponse, auth_client::AuthClient},
    },
    sshforward::v1::{BytesMessage, CheckAgentRequest, ssh_client::SshClient},
    upload::v1::upload_client::UploadClient,
};
use bytes::Bytes;
use engine::{
    EngineError,
    build::buildkit::{BuildClient, Duplex, FileSink, FolderRequest},
    error::Result,
};
use futures_util::{StreamExt, stream::BoxStream};
use std::{collections::HashSet, io};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status, transport::Channel};

/// Messages of clients are at most this long; they send files in far smaller pieces.
pub(super) const MESSAGE: usize = 16 << 20;
/// Bytes of an agent's message that are read at once.
const AGENT: usize = 32 << 10;

/// One client.
#[derive(Debug)]
pub(super) struct Session {
    key: String,
    /// What it serves, in lower case.
    methods: HashSet<String>,
    pub(super) channel: Channel,
    /// Cancelled when it has gone.
    pub(super) gone: CancellationToken,
}

impl Session {
    pub(super) fn new(
        key: String,
        methods: HashSet<String>,
        channel: Channel,
        gone: CancellationToken,
    ) -> Self {
        Self { key, methods, channel, gone }
    }

    fn serves(&self, method: &str) -> bool {
        self.methods.contains(&method.to_ascii_lowercase())
    }
}

#[tonic::async_trait]
impl BuildClient for Session {
    fn shared_key(&self) -> &str {
        &self.key
    }

    async fn files(&self, request: FolderRequest, sink: &mut dyn FileSink) -> Result<()> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut call = Request::new(super::outgoing::unbounded_stream_of(receiver));
        add_metadata(&mut call, "dir-name", &[request.name]);
        add_metadata(&mut call, "followpaths", &request.follow);
        add_metadata(&mut call, "exclude-patterns", &request.exclude);
        let mut client = FileSyncClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE);
        let packets = client.diff_copy(call).await.map_err(|status| said("Could not load files", &status))?;
        files::receive(packets.into_inner(), &sender, sink).await
    }

    async fn upload(&self, path: &str) -> Result<BoxStream<'static, io::Result<Bytes>>> {
        let (_nothing, receiver) = mpsc::channel(1);
        let mut call = Request::new(stream_of(receiver));
        add_metadata(&mut call, "urlpath", &[path.to_owned()]);
        add_metadata(&mut call, "urlhost", &["buildkit-session".to_owned()]);
        let mut client = UploadClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE);
        let pulled = client.pull(call).await.map_err(|status| said("Could not load the context", &status))?;
        let pieces = pulled.into_inner().map(move |piece| {
            let _open = &_nothing;
            piece.map(|message| Bytes::from(message.data)).map_err(io::Error::other)
        });
        Ok(Box::pin(pieces))
    }

    async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>> {
        if !self.serves("/moby.buildkit.secrets.v1.Secrets/GetSecret") {
            return Ok(None);
        }
        let request = GetSecretRequest { id: id.to_owned(), ..GetSecretRequest::default() };
        match SecretsClient::new(self.channel.clone()).get_secret(request).await {
            Ok(answer) => Ok(Some(answer.into_inner().data)),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(said(&format!("Could not get the secret {id}"), &status)),
        }
    }

    async fn credentials(&self, host: &str) -> Result<Option<(String, String)>> {
        if !self.serves("/moby.filesync.v1.Auth/Credentials") {
            return Ok(None);
        }
        let request = CredentialsRequest { host: host.to_owned() };
        match AuthClient::new(self.channel.clone()).credentials(request).await {
            Ok(answer) => {
                let CredentialsResponse { username, secret } = answer.into_inner();
                Ok(Some((username, secret)).filter(|(_, secret)| !secret.is_empty()))
            }
            Err(status) if matches!(status.code(), Code::NotFound | Code::Unimplemented) => Ok(None),
            Err(status) => Err(said(&format!("Could not get the password for {host}"), &status)),
        }
    }

    async fn has_agent(&self, id: &str) -> Result<bool> {
        if !self.serves("/moby.sshforward.v1.SSH/CheckAgent") {
            return Ok(false);
        }
        let request = CheckAgentRequest { id: id.to_owned() };
        match SshClient::new(self.channel.clone()).check_agent(request).await {
            Ok(_) => Ok(true),
            // It has others, but not this one.
            Err(status) if matches!(status.code(), Code::NotFound | Code::Unknown) => Ok(false),
            Err(status) => Err(said("Could not ask for an SSH agent", &status)),
        }
    }

    async fn agent(&self, id: &str, stream: Box<dyn Duplex>) -> Result<()> {
        let (sender, receiver) = mpsc::channel(4);
        let mut call = Request::new(stream_of(receiver));
        add_metadata(&mut call, "buildkit.ssh.id", &[id.to_owned()]);
        let mut client = SshClient::new(self.channel.clone());
        let (mut reader, mut writer) = tokio::io::split(stream);
        let ask = async {
            let mut buffer = vec![0; AGENT];
            while let Ok(read @ 1..) = reader.read(&mut buffer).await {
                if sender.send(BytesMessage { data: buffer[..read].to_vec() }).await.is_err() {
                    break;
                }
            }
        };
        // The client says nothing, not even that it is there, before it is asked something.
        let answer = async {
            let answers = client.forward_agent(call).await;
            let mut answers =
                answers.map_err(|status| said("Could not reach the SSH agent", &status))?.into_inner();
            while let Some(Ok(message)) = answers.next().await {
                if writer.write_all(&message.data).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        // Whoever hangs up ends it for both.
        tokio::select! {
            () = ask => Ok(()),
            answered = answer => answered,
        }
    }
}

/// A client's failure as the engine's.
pub(super) fn said(what: &str, status: &Status) -> EngineError {
    let message = match status.message() {
        "" => format!("{what}: {}", status.code()),
        message => format!("{what}: {message}"),
    };
    EngineError::invalid(message)
}
