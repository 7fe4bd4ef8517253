//! Local ports that lead into a machine, as `ssh -L` makes them. Each client has an SSH connection of its own:
//! one that does not read holds up nobody else (see `tunnel.rs`).

use super::{Connector, SshError};
use machine_drivers::Access;
use std::{error::Error, net::SocketAddr, path::Path};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// One port here and where it leads, as the machine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortForward {
    /// Where to listen.
    pub local: SocketAddr,
    /// Host, by a name of the machine's.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Listens on all of them; they are served until the result is dropped.
pub async fn forward_ports(
    access: &Access,
    directory: &Path,
    forwards: Vec<PortForward>,
) -> Result<JoinSet<()>, SshError> {
    let mut serving = JoinSet::new();
    if forwards.is_empty() {
        return Ok(serving);
    }
    let connector = Connector::new(access, directory)?;
    for forward in forwards {
        let listener = TcpListener::bind(forward.local)
            .await
            .map_err(|source| SshError::Listen { address: forward.local, source })?;
        serving.spawn(serve(listener, connector.clone(), forward));
    }
    Ok(serving)
}

async fn serve(listener: TcpListener, connector: Connector, forward: PortForward) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                let (connector, forward) = (connector.clone(), forward.clone());
                clients.spawn(async move {
                    if let Err(error) = carry(client, &connector, &forward).await {
                        tracing::warn!(error = &error as &dyn Error, "a client of a forwarded port was not served");
                    }
                });
            },
            Some(_) = clients.join_next() => {}
        }
    }
}

async fn carry(mut client: TcpStream, connector: &Connector, forward: &PortForward) -> Result<(), SshError> {
    let connection = connector.connect().await?;
    let mut stream = connection.open_tcp(&forward.host, forward.port).await?.into_stream();
    // How it ends is the two ends' business.
    _ = copy_bidirectional(&mut client, &mut stream).await;
    connection.close().await;
    Ok(())
}
