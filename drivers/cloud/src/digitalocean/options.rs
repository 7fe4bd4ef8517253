//! The options of `digitalocean`, under docker-machine's names.

use machine_drivers::{OptionKind, OptionSpec};

const fn text(name: &'static str, env: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { name, env: Some(env), help, kind: OptionKind::Text(None) }
}

const fn flag(name: &'static str, env: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { name, env: Some(env), help, kind: OptionKind::Flag }
}

pub(super) static OPTIONS: &[OptionSpec] = &[
    text("digitalocean-access-token", "DIGITALOCEAN_ACCESS_TOKEN", "API token with read and write access"),
    text("digitalocean-image", "DIGITALOCEAN_IMAGE", "Image by slug (default: the newest Debian)"),
    text(
        "digitalocean-region",
        "DIGITALOCEAN_REGION",
        "Region (default: nyc3, or the first that has the size)",
    ),
    text(
        "digitalocean-size",
        "DIGITALOCEAN_SIZE",
        "Size by slug (default: the cheapest with 1 GB of memory)",
    ),
    flag("digitalocean-ipv6", "DIGITALOCEAN_IPV6", "Give the droplet an IPv6 address as well"),
    flag(
        "digitalocean-private-networking",
        "DIGITALOCEAN_PRIVATE_NETWORKING",
        "Accepted for docker-machine's sake: every droplet is in a private network",
    ),
    flag("digitalocean-backups", "DIGITALOCEAN_BACKUPS", "Back the droplet up"),
    flag("digitalocean-monitoring", "DIGITALOCEAN_MONITORING", "Install the provider's monitoring agent"),
    text("digitalocean-tags", "DIGITALOCEAN_TAGS", "More tags of the droplet, separated by commas"),
    text("digitalocean-userdata", "DIGITALOCEAN_USERDATA", "File of more user-data for cloud-init"),
    text("digitalocean-ssh-user", "DIGITALOCEAN_SSH_USER", "Account that SSH logs in as (default: root)"),
    OptionSpec {
        name: "digitalocean-ssh-port",
        env: Some("DIGITALOCEAN_SSH_PORT"),
        help: "TCP port of the droplet's SSH server",
        kind: OptionKind::Number(Some(22)),
    },
    OptionSpec {
        name: "digitalocean-endpoint",
        env: Some("DIGITALOCEAN_ENDPOINT"),
        help: "URL of the API",
        kind: OptionKind::Text(Some("https://api.digitalocean.com")),
    },
];
