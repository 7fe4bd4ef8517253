//! Address translation and forwarding for bridges, in a table of our own, over netlink.
//!
//! Every bridge has two base chains that bear its name; a change replaces both in one transaction, so
//! nobody ever sees a bridge half configured and the bridges do not know of each other.

use engine::ports::BridgeSpec;
use netlink_bindings::{
    nftables::{
        Chained, CmpOps, MetaKeys, Nfgenmsg, PayloadBase, PushExprListAttrs, PushRuleAttrs, Registers,
        VerdictCode,
    },
    utils::RequestBuf,
};
use netlink_socket2::{NetlinkSocket, ReplyError};
use nix::libc;
use std::{io, net::Ipv4Addr};

const TABLE: &[u8] = b"machine";
/// `NF_INET_FORWARD` and `NF_INET_POST_ROUTING`, with the priorities of filtering and source translation.
const FORWARD: (u32, i32) = (2, 0);
const POSTROUTING: (u32, i32) = (4, 100);
/// Where an IPv4 header has the source address.
const SOURCE_OFFSET: u32 = 12;

type Expressions<'a> = PushExprListAttrs<PushRuleAttrs<RequestBuf<'a>>>;

/// Makes the rules of `bridge` as specified, whatever they were.
pub(crate) async fn replace(bridge: &BridgeSpec) -> io::Result<()> {
    let network = network(bridge.gateway, bridge.prefix);
    transaction(|batch| {
        batch.empty_chains(&bridge.name);
        let [forward, translate] = chains(&bridge.name);
        let out = batch.rule(&forward);
        accept(interface(out, MetaKeys::Oifname, CmpOps::Eq, &bridge.name));
        let into = batch.rule(&forward);
        accept(interface(into, MetaKeys::Iifname, CmpOps::Eq, &bridge.name));
        if bridge.masquerade {
            let rule = batch.rule(&translate);
            let rule = source_in(rule, network, bridge.prefix);
            let rule = interface(rule, MetaKeys::Oifname, CmpOps::Neq, &bridge.name);
            // This expression has no attributes of its own.
            let _complete = rule.nested_elem().push_name_bytes(b"masq").end_nested();
        }
    })
    .await
}

/// Removes the rules of the bridge, if there are any.
pub(crate) async fn remove(bridge: &str) -> io::Result<()> {
    transaction(|batch| {
        // Made first, so that removing what is not there succeeds.
        batch.empty_chains(bridge);
        for chain in chains(bridge) {
            let header = header();
            batch
                .inner
                .request()
                .op_delchain_do(&header)
                .encode()
                .push_table_bytes(TABLE)
                .push_name_bytes(chain.as_bytes());
        }
    })
    .await
}

fn chains(bridge: &str) -> [String; 2] {
    [format!("forward-{bridge}"), format!("masquerade-{bridge}")]
}

async fn transaction(fill: impl FnOnce(&mut Batch)) -> io::Result<()> {
    let mut socket = NetlinkSocket::new();
    let mut batch = Batch { inner: Chained::new(socket.reserve_seq(64)) };
    let mut edge = Nfgenmsg::new();
    // Which subsystem the batch is for: nftables.
    edge.set_res_id(10);
    batch.inner.request().op_batch_begin_do(&edge);
    fill(&mut batch);
    batch.inner.request().op_batch_end_do(&edge);
    let batch = batch.inner.finalize();
    let mut replies = socket.request_chained(&batch).await?;
    replies.recv_all().await.map_err(|error: ReplyError| io::Error::other(error.to_string()))
}

struct Batch {
    inner: Chained<'static>,
}

impl Batch {
    /// The table, and both chains of the bridge without rules.
    fn empty_chains(&mut self, bridge: &str) {
        let header = header();
        self.inner.request().set_create().op_newtable_do(&header).encode().push_name_bytes(TABLE);
        let [forward, translate] = chains(bridge);
        for (chain, kind, hook) in
            [(&forward, b"filter\0".as_slice(), FORWARD), (&translate, b"nat\0", POSTROUTING)]
        {
            self.inner
                .request()
                .set_create()
                .op_newchain_do(&header)
                .encode()
                .push_table_bytes(TABLE)
                .push_name_bytes(chain.as_bytes())
                .nested_hook()
                .push_num(hook.0)
                .push_priority(hook.1)
                .end_nested()
                .push_type_bytes(kind.strip_suffix(b"\0").unwrap_or(kind));
            // Without a handle: every rule of the chain.
            self.inner
                .request()
                .op_delrule_do(&header)
                .encode()
                .push_table_bytes(TABLE)
                .push_chain_bytes(chain.as_bytes());
        }
    }

    fn rule(&mut self, chain: &str) -> Expressions<'_> {
        let header = header();
        self.inner
            .request()
            .set_create()
            .set_append()
            .op_newrule_do(&header)
            .into_encoder()
            .push_table_bytes(TABLE)
            .push_chain_bytes(chain.as_bytes())
            .nested_expressions()
    }
}

fn header() -> Nfgenmsg {
    let mut header = Nfgenmsg::new();
    header.nfgen_family = libc::AF_INET as u8;
    header
}

/// Goes on when the interface is (not) the one named.
fn interface<'a>(rule: Expressions<'a>, key: MetaKeys, compare: CmpOps, name: &str) -> Expressions<'a> {
    let mut padded = [0_u8; 16];
    let length = name.len().min(15);
    padded[..length].copy_from_slice(&name.as_bytes()[..length]);
    rule.nested_elem()
        .nested_data_meta()
        .push_key(key as u32)
        .push_dreg(Registers::Reg1 as u32)
        .end_nested()
        .end_nested()
        .nested_elem()
        .nested_data_cmp()
        .push_sreg(Registers::Reg1 as u32)
        .push_op(compare as u32)
        .nested_data()
        .push_value(&padded)
        .end_nested()
        .end_nested()
        .end_nested()
}

/// Goes on when the source address is in the network.
fn source_in(rule: Expressions<'_>, network: Ipv4Addr, prefix: u8) -> Expressions<'_> {
    rule.nested_elem()
        .nested_data_payload()
        .push_dreg(Registers::Reg1 as u32)
        .push_base(PayloadBase::NetworkHeader as u32)
        .push_offset(SOURCE_OFFSET)
        .push_len(4)
        .end_nested()
        .end_nested()
        .nested_elem()
        .nested_data_bitwise()
        .push_sreg(Registers::Reg1 as u32)
        .push_dreg(Registers::Reg1 as u32)
        .push_len(4)
        .nested_mask()
        .push_value(&mask(prefix).to_be_bytes())
        .end_nested()
        .nested_xor()
        .push_value(&[0; 4])
        .end_nested()
        .end_nested()
        .end_nested()
        .nested_elem()
        .nested_data_cmp()
        .push_sreg(Registers::Reg1 as u32)
        .push_op(CmpOps::Eq as u32)
        .nested_data()
        .push_value(&network.octets())
        .end_nested()
        .end_nested()
        .end_nested()
}

fn accept(rule: Expressions<'_>) {
    // Dropping the encoder completes the message.
    let _complete = rule
        .nested_elem()
        .nested_data_immediate()
        .push_dreg(Registers::RegVerdict as u32)
        .nested_data()
        .nested_verdict()
        .push_code(VerdictCode::Accept as u32)
        .end_nested()
        .end_nested()
        .end_nested()
        .end_nested();
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

fn network(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(address.to_bits() & mask(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_cut_at_the_prefix() {
        assert_eq!(network(Ipv4Addr::new(172, 17, 5, 1), 16), Ipv4Addr::new(172, 17, 0, 0));
        assert_eq!(network(Ipv4Addr::new(10, 0, 0, 130), 25), Ipv4Addr::new(10, 0, 0, 128));
        assert_eq!(network(Ipv4Addr::new(10, 1, 2, 3), 0), Ipv4Addr::UNSPECIFIED);
        assert_eq!(mask(32), u32::MAX);
    }
}
