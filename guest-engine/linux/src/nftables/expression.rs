//! The words that rules are made of. Each method adds one; dropping the sentence completes it.

use netlink_bindings::{
    nftables::{
        CmpOps, CtKeys, FibFlags, FibResult, MetaKeys, NatRangeFlags, PayloadBase, PushExprListAttrs,
        PushRuleAttrs, Registers, VerdictCode,
    },
    utils::RequestBuf,
};
use nix::libc;
use std::net::IpAddr;

type List<'a> = PushExprListAttrs<PushRuleAttrs<RequestBuf<'a>>>;

/// `IPS_DST_NAT`: the connection's destination was translated.
const TRANSLATED: u32 = 1 << 5;
/// `NF_CT_STATE_BIT` of established and related connections.
const GOES_ON: u32 = 0b110;
/// `RTN_LOCAL`: an address of this host.
const ADDRESS_OF_THIS_HOST: u32 = 2;
/// `NFT_NAT_DNAT`
const TRANSLATE_DESTINATION: u32 = 1;

/// The expressions of one rule.
pub(super) struct Expressions<'a>(List<'a>);

impl<'a> Expressions<'a> {
    pub(super) fn new(list: List<'a>) -> Self {
        Self(list)
    }

    /// Goes on when the packet came in by (`Iifname`) or goes out by (`Oifname`) this interface, or not.
    pub(super) fn interface(self, key: MetaKeys, compare: CmpOps, name: &str) -> Self {
        let mut padded = [0_u8; 16];
        let length = name.len().min(15);
        padded[..length].copy_from_slice(&name.as_bytes()[..length]);
        self.load_meta(key, Registers::Reg1).compare(compare, &padded)
    }

    /// Goes on when the interface is in the group.
    pub(super) fn group(self, key: MetaKeys, group: u32) -> Self {
        self.load_meta(key, Registers::Reg1).compare(CmpOps::Eq, &group.to_ne_bytes())
    }

    /// Goes on with IPv4 (or IPv6) only.
    pub(super) fn family(self, ipv4: bool) -> Self {
        let family = if ipv4 { libc::NFPROTO_IPV4 } else { libc::NFPROTO_IPV6 };
        self.load_meta(MetaKeys::Nfproto, Registers::Reg1).compare(CmpOps::Eq, &[family as u8])
    }

    /// Goes on when the source is in the network.
    pub(super) fn source_in(self, address: IpAddr, prefix: u8) -> Self {
        // Where the header of either family has it.
        let offset = if address.is_ipv4() { 12 } else { 8 };
        self.address_in(offset, address, prefix)
    }

    /// Goes on when the destination is in the network.
    pub(super) fn destination_in(self, address: IpAddr, prefix: u8) -> Self {
        let offset = if address.is_ipv4() { 16 } else { 24 };
        self.address_in(offset, address, prefix)
    }

    fn address_in(self, offset: u32, address: IpAddr, prefix: u8) -> Self {
        let (bytes, mask) = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
                ((address.to_bits() & mask).to_be_bytes().to_vec(), mask.to_be_bytes().to_vec())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
                ((address.to_bits() & mask).to_be_bytes().to_vec(), mask.to_be_bytes().to_vec())
            }
        };
        let length = u32::from(if address.is_ipv4() { 4_u8 } else { 16 });
        let family = self.family(address.is_ipv4());
        family
            .load(PayloadBase::NetworkHeader, offset, length, Registers::Reg1)
            .masked(&mask)
            .compare(CmpOps::Eq, &bytes)
    }

    /// Goes on for packets of connections that are known already.
    pub(super) fn goes_on(self) -> Self {
        self.connection(CtKeys::State, GOES_ON)
    }

    /// Goes on for packets to published ports.
    pub(super) fn translated(self) -> Self {
        self.connection(CtKeys::Status, TRANSLATED)
    }

    fn connection(self, key: CtKeys, bits: u32) -> Self {
        let loaded = self
            .0
            .nested_elem()
            .nested_data_ct()
            .push_key(key as u32)
            .push_dreg(Registers::Reg1 as u32)
            .end_nested()
            .end_nested();
        Self(loaded).masked(&bits.to_ne_bytes()).compare(CmpOps::Neq, &[0; 4])
    }

    /// Goes on when the destination is an address of this host.
    pub(super) fn for_this_host(self) -> Self {
        let loaded = self
            .0
            .nested_elem()
            .nested_data_fib()
            .push_dreg(Registers::Reg1 as u32)
            .push_result(FibResult::Addrtype as u32)
            .push_flags(FibFlags::Daddr as u32)
            .end_nested()
            .end_nested();
        Self(loaded).compare(CmpOps::Eq, &ADDRESS_OF_THIS_HOST.to_ne_bytes())
    }

    /// Goes on with this transport and destination port.
    pub(super) fn destination_port(self, protocol: u8, port: u16) -> Self {
        self.load_meta(MetaKeys::L4Proto, Registers::Reg1)
            .compare(CmpOps::Eq, &[protocol])
            .load(PayloadBase::TransportHeader, 2, 2, Registers::Reg1)
            .compare(CmpOps::Eq, &port.to_be_bytes())
    }

    /// Sends the packet where `map` says for its destination address (when `by_address`), transport and
    /// port; goes on when the map does not know.
    pub(super) fn translate_by(self, map: &str, by_address: bool) -> Self {
        let (address, protocol, port) = (Registers::Reg3200, Registers::Reg3201, Registers::Reg3202);
        let loaded = match by_address {
            true => self
                .load(PayloadBase::NetworkHeader, 16, 4, address)
                .load_meta(MetaKeys::L4Proto, protocol)
                .load(PayloadBase::TransportHeader, 2, 2, port),
            false => {
                self.load_meta(MetaKeys::L4Proto, address).load(PayloadBase::TransportHeader, 2, 2, protocol)
            }
        };
        let found = loaded
            .0
            .nested_elem()
            .nested_data_lookup()
            .push_set_bytes(map.as_bytes())
            // The bindings number these attributes one too high: what they call set id is the kernel's
            // source register, and what they call source is its destination.
            .push_set_id(address as u32)
            .push_sreg(address as u32)
            .end_nested()
            .end_nested();
        let flags = NatRangeFlags::MapIps as u32 | NatRangeFlags::ProtoSpecified as u32;
        Self(
            found
                .nested_elem()
                .nested_data_nat()
                .push_type(TRANSLATE_DESTINATION)
                .push_family(libc::NFPROTO_IPV4 as u32)
                .push_reg_addr_min(address as u32)
                .push_reg_addr_max(address as u32)
                .push_reg_proto_min(protocol as u32)
                .push_reg_proto_max(protocol as u32)
                .push_flags(flags)
                .end_nested()
                .end_nested(),
        )
    }

    /// Sends the packet to another port of its destination.
    pub(super) fn translate_port(self, port: u16) -> Self {
        Self(
            self.immediate(&port.to_be_bytes())
                .0
                .nested_elem()
                .nested_data_nat()
                .push_type(TRANSLATE_DESTINATION)
                .push_family(libc::NFPROTO_IPV4 as u32)
                .push_reg_proto_min(Registers::Reg1 as u32)
                .push_flags(NatRangeFlags::ProtoSpecified as u32)
                .end_nested()
                .end_nested(),
        )
    }

    /// Gives the packet the address of the interface it leaves by.
    pub(super) fn masquerade(self) -> Self {
        // This expression has no attributes of its own.
        Self(self.0.nested_elem().push_name_bytes(b"masq").end_nested())
    }

    pub(super) fn accept(self) -> Self {
        self.verdict(VerdictCode::Accept)
    }

    pub(super) fn drop_packet(self) -> Self {
        self.verdict(VerdictCode::Drop)
    }

    /// Ends this chain for the packet.
    pub(super) fn leave_chain(self) -> Self {
        self.verdict(VerdictCode::Return)
    }

    fn verdict(self, code: VerdictCode) -> Self {
        Self(
            self.0
                .nested_elem()
                .nested_data_immediate()
                .push_dreg(Registers::RegVerdict as u32)
                .nested_data()
                .nested_verdict()
                .push_code(code as u32)
                .end_nested()
                .end_nested()
                .end_nested()
                .end_nested(),
        )
    }

    fn immediate(self, value: &[u8]) -> Self {
        Self(
            self.0
                .nested_elem()
                .nested_data_immediate()
                .push_dreg(Registers::Reg1 as u32)
                .nested_data()
                .push_value(value)
                .end_nested()
                .end_nested()
                .end_nested(),
        )
    }

    fn load_meta(self, key: MetaKeys, register: Registers) -> Self {
        Self(
            self.0
                .nested_elem()
                .nested_data_meta()
                .push_key(key as u32)
                .push_dreg(register as u32)
                .end_nested()
                .end_nested(),
        )
    }

    fn load(self, base: PayloadBase, offset: u32, length: u32, register: Registers) -> Self {
        Self(
            self.0
                .nested_elem()
                .nested_data_payload()
                .push_dreg(register as u32)
                .push_base(base as u32)
                .push_offset(offset)
                .push_len(length)
                .end_nested()
                .end_nested(),
        )
    }

    fn masked(self, mask: &[u8]) -> Self {
        let zero = vec![0; mask.len()];
        Self(
            self.0
                .nested_elem()
                .nested_data_bitwise()
                .push_sreg(Registers::Reg1 as u32)
                .push_dreg(Registers::Reg1 as u32)
                .push_len(u32::try_from(mask.len()).unwrap_or(0))
                .nested_mask()
                .push_value(mask)
                .end_nested()
                .nested_xor()
                .push_value(&zero)
                .end_nested()
                .end_nested()
                .end_nested(),
        )
    }

    fn compare(self, compare: CmpOps, value: &[u8]) -> Self {
        Self(
            self.0
                .nested_elem()
                .nested_data_cmp()
                .push_sreg(Registers::Reg1 as u32)
                .push_op(compare as u32)
                .nested_data()
                .push_value(value)
                .end_nested()
                .end_nested()
                .end_nested(),
        )
    }
}
