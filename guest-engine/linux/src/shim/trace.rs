//! libcontainer keeps the causes of its errors to itself and only logs them. This subscriber sends its
//! error events through the gate, so that `docker start` can say which mount failed and why.

use super::gate;
use std::{fmt, fmt::Write as _, os::fd::RawFd};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Installs it for the rest of the process and the processes it creates.
pub(super) fn install(fd: RawFd) {
    // A second one in the same process is refused and not needed.
    let _already_there = tracing::subscriber::set_global_default(ErrorsOnly { fd });
}

struct ErrorsOnly {
    fd: RawFd,
}

impl Subscriber for ErrorsOnly {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == Level::ERROR
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::ERROR)
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        gate::tell(self.fd, gate::EVENT, text.0.trim());
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _written = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
