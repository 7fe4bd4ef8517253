//! What calls itself a plugin and is none: one sentence each.

use crate::Place;
use driver_plugin::PluginDriver;
use machine_drivers::external::{Limits, Program};
use std::{path::Path, time::Duration};

fn unruly(place: &Place, way: &str, limits: Limits) -> PluginDriver {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugin/unruly.py");
    PluginDriver::with_limits(way, place.called(&script, way), limits)
}

#[tokio::test]
async fn each_is_told_in_one_sentence() {
    for (way, wanted) in [
        ("ends", "ended (exit status: 1); it said last: panic: no credentials"),
        ("chats", "printed \"Loading [31mconfiguration\" and not where it listens"),
        ("elsewhere", "listens on 192.0.2.1:80, which is not on this computer alone"),
        ("nobody", "says it listens on 127.0.0.1:1, where nobody is reached: "),
        ("web", "answers \"HTTP/1.1 400 Bad Request\" and not as Go's net/rpc does"),
        ("gibberish", "sent something that is no gob: a number is too large"),
        ("huge", "sent something that is no gob: a message is too long"),
        ("hangs-up", "ended (exit status: 2); it said last: panic: gone"),
    ] {
        let place = Place::new();
        let error = unruly(&place, way, Limits::default()).introduce().await.unwrap_err().to_string();
        let wanted = format!("The driver's program docker-machine-driver-{way} {wanted}");
        assert!(error.starts_with(&wanted) && error.lines().count() == 1, "{way}: {error}");
    }
}

#[tokio::test]
async fn silence_has_a_deadline() {
    let limits = Limits { hello: Duration::from_millis(500), ..Limits::default() };
    for way in ["mute", "silent-later"] {
        let place = Place::new();
        let error = unruly(&place, way, limits).introduce().await.unwrap_err().to_string();
        let wanted =
            format!("Waiting for the driver's program docker-machine-driver-{way} to say where it listens");
        assert!(error.starts_with(&wanted), "{error}");
    }
}
