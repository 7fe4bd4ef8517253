//! Rules in a table of our own, over netlink: what passes between bridges, what address leaves the host,
//! which of the host's ports lead where.
//!
//! Every bridge has base chains that bear its name; a change replaces them in one transaction, so nobody
//! ever sees a bridge half configured and the bridges do not know of each other. Published ports are elements
//! of maps, so that one more costs the same with ten as with ten thousand.

mod bridge;
mod expression;
mod names;
mod ports;

pub(crate) use bridge::{remove, replace};
pub(crate) use names::{ADDRESS as NAME_SERVICE, redirect as redirect_names};
pub(crate) use ports::{close, open, restore};

use expression::Expressions;
use netlink_bindings::nftables::{Chained, Nfgenmsg};
use netlink_socket2::{NetlinkSocket, ReplyError};
use nix::libc;
use std::io;

const TABLE: &[u8] = b"machine";
/// Interface group of the engine's bridges: how a rule tells them from the host's other interfaces.
pub(crate) const BRIDGE_GROUP: u32 = 0x6d61;

/// Where a base chain sits: hook, priority and kind.
type Place = (u32, i32, &'static [u8]);
const BEFORE_CONNTRACK: Place = (0, -300, b"filter");
const ARRIVAL: Place = (0, -100, b"nat");
const FORWARD: Place = (2, 0, b"filter");
const LOCAL: Place = (3, -100, b"nat");
const DEPARTURE: Place = (4, 100, b"nat");

/// How many messages a transaction may have.
const MOST_MESSAGES: u32 = 4096;

async fn transaction(fill: impl FnOnce(&mut Batch)) -> io::Result<()> {
    let mut socket = NetlinkSocket::new();
    let mut batch = Batch { inner: Chained::new(socket.reserve_seq(MOST_MESSAGES)) };
    let mut edge = Nfgenmsg::new();
    // Which subsystem the batch is for: nftables.
    edge.set_res_id(10);
    batch.inner.request().op_batch_begin_do(&edge);
    batch.inner.request().set_create().op_newtable_do(&header()).encode().push_name_bytes(TABLE);
    fill(&mut batch);
    batch.inner.request().op_batch_end_do(&edge);
    let batch = batch.inner.finalize();
    let mut replies = socket.request_chained(&batch).await?;
    replies.recv_all().await.map_err(|error: ReplyError| io::Error::other(error.to_string()))
}

/// Removes the table with everything in it, if there is one.
pub(crate) async fn remove_all() -> io::Result<()> {
    transaction(|batch| {
        let header = header();
        batch.inner.request().op_deltable_do(&header).encode().push_name_bytes(TABLE);
    })
    .await
}

struct Batch {
    inner: Chained<'static>,
}

impl Batch {
    /// The chain, made when it is not there, without rules.
    fn empty_chain(&mut self, name: &str, (hook, priority, kind): Place) {
        let header = header();
        self.inner
            .request()
            .set_create()
            .op_newchain_do(&header)
            .encode()
            .push_table_bytes(TABLE)
            .push_name_bytes(name.as_bytes())
            .nested_hook()
            .push_num(hook)
            .push_priority(priority)
            .end_nested()
            .push_type_bytes(kind);
        // Without a handle: every rule of the chain.
        self.inner
            .request()
            .op_delrule_do(&header)
            .encode()
            .push_table_bytes(TABLE)
            .push_chain_bytes(name.as_bytes());
    }

    fn remove_chain(&mut self, name: &str) {
        let header = header();
        self.inner
            .request()
            .op_delchain_do(&header)
            .encode()
            .push_table_bytes(TABLE)
            .push_name_bytes(name.as_bytes());
    }

    fn rule(&mut self, chain: &str) -> Expressions<'_> {
        let header = header();
        Expressions::new(
            self.inner
                .request()
                .set_create()
                .set_append()
                .op_newrule_do(&header)
                .into_encoder()
                .push_table_bytes(TABLE)
                .push_chain_bytes(chain.as_bytes())
                .nested_expressions(),
        )
    }
}

fn header() -> Nfgenmsg {
    let mut header = Nfgenmsg::new();
    // Both families of IP.
    header.nfgen_family = libc::NFPROTO_INET as u8;
    header
}
