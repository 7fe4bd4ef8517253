//! One SSH connection: who it is, and which channels it opens. Each channel is a task of its own,
//! which ends with the channel or with the connection.

use super::authorized_keys::AuthorizedKeys;
use super::forward::{self, Target};
use super::{Options, session};
use guest_contract::paths::SSH_USER;
use russh::keys::PublicKey;
use russh::server::{Auth, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, server::ChannelOpenHandle};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

pub(super) struct Connection {
    options: Arc<Options>,
    keys: AuthorizedKeys,
    /// Present until the login: the place among those that have not logged in, and who waits for it.
    login: Option<(OwnedSemaphorePermit, oneshot::Sender<()>)>,
}

impl Connection {
    pub(super) async fn new(
        options: Arc<Options>,
        permit: OwnedSemaphorePermit,
        logged_in: oneshot::Sender<()>,
    ) -> Self {
        let keys = match AuthorizedKeys::read(&options.authorized_keys).await {
            Ok(keys) => keys,
            Err(error) => {
                tracing::error!(path = %options.authorized_keys.display(), %error, "nobody may log in");
                AuthorizedKeys::default()
            }
        };
        Self { options, keys, login: Some((permit, logged_in)) }
    }

    fn judge(&self, user: &str, key: &PublicKey) -> Auth {
        if user == SSH_USER && self.keys.contains(key) { Auth::Accept } else { Auth::reject() }
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.judge(user, offer.public_key))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(self.judge(user, key.public_key))
    }

    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), Self::Error> {
        if let Some((_permit, logged_in)) = self.login.take() {
            let _ = logged_in.send(());
        }
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        tokio::spawn(session::run(channel, session.handle(), Arc::clone(&self.options)));
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host_to_connect: &str,
        port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let target = Target::Tcp(host_to_connect.to_owned(), port_to_connect);
        tokio::spawn(forward::run(channel, reply, target));
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        socket_path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        tokio::spawn(forward::run(channel, reply, Target::Unix(PathBuf::from(socket_path))));
        Ok(())
    }
}
