//! One API request by hand, for what no client would send.

use crate::NativeEngine;
use anyhow::{Context, Result};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

/// Sends `head` (`METHOD PATH`) with a JSON body; gives status and body of the answer.
pub fn request(engine: &NativeEngine, head: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = UnixStream::connect(engine.socket())?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(
        stream,
        "{head} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, answer.split_once("\r\n\r\n").context("no body")?.1.to_owned()))
}
