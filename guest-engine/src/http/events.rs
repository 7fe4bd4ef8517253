//! `GET /events`: the past that `since` reaches, then the present until `until`, one object a line.

use super::{
    error::{ApiError, Result},
    filters::Filters,
    json_stream::json_lines,
    query::Query,
    state::AppState,
    timestamp,
};
use axum::{Router, extract::State, response::Response, routing::get};
use engine::events::{Event, EventType};
use futures_util::{StreamExt, future, stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{collections::VecDeque, time::Duration};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

/// Actions that carry a parameter behind a colon; a filter names them without it.
const WITH_PARAMETER: [&str; 3] = ["health_status", "exec_create", "exec_start"];

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/events", get(events))
}

async fn events(State(state): State<AppState>, query: Query) -> Result<Response> {
    let filters = Filters::from_query_lenient(&query)?;
    // Zero is the beginning, and so everything that is kept.
    let since = match query.text("since") {
        "0" => Some(Timestamp::UNIX_EPOCH),
        text => timestamp::parse(text).map_err(invalid("since"))?,
    };
    let until = timestamp::parse(query.text("until")).map_err(invalid("until"))?;
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err(ApiError::bad_request(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            query.text("since"),
            query.text("until")
        )));
    }
    // Subscribed before the answer leaves: what happens after the client sees the headers is not missed.
    let (past, live) = state.engine.events.subscribe();
    let past: VecDeque<Event> = past
        .into_iter()
        .filter(|event| since.is_some_and(|since| time(event) >= since))
        .filter(|event| until.is_none_or(|until| time(event) <= until))
        .collect();
    let end = until.map(|until| {
        let left = Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or_default();
        tokio::time::Instant::now() + left
    });
    let source = Source { past, live, end, stopping: state.stopping };
    let events =
        stream::unfold(source, |mut source| async move { source.next().await.map(|event| (event, source)) });
    let wanted = events.filter(move |event| future::ready(matches(&filters, event)));
    Ok(json_lines(wanted.map(|event| wire(&event))))
}

fn invalid(key: &'static str) -> impl Fn(timestamp::TimestampError) -> ApiError {
    move |error| ApiError::bad_request(format!("invalid value for \"{key}\": {error}"))
}

struct Source {
    past: VecDeque<Event>,
    live: Receiver<Event>,
    end: Option<tokio::time::Instant>,
    stopping: CancellationToken,
}

impl Source {
    async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.past.pop_front() {
            return Some(event);
        }
        let end = self.end;
        let ended = async move {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => None,
            () = ended => None,
            event = received(&mut self.live) => event,
        }
    }
}

async fn received(live: &mut Receiver<Event>) -> Option<Event> {
    loop {
        match live.recv().await {
            Ok(event) => return Some(event),
            // A client that was too slow misses some; dockerd drops them as well.
            Err(RecvError::Lagged(missed)) => tracing::debug!(missed, "A client of events was too slow"),
            Err(RecvError::Closed) => return None,
        }
    }
}

/// AND between keys, OR within one; keys that mean nothing here are ignored, as dockerd does.
fn matches(filters: &Filters, event: &Event) -> bool {
    let any = |key: &str, test: &dyn Fn(&str) -> bool| {
        let values = filters.values(key);
        values.is_empty() || values.iter().any(|value| test(value))
    };
    let attribute = |key: &str| event.attributes.get(key).map(String::as_str).unwrap_or_default();
    let by_name = |value: &str| event.actor.starts_with(value) || attribute("name").starts_with(value);
    let image = if event.kind == EventType::Container { attribute("image") } else { attribute("name") };
    let action = event.action.as_str();
    any("type", &|value| value == event.kind.as_str())
        && any("scope", &|value| value == "local")
        && any("event", &|value| {
            value == action || (WITH_PARAMETER.contains(&value) && action.starts_with(value))
        })
        && any("container", &by_name)
        && any("network", &by_name)
        && any("volume", &by_name)
        && any("daemon", &by_name)
        && any("image", &|value| {
            let is = |text: &str| value == text || value == without_tag(text);
            is(&event.actor) || is(image)
        })
        && filters.values("label").iter().all(|label| match label.split_once('=') {
            Some((key, value)) => event.attributes.get(key).is_some_and(|found| found == value),
            None => event.attributes.contains_key(label),
        })
}

fn without_tag(name: &str) -> &str {
    match name.rfind(':') {
        Some(colon) if !name[colon..].contains('/') => &name[..colon],
        _ => name,
    }
}

/// With the fields of old (`status`, `id`, `from`), which clients below API 1.52 read.
fn wire(event: &Event) -> Value {
    let time = time(event);
    let mut object = json!({
        "Type": event.kind.as_str(),
        "Action": event.action,
        "Actor": { "ID": event.actor, "Attributes": event.attributes },
        "scope": "local",
        "time": time.as_second(),
        "timeNano": i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX),
    });
    if matches!(event.kind, EventType::Container | EventType::Image) {
        object["status"] = json!(event.action);
        // Go leaves an empty one out: that of `prune`.
        if !event.actor.is_empty() {
            object["id"] = json!(event.actor);
        }
    }
    if let (EventType::Container, Some(image)) = (event.kind, event.attributes.get("image")) {
        object["from"] = json!(image);
    }
    object
}

fn time(event: &Event) -> Timestamp {
    Timestamp::try_from(event.time).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn event(action: &str) -> Event {
        let attributes = [("image", "busybox:1.36"), ("name", "web"), ("tier", "front")]
            .map(|(k, v)| (k.into(), v.into()));
        Event {
            kind: EventType::Container,
            action: action.to_owned(),
            actor: "abc123".to_owned(),
            attributes: attributes.into(),
            time: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_500_000_000),
        }
    }

    #[test]
    fn filters_are_anded_between_and_ored_within_keys() {
        let passes = |json: &str| matches(&Filters::parse(json).unwrap(), &event("exec_create: ls"));
        for (json, expected) in [
            ("{}", true),
            (r#"{"type":["container"]}"#, true),
            (r#"{"type":["image"]}"#, false),
            (r#"{"type":["image","container"],"container":["web"]}"#, true),
            (r#"{"container":["abc"]}"#, true),
            (r#"{"container":["other"]}"#, false),
            (r#"{"event":["exec_create"]}"#, true),
            (r#"{"event":["exec"]}"#, false),
            (r#"{"image":["busybox"]}"#, true),
            (r#"{"image":["busybox:1.36"]}"#, true),
            (r#"{"image":["busy"]}"#, false),
            (r#"{"label":["tier"]}"#, true),
            (r#"{"label":["tier=back"]}"#, false),
            (r#"{"unknown":["x"]}"#, true),
        ] {
            assert_eq!(passes(json), expected, "{json}");
        }
    }

    #[test]
    fn old_fields_are_there() {
        let object = wire(&event("die"));
        assert_eq!(object["status"], "die");
        assert_eq!(object["from"], "busybox:1.36");
        assert_eq!(object["timeNano"], 1_500_000_000_i64);
        assert_eq!(object["time"], 1);
    }
}
