//! Routes of /exec, and of creating one in a container.

use super::{
    containers::stdio::{self, Parted},
    error::{ApiError, Result},
    frames::Framing,
    hijack::Hijack,
    json_body::JsonBody,
    query::Query,
    state::AppState,
};
use axum::{
    Json, Router,
    extract::{FromRequest, Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bollard_stubs::models::{ExecConfig, ExecStartConfig};
use engine::{
    container::DetachKeys,
    ports::{OutputFrame, StreamKind, TerminalSize},
};
use serde_json::{Value, json};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/containers/{id}/exec", post(create))
        .route("/exec/{id}/start", post(start))
        .route("/exec/{id}/resize", post(resize))
        .route("/exec/{id}/json", get(inspect))
}

async fn create(
    State(app): State<AppState>,
    Path(container): Path<String>,
    JsonBody(config): JsonBody<ExecConfig>,
) -> Result<(StatusCode, Json<Value>)> {
    let keys = config.detach_keys.as_deref().unwrap_or_default();
    DetachKeys::parse(keys)
        .map_err(|_| ApiError::bad_request(format!("Invalid escape keys ({keys}) provided")))?;
    let id = app.engine.containers.exec_create(&container, config).await?;
    Ok((StatusCode::CREATED, Json(json!({ "Id": id }))))
}

async fn start(
    State(app): State<AppState>,
    Path(id): Path<String>,
    hijack: Hijack,
    request: Request,
) -> Result<Response> {
    let JsonBody(options) = JsonBody::<ExecStartConfig>::from_request(request, &app).await?;
    let containers = app.engine.containers.clone();
    let config = containers.exec_inspect(&id)?.config;
    let size = options.console_size.as_deref().and_then(console_size);
    if options.detach.unwrap_or(false) {
        containers.exec_start(&id, true, size).await?;
        return Ok(StatusCode::OK.into_response());
    }
    containers.exec_ready(&id)?;
    let terminal = config.tty.unwrap_or(false);
    let keys = DetachKeys::parse(config.detach_keys.as_deref().unwrap_or_default())?;
    // The start's own word counts for the framing, as for dockerd; docker-py may leave it out.
    let framing = Framing::for_terminal(options.tty.unwrap_or(false));
    // Started when the client has the answer's head, as dockerd does: docker-py loses output that it reads
    // in one piece with the head. What goes wrong from here on is told in the stream.
    Ok(hijack.respond(framing, async move |mut io| match containers.exec_start(&id, false, size).await {
        Ok(Some(started)) => {
            if stdio::join(io, started.streams, framing, terminal.then_some(keys)).await == Parted::Detached {
                containers.exec_detached(&id);
            }
        }
        Ok(None) => {}
        Err(error) => {
            let data = format!("{error}\r\n").into();
            // The client may be gone.
            framing.write(&mut io.writer, &OutputFrame { stream: StreamKind::Stdout, data }).await.ok();
            io.close().await;
        }
    }))
}

async fn resize(State(app): State<AppState>, Path(id): Path<String>, query: Query) -> Result<StatusCode> {
    let size = super::containers::terminal_size(&query)?;
    app.engine.containers.exec_resize(&id, size).await?;
    Ok(StatusCode::OK)
}

async fn inspect(State(app): State<AppState>, Path(id): Path<String>) -> Result<Json<Value>> {
    let exec = app.engine.containers.exec_inspect(&id)?;
    let config = exec.config;
    let mut command = config.cmd.unwrap_or_default();
    let arguments = command.split_off(command.len().min(1));
    let yes = |flag: Option<bool>| flag.unwrap_or(false);
    let mut answer = json!({
        "ID": exec.id,
        "Running": exec.running,
        "ExitCode": exec.exit_code,
        "ProcessConfig": {
            "tty": yes(config.tty),
            "entrypoint": command.first().cloned().unwrap_or_default(),
            "arguments": arguments,
            "privileged": yes(config.privileged),
        },
        "OpenStdin": yes(config.attach_stdin),
        "OpenStderr": yes(config.attach_stderr),
        "OpenStdout": yes(config.attach_stdout),
        "CanRemove": false,
        "ContainerID": exec.container,
        "DetachKeys": config.detach_keys.unwrap_or_default(),
        "Pid": exec.pid,
    });
    if let Some(user) = config.user.filter(|user| !user.is_empty()) {
        answer["ProcessConfig"]["user"] = json!(user);
    }
    Ok(Json(answer))
}

/// `[height, width]`; nothing when either is zero.
fn console_size(size: &[usize]) -> Option<TerminalSize> {
    let [height, width] = size else { return None };
    let size = TerminalSize { width: u16::try_from(*width).ok()?, height: u16::try_from(*height).ok()? };
    (size.width > 0 && size.height > 0).then_some(size)
}
