//! Which kernel modules the guest carries and when each is loaded.
//!
//! A module costs about 10 ms to load under emulation, so only what stands between power-on and the
//! seed, the disk and the network is loaded first. Names that a kernel has built in are skipped.

/// A list in the guest: `/lib/modules/FILE`, one absolute module path a line, dependencies first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModuleList {
    pub file: &'static str,
    pub names: &'static [&'static str],
}

/// All lists in the order in which they are loaded. A module stands in the first that needs it.
pub(crate) const LISTS: [ModuleList; 5] = [
    // At once: seed channel, disk, network, randomness, container root file systems.
    ModuleList {
        file: "boot.list",
        names: &["virtio_mmio", "virtio_console", "virtio_blk", "virtio_net", "virtio_rng", "overlay"],
    },
    // What the engine needs before its first container: the default network and its NAT.
    ModuleList {
        file: "engine.list",
        names: &[
            "bridge",
            "veth",
            "nf_tables",
            "nf_conntrack",
            "nf_nat",
            "nft_chain_nat",
            "nft_nat",
            "nft_masq",
            "nft_ct",
            "nft_fib_inet",
        ],
    },
    // For folders of the user's computer, where there are any; otherwise with what follows.
    ModuleList { file: "folders.list", names: &["fuse"] },
    // What containers may ask for, after the API answers.
    ModuleList {
        file: "late.list",
        names: &[
            "virtio_balloon",
            "qemu_fw_cfg",
            "nft_fib_ipv4",
            "nft_fib_ipv6",
            "nft_fib",
            "nft_numgen",
            "nft_hash",
            "nft_redir",
            "nft_reject_inet",
            "nft_reject_ipv4",
            "nft_reject_ipv6",
            "nft_reject",
            "nft_log",
            "nft_limit",
            "nft_connlimit",
            "nft_quota",
            "nf_conntrack_netlink",
            "tun",
            "dummy",
            "virtiofs",
            "vsock",
            "vmw_vsock_virtio_transport",
            "loop",
            "binfmt_misc",
            "macvlan",
            "ipvlan",
            "vxlan",
            "8021q",
            "wireguard",
            "ip_vs",
            "ip_vs_rr",
            "ip_vs_wrr",
            "ip_vs_lc",
            "ip_vs_sh",
        ],
    },
    // Carried but loaded only when something asks: br_netfilter alone changes how every bridge
    // treats its packets.
    ModuleList {
        file: "on-demand.list",
        names: &["br_netfilter", "xt_ipvs", "xfrm_user", "esp4", "esp6", "sch_tbf", "sch_netem", "ifb"],
    },
];
