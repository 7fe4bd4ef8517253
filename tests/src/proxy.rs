//! An HTTP proxy in the test's own process, which also knows where names are that no resolver knows.

use crate::network::Network;
use anyhow::{Context, Result};
use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// Serves until the test's process ends.
#[derive(Clone, Debug)]
pub struct Proxy {
    network: Network,
    /// `host:port` → where it really is.
    names: Arc<HashMap<String, String>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Listens in `network` at `address`; `names` are reached at other addresses than they seem to have.
    pub fn start(network: &Network, address: &str, names: &[(&str, &str)]) -> Result<Self> {
        let listener = network.listen(address)?;
        let own = |&(name, address): &(&str, &str)| (name.to_owned(), address.to_owned());
        let proxy = Self {
            network: network.clone(),
            names: Arc::new(names.iter().map(own).collect()),
            requests: Arc::default(),
        };
        let serving = proxy.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let proxy = serving.clone();
                thread::spawn(move || proxy.serve(connection));
            }
        });
        Ok(proxy)
    }

    /// `CONNECT host:port` or `GET http://host/path`, in order.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn serve(&self, mut client: TcpStream) -> Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte)?;
            head.extend(byte);
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut words = text.split(' ');
        let (method, target) = (words.next().context("a method")?, words.next().context("a target")?);
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{method} {target}"));
        let authority = target.trim_start_matches("http://").split('/').next().unwrap_or_default();
        let authority =
            if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        let address = self.names.get(&authority).unwrap_or(&authority);
        let Ok(mut server) = self.network.connect(address) else {
            client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")?;
            return Ok(());
        };
        if method == "CONNECT" {
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        } else {
            // Servers understand requests as proxies get them.
            server.write_all(&head)?;
        }
        let (mut back_from, mut back_to) = (server.try_clone()?, client.try_clone()?);
        thread::spawn(move || {
            // Either side may end at any time.
            let _ended = io::copy(&mut back_from, &mut back_to);
            let _gone = back_to.shutdown(Shutdown::Both);
        });
        let _ended = io::copy(&mut client, &mut server);
        server.shutdown(Shutdown::Write)?;
        Ok(())
    }
}
