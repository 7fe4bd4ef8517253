//! Who answers containers' name queries: the domain decides, the link layer carries.

use std::{fmt::Debug, net::IpAddr};

/// Answers name queries in DNS's wire format.
pub trait Names: Debug + Send + Sync {
    /// What to do with a query of this container. To one that came as a datagram (not by a `stream`) the
    /// answer is as long as the client takes, or says that it is truncated.
    fn answer(&self, container: &str, query: &[u8], stream: bool) -> NameAnswer;
}

/// What becomes of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameAnswer {
    /// Sent back as it is.
    Reply(Vec<u8>),
    /// Somebody else knows.
    Forward {
        upstream: Upstream,
        /// Sent back when nobody answers.
        failure: Vec<u8>,
    },
    /// No query at all.
    Ignore,
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// The host's own resolvers, from the host.
    Host,
    /// These, as the container would reach them.
    Servers(Vec<IpAddr>),
}
