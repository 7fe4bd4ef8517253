//! The options of `hetzner`, under the names that its docker-machine driver had.

use machine_drivers::OptionSpec;

pub(super) static OPTIONS: &[OptionSpec] = &[
    OptionSpec::text("hetzner-api-token", "API token of the project, with read and write access")
        .env("HETZNER_API_TOKEN"),
    OptionSpec::text("hetzner-image", "Image by name (default: the newest Debian)").env("HETZNER_IMAGE"),
    OptionSpec::text("hetzner-image-id", "Image by number, such as a snapshot's").env("HETZNER_IMAGE_ID"),
    OptionSpec::text("hetzner-image-arch", "Architecture of the image; only x86 has an engine")
        .env("HETZNER_IMAGE_ARCH"),
    OptionSpec::text("hetzner-server-type", "Server type (default: the cheapest with 2 GB of memory)")
        .env("HETZNER_TYPE"),
    OptionSpec::text("hetzner-server-location", "Location (default: where the server type is cheapest)")
        .env("HETZNER_LOCATION"),
    OptionSpec::list("hetzner-networks", "Private network to attach, by number or name (repeatable)")
        .env("HETZNER_NETWORKS"),
    OptionSpec::flag("hetzner-use-private-network", "Reach the server by its private address")
        .env("HETZNER_USE_PRIVATE_NETWORK"),
    OptionSpec::flag("hetzner-disable-public-ipv4", "Make a server without public IPv4")
        .env("HETZNER_DISABLE_PUBLIC_IPV4"),
    OptionSpec::flag("hetzner-disable-public-ipv6", "Make a server without public IPv6")
        .env("HETZNER_DISABLE_PUBLIC_IPV6"),
    OptionSpec::flag("hetzner-disable-public", "Make a server without any public address")
        .env("HETZNER_DISABLE_PUBLIC"),
    OptionSpec::list(
        "hetzner-firewalls",
        "Firewall by number, instead of ours that lets in SSH only (repeatable)",
    )
    .env("HETZNER_FIREWALLS"),
    OptionSpec::list("hetzner-server-label", "Label of the server, KEY=VALUE (repeatable)")
        .env("HETZNER_SERVER_LABELS"),
    OptionSpec::text("hetzner-user-data", "More user-data for cloud-init, inline").env("HETZNER_USER_DATA"),
    OptionSpec::text("hetzner-user-data-file", "File of more user-data for cloud-init")
        .env("HETZNER_USER_DATA_FILE"),
    OptionSpec::text("hetzner-ssh-user", "Account that SSH logs in as (default: root)")
        .env("HETZNER_SSH_USER"),
    OptionSpec::number("hetzner-ssh-port", "TCP port of the server's SSH server")
        .env("HETZNER_SSH_PORT")
        .or_number(22),
    OptionSpec::text("hetzner-endpoint", "URL of the API")
        .env("HETZNER_ENDPOINT")
        .or("https://api.hetzner.cloud/v1"),
];
