//! Answers of pulls and pushes: a line for everything that happens, as the docker client draws it.

use crate::http::{
    error::Result,
    json_stream::{error_line, json_lines},
};
use axum::response::Response;
use engine::image::Progress;
use futures_util::{future::BoxFuture, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

type Done = engine::error::Result<()>;

/// Goes on with `work` as long as somebody reads the answer. What fails before the first line is an ordinary
/// error answer, what fails later is in-band.
pub(super) async fn answer(
    work: impl Future<Output = Done> + Send + 'static,
    lines: Receiver<Progress>,
) -> Result<Response> {
    let mut running = Running { work: Box::pin(work), done: None, lines, failure_said: false };
    let first = running.next_line().await;
    if first.is_none()
        && let Some(Err(error)) = running.done.take_if(|done| done.is_err())
    {
        return Err(error.into());
    }
    let rest = stream::unfold((running, first), |(mut running, first)| async move {
        let line = match first {
            Some(first) => wire(&first),
            None => running.next().await?,
        };
        Some((line, (running, None)))
    });
    Ok(json_lines(rest))
}

struct Running {
    work: BoxFuture<'static, Done>,
    done: Option<Done>,
    lines: Receiver<Progress>,
    failure_said: bool,
}

impl Running {
    async fn next(&mut self) -> Option<Value> {
        if let Some(line) = self.next_line().await {
            return Some(wire(&line));
        }
        match &self.done {
            Some(Err(error)) if !self.failure_said => {
                self.failure_said = true;
                Some(error_line(&error.to_string()))
            }
            _ => None,
        }
    }

    /// `None` when the work is done and everything has been said.
    async fn next_line(&mut self) -> Option<Progress> {
        while self.done.is_none() {
            tokio::select! {
                biased;
                Some(line) = self.lines.recv() => return Some(line),
                done = &mut self.work => self.done = Some(done),
            }
        }
        self.lines.try_recv().ok()
    }
}

pub(in crate::http) fn wire(progress: &Progress) -> Value {
    match progress {
        Progress::Message { id: Some(id), text } => json!({ "status": text, "id": id }),
        Progress::Message { id: None, text } => json!({ "status": text }),
        Progress::Layer { id, action, amount: None } => {
            json!({ "status": action, "progressDetail": {}, "id": id })
        }
        Progress::Layer { id, action, amount: Some((current, total)) } => json!({
            "status": action,
            "progressDetail": { "current": current, "total": total },
            "progress": bar(*current, *total),
            "id": id,
        }),
        Progress::Pushed { tag, digest, size } => json!({
            "progressDetail": {},
            "aux": { "Tag": tag, "Digest": digest, "Size": size },
        }),
    }
}

/// For clients that do not draw themselves.
fn bar(current: u64, total: u64) -> String {
    if total == 0 {
        return format!("{:>8}", human(current));
    }
    let done = usize::try_from((current.saturating_mul(50) / total).min(50)).unwrap_or(50);
    let (line, rest) = ("=".repeat(done), " ".repeat(50 - done));
    format!("[{line}>{rest}] {:>8}/{}", human(current), human(total))
}

/// Four digits and a decimal unit: `1.234MB`.
fn human(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut unit = "B";
    for larger in ["kB", "MB", "GB", "TB", "PB"] {
        if size < 1000.0 {
            break;
        }
        size /= 1000.0;
        unit = larger;
    }
    let decimals = match size {
        size if size >= 1000.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 10.0 => 2,
        _ => 3,
    };
    let text = format!("{size:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_dockers() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_234_567, "1.235MB"),
            (76_181_014, "76.18MB"),
            (123_456_789, "123.5MB"),
        ] {
            assert_eq!(human(bytes), text);
        }
        assert_eq!(bar(1, 2), format!("[{}>{}]       1B/2B", "=".repeat(25), " ".repeat(25)));
        assert_eq!(bar(2, 2), format!("[{}>]       2B/2B", "=".repeat(50)));
    }

    #[tokio::test]
    async fn early_failures_are_errors_and_late_ones_lines() {
        let (_, lines) = engine::image::progress();
        let early = answer(async { Err(engine::EngineError::not_found("nothing")) }, lines).await;
        assert_eq!(early.unwrap_err().message(), "nothing");
        let (_, lines) = engine::image::progress();
        let fine = answer(async { Ok(()) }, lines).await.unwrap();
        assert_eq!(axum::body::to_bytes(fine.into_body(), 1024).await.unwrap(), "");
    }
}
