//! The options of `hetzner`, under the names that its docker-machine driver had.

use machine_drivers::{OptionKind, OptionSpec};

const fn text(name: &'static str, env: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { name, env: Some(env), help, kind: OptionKind::Text(None) }
}

const fn list(name: &'static str, env: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { name, env: Some(env), help, kind: OptionKind::List }
}

const fn flag(name: &'static str, env: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { name, env: Some(env), help, kind: OptionKind::Flag }
}

pub(super) static OPTIONS: &[OptionSpec] = &[
    text("hetzner-api-token", "HETZNER_API_TOKEN", "API token of the project, with read and write access"),
    text("hetzner-image", "HETZNER_IMAGE", "Image by name (default: the newest Debian)"),
    text("hetzner-image-id", "HETZNER_IMAGE_ID", "Image by number, such as a snapshot's"),
    text("hetzner-image-arch", "HETZNER_IMAGE_ARCH", "Architecture of the image; only x86 has an engine"),
    text("hetzner-server-type", "HETZNER_TYPE", "Server type (default: the cheapest with 2 GB of memory)"),
    text(
        "hetzner-server-location",
        "HETZNER_LOCATION",
        "Location (default: where the server type is cheapest)",
    ),
    list("hetzner-networks", "HETZNER_NETWORKS", "Private network to attach, by number or name (repeatable)"),
    flag(
        "hetzner-use-private-network",
        "HETZNER_USE_PRIVATE_NETWORK",
        "Reach the server by its private address",
    ),
    flag("hetzner-disable-public-ipv4", "HETZNER_DISABLE_PUBLIC_IPV4", "Make a server without public IPv4"),
    flag("hetzner-disable-public-ipv6", "HETZNER_DISABLE_PUBLIC_IPV6", "Make a server without public IPv6"),
    flag("hetzner-disable-public", "HETZNER_DISABLE_PUBLIC", "Make a server without any public address"),
    list(
        "hetzner-firewalls",
        "HETZNER_FIREWALLS",
        "Firewall by number, instead of ours that lets in SSH only (repeatable)",
    ),
    list("hetzner-server-label", "HETZNER_SERVER_LABELS", "Label of the server, KEY=VALUE (repeatable)"),
    text("hetzner-user-data", "HETZNER_USER_DATA", "More user-data for cloud-init, inline"),
    text("hetzner-user-data-file", "HETZNER_USER_DATA_FILE", "File of more user-data for cloud-init"),
    text("hetzner-ssh-user", "HETZNER_SSH_USER", "Account that SSH logs in as (default: root)"),
    OptionSpec {
        name: "hetzner-ssh-port",
        env: Some("HETZNER_SSH_PORT"),
        help: "TCP port of the server's SSH server",
        kind: OptionKind::Number(Some(22)),
    },
    OptionSpec {
        name: "hetzner-endpoint",
        env: Some("HETZNER_ENDPOINT"),
        help: "URL of the API",
        kind: OptionKind::Text(Some("https://api.hetzner.cloud/v1")),
    },
];
