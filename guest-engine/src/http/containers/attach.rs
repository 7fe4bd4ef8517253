//! POST /containers/{id}/attach: the connection becomes the container's standard streams.

use super::stdio::{self, Parted};
use crate::http::{error::Result, frames::Framing, hijack::Hijack, query::Query, state::AppState};
use axum::{
    extract::{Path, State},
    response::Response,
};
use engine::{
    container::{DetachKeys, logs::LogQuery},
    ports::AttachRequest,
};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

pub(super) async fn attach(
    State(app): State<AppState>,
    Path(id): Path<String>,
    query: Query,
    hijack: Hijack,
) -> Result<Response> {
    let containers = app.engine.containers.clone();
    let keys = DetachKeys::parse(query.text("detachKeys"))?;
    let terminal = containers.inspect(&id)?.record.terminal();
    let request = AttachRequest {
        stdin: query.flag("stdin") && hijack.has_input(),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
    };
    // Both before the answer, so that every failure still has a status.
    let past = match query.flag("logs") {
        true => {
            let query = LogQuery { stdout: request.stdout, stderr: request.stderr, ..LogQuery::default() };
            Some(containers.logs(&id, query).await?)
        }
        false => None,
    };
    let live = if query.flag("stream") { Some(containers.attach(&id, request).await?) } else { None };
    let framing = Framing::for_terminal(terminal);
    Ok(hijack.respond(framing, async move |mut io| {
        if let Some(mut past) = past {
            while let Some(Ok(batch)) = past.frames.next().await {
                if io.writer.write_all(&framing.encode_all(&batch)).await.is_err() {
                    return;
                }
            }
            if io.writer.flush().await.is_err() {
                return;
            }
        }
        let streams = match live {
            Some(live) => live.connected().await,
            None => None,
        };
        let Some(streams) = streams else {
            // Nothing more to say.
            return io.close().await;
        };
        if stdio::join(io, streams, framing, terminal.then_some(keys)).await == Parted::Detached {
            containers.detached(&id);
        }
    }))
}
