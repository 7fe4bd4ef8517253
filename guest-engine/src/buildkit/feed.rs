//! Progress of one build, kept from its beginning so that a client that comes late has seen everything.

use bollard_buildkit_proto::{
    google::protobuf::Timestamp,
    moby::buildkit::v1::{StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning},
    pb::{Position, Range, SourceInfo},
};
use engine::build::buildkit::{self, Event, Excerpt, Notice, Watcher};
use futures_util::{Stream, stream};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::Notify;

/// One build's progress.
#[derive(Debug, Default)]
pub(super) struct Feed {
    told: Mutex<Told>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Told {
    events: Vec<(SystemTime, Event)>,
    ended: bool,
}

impl Watcher for Feed {
    fn tell(&self, event: Event) {
        self.lock().events.push((SystemTime::now(), event));
        self.more.notify_waiters();
    }
}

impl Feed {
    /// Nothing more will come.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.more.notify_waiters();
    }

    /// Everything from the beginning on, until the end.
    pub(super) fn stream(
        self: Arc<Self>,
    ) -> impl Stream<Item = Result<StatusResponse, tonic::Status>> + Send + 'static {
        stream::unfold((self, 0), |(feed, seen)| async move {
            let (answer, seen) = feed.after(seen).await?;
            Some((Ok(answer), (feed, seen)))
        })
    }

    async fn after(&self, seen: usize) -> Option<(StatusResponse, usize)> {
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            // Before looking: what comes after that wakes us.
            more.as_mut().enable();
            {
                let told = self.lock();
                if told.events.len() > seen {
                    return Some((answer(&told.events[seen..]), told.events.len()));
                }
                if told.ended {
                    return None;
                }
            }
            more.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(events: &[(SystemTime, Event)]) -> StatusResponse {
    let mut answer = StatusResponse::default();
    for (time, event) in events {
        match event.clone() {
            Event::Vertex(vertex) => answer.vertexes.push(wire_vertex(vertex)),
            Event::Status(status) => answer.statuses.push(VertexStatus {
                id: status.id.clone(),
                vertex: status.vertex,
                name: status.id,
                current: signed(status.current),
                total: signed(status.total),
                timestamp: Some(stamp(*time)),
                started: Some(stamp(status.started)),
                completed: status.completed.map(stamp),
            }),
            Event::Log { vertex, stream, data } => answer.logs.push(VertexLog {
                vertex,
                timestamp: Some(stamp(*time)),
                stream,
                msg: data.to_vec(),
            }),
            Event::Warning(notice) => answer.warnings.push(wire_warning(notice)),
        }
    }
    answer
}

fn wire_vertex(vertex: buildkit::Vertex) -> Vertex {
    Vertex {
        digest: vertex.digest,
        inputs: vertex.inputs,
        name: vertex.name,
        cached: vertex.cached,
        started: vertex.started.map(stamp),
        completed: vertex.completed.map(stamp),
        error: vertex.error,
        progress_group: None,
    }
}

fn wire_warning(notice: Notice) -> VertexWarning {
    let line = |number: usize| Position { line: i32::try_from(number).unwrap_or(i32::MAX), character: 0 };
    let (info, ranges) = match notice.place {
        Some(Excerpt { file, text, lines: (first, last) }) => (
            Some(SourceInfo {
                filename: file,
                data: text.as_bytes().to_vec(),
                language: "Dockerfile".to_owned(),
                ..SourceInfo::default()
            }),
            vec![Range { start: Some(line(first)), end: Some(line(last)) }],
        ),
        None => (None, Vec::new()),
    };
    let detail = Some(notice.detail.into_bytes()).filter(|detail| !detail.is_empty());
    VertexWarning {
        vertex: notice.vertex,
        level: 1,
        short: notice.text.into_bytes(),
        detail: detail.into_iter().collect(),
        url: notice.url,
        info,
        ranges,
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A moment as protobuf has it.
pub(super) fn stamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;

    #[tokio::test]
    async fn who_comes_late_has_missed_nothing() {
        let feed = Arc::new(Feed::default());
        feed.tell(Event::Log { vertex: "v".into(), stream: 1, data: "a".into() });
        let mut stream = Box::pin(Arc::clone(&feed).stream());
        assert_eq!(stream.next().await.unwrap().unwrap().logs[0].msg, b"a");
        feed.tell(Event::Warning(Notice { vertex: "v".into(), text: "w".into(), ..Notice::default() }));
        feed.end();
        assert_eq!(stream.next().await.unwrap().unwrap().warnings[0].short, b"w");
        assert!(stream.next().await.is_none());
    }
}
