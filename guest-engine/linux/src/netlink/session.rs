//! One conversation with the kernel's route netlink, in the network namespace of the calling thread.

use super::LinkError;
use futures_util::TryStreamExt;
use nix::{
    libc,
    sched::{CloneFlags, setns},
};
use rtnetlink::{
    Handle, LinkUnspec, RouteMessageBuilder, new_connection,
    packet_route::{
        link::LinkMessage,
        route::{RouteAddress, RouteAttribute},
    },
};
use std::{fs::File, net::Ipv4Addr, path::Path, thread};
use tokio::{runtime::Builder, task::AbortHandle};

/// A connection; closed when it is dropped.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) handle: Handle,
    driver: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    pub(super) fn open() -> Result<Self, LinkError> {
        let (connection, handle, _notifications) = new_connection()?;
        Ok(Self { handle, driver: tokio::spawn(connection).abort_handle() })
    }

    /// The interface called `name`.
    pub(super) async fn link(&self, name: &str) -> Result<Option<LinkMessage>, LinkError> {
        let found = self.handle.link().get().match_name(name.to_owned()).execute().try_next().await;
        match found.map_err(LinkError::from) {
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
            other => other,
        }
    }

    pub(super) async fn index(&self, name: &str) -> Result<u32, LinkError> {
        match self.link(name).await? {
            Some(link) => Ok(link.header.index),
            None => Err(LinkError::NoInterface { name: name.to_owned() }),
        }
    }

    /// Removes an interface. `Ok` when there is none.
    pub(super) async fn remove_link(&self, name: &str) -> Result<(), LinkError> {
        let message = LinkUnspec::new_with_name(name).build();
        match self.handle.link().del_with_message(message).execute().await.map_err(LinkError::from) {
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(()),
            other => other,
        }
    }
}

/// Does `work` in the network namespace bound at `path`, on a thread of its own.
pub(super) async fn inside<T, F>(path: &Path, work: F) -> Result<T, LinkError>
where
    T: Send + 'static,
    F: AsyncFnOnce(Session) -> Result<T, LinkError> + Send + 'static,
{
    let path = path.to_owned();
    on_a_thread(move || {
        setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?;
        run(work)
    })
    .await
}

/// Runs `work` with a session of this thread's namespace.
pub(super) fn run<T>(work: impl AsyncFnOnce(Session) -> Result<T, LinkError>) -> Result<T, LinkError> {
    Builder::new_current_thread().enable_io().build()?.block_on(async { work(Session::open()?).await })
}

/// A fresh thread, which may change its namespace because it ends afterwards.
pub(super) async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LinkError> + Send + 'static,
) -> Result<T, LinkError> {
    let joined = tokio::task::spawn_blocking(|| thread::spawn(work).join()).await;
    joined.map_err(|_| LinkError::Thread)?.map_err(|_| LinkError::Thread)?
}

/// IPv4 destinations this machine routes to, the default route left out.
pub(super) async fn routes() -> Result<Vec<(Ipv4Addr, u8)>, LinkError> {
    let session = Session::open()?;
    let request = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let mut stream = session.handle.route().get(request).execute();
    let mut found = Vec::new();
    while let Some(route) = stream.try_next().await? {
        let prefix = route.header.destination_prefix_length;
        let destination = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(*address),
            _ => None,
        });
        if let Some(address) = destination
            && prefix > 0
            && !address.is_loopback()
            && !address.is_multicast()
            && !address.is_broadcast()
        {
            found.push((address, prefix));
        }
    }
    Ok(found)
}
