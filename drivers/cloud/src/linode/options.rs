//! The options of `linode`, under the names that its docker-machine driver had.

use machine_drivers::{OptionKind, OptionSpec};

const fn text(name: &'static str, env: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { name, env: Some(env), help, kind: OptionKind::Text(None) }
}

pub(super) static OPTIONS: &[OptionSpec] = &[
    text("linode-token", "LINODE_TOKEN", "API token that may read and write Linodes and firewalls"),
    text(
        "linode-root-pass",
        "LINODE_ROOT_PASSWORD",
        "Root password (default: a random one, forgotten at once)",
    ),
    text(
        "linode-authorized-users",
        "LINODE_AUTHORIZED_USERS",
        "Users of the account whose keys may log in as well, separated by commas",
    ),
    text("linode-label", "LINODE_LABEL", "Label of the Linode (default: the machine's name)"),
    text("linode-region", "LINODE_REGION", "Region (default: us-east, or the first that takes user-data)"),
    text("linode-instance-type", "LINODE_INSTANCE_TYPE", "Type (default: the cheapest with 1 GB of memory)"),
    text("linode-image", "LINODE_IMAGE", "Image (default: the newest Debian that takes user-data)"),
    OptionSpec {
        name: "linode-swap-size",
        env: Some("LINODE_SWAP_SIZE"),
        help: "Swap disk in MB",
        kind: OptionKind::Number(Some(512)),
    },
    OptionSpec {
        name: "linode-create-private-ip",
        env: Some("LINODE_CREATE_PRIVATE_IP"),
        help: "Give the Linode a private IPv4 address as well",
        kind: OptionKind::Flag,
    },
    text("linode-tags", "LINODE_TAGS", "More tags of the Linode, separated by commas"),
    text("linode-ssh-user", "LINODE_SSH_USER", "Account that SSH logs in as (default: root)"),
    OptionSpec {
        name: "linode-ssh-port",
        env: Some("LINODE_SSH_PORT"),
        help: "TCP port of the Linode's SSH server",
        kind: OptionKind::Number(Some(22)),
    },
    OptionSpec {
        name: "linode-docker-port",
        env: Some("LINODE_DOCKER_PORT"),
        help: "Accepted for docker-machine's sake: the engine has no port",
        kind: OptionKind::Number(None),
    },
    OptionSpec {
        name: "linode-endpoint",
        env: Some("LINODE_ENDPOINT"),
        help: "URL of the API",
        kind: OptionKind::Text(Some("https://api.linode.com/v4")),
    },
];
