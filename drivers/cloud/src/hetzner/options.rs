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
    OptionSpec::list("hetzner-volumes", "Volume to attach, by number or name; not mounted (repeatable)")
        .env("HETZNER_VOLUMES"),
    OptionSpec::text("hetzner-placement-group", "Placement group, by number or name")
        .env("HETZNER_PLACEMENT_GROUP"),
    OptionSpec::flag(
        "hetzner-auto-spread",
        "Keep this server on another host than your others with this flag",
    )
    .env("HETZNER_AUTO_SPREAD"),
    OptionSpec::text("hetzner-primary-ipv4", "Primary IPv4 of the project, by number, name or address")
        .env("HETZNER_PRIMARY_IPV4"),
    OptionSpec::text("hetzner-primary-ipv6", "Primary IPv6 of the project, by number, name or address")
        .env("HETZNER_PRIMARY_IPV6"),
    OptionSpec::text("hetzner-existing-key-id", "SSH key of the project that may log in as well")
        .env("HETZNER_EXISTING_KEY_ID"),
    OptionSpec::text(
        "hetzner-existing-key-path",
        "Accepted for docker-machine's sake: each machine has a key of its own",
    )
    .env("HETZNER_EXISTING_KEY_PATH"),
    OptionSpec::list("hetzner-additional-key", "Public key that may log in as well (repeatable)")
        .env("HETZNER_ADDITIONAL_KEYS"),
    OptionSpec::list("hetzner-networks", "Private network to attach, by number or name (repeatable)")
        .env("HETZNER_NETWORKS"),
    OptionSpec::flag("hetzner-use-private-network", "Reach the server by its private address")
        .env("HETZNER_USE_PRIVATE_NETWORK"),
    OptionSpec::flag("hetzner-disable-public-ipv4", "Make a server without public IPv4")
        .env("HETZNER_DISABLE_PUBLIC_IPV4"),
    OptionSpec::flag("hetzner-disable-public-ipv6", "Make a server without public IPv6")
        .env("HETZNER_DISABLE_PUBLIC_IPV6"),
    OptionSpec::flag("hetzner-disable-public-4", "The same as --hetzner-disable-public-ipv4")
        .env("HETZNER_DISABLE_PUBLIC_4"),
    OptionSpec::flag("hetzner-disable-public-6", "The same as --hetzner-disable-public-ipv6")
        .env("HETZNER_DISABLE_PUBLIC_6"),
    OptionSpec::flag("hetzner-disable-public", "Make a server without any public address")
        .env("HETZNER_DISABLE_PUBLIC"),
    OptionSpec::list(
        "hetzner-firewalls",
        "Firewall by number or name, instead of ours that lets in SSH only (repeatable)",
    )
    .env("HETZNER_FIREWALLS"),
    OptionSpec::list("hetzner-server-label", "Label of the server, KEY=VALUE (repeatable)")
        .env("HETZNER_SERVER_LABELS"),
    OptionSpec::list("hetzner-key-label", "Label of the machine's key, KEY=VALUE (repeatable)")
        .env("HETZNER_KEY_LABELS"),
    OptionSpec::text("hetzner-user-data", "More user-data for cloud-init, inline").env("HETZNER_USER_DATA"),
    OptionSpec::flag("hetzner-user-data-from-file", "--hetzner-user-data names a file")
        .env("HETZNER_USER_DATA_FROM_FILE"),
    OptionSpec::text("hetzner-user-data-file", "File of more user-data for cloud-init")
        .env("HETZNER_USER_DATA_FILE"),
    OptionSpec::text("hetzner-ssh-user", "Account that SSH logs in as (default: root)")
        .env("HETZNER_SSH_USER"),
    OptionSpec::number("hetzner-ssh-port", "TCP port of the server's SSH server")
        .env("HETZNER_SSH_PORT")
        .or_number(22),
    OptionSpec::number(
        "hetzner-wait-on-error",
        "Accepted for docker-machine's sake: what may pass is tried again",
    )
    .env("HETZNER_WAIT_ON_ERROR"),
    OptionSpec::number(
        "hetzner-wait-on-polling",
        "Accepted for docker-machine's sake: how often to look is known",
    )
    .env("HETZNER_WAIT_ON_POLLING"),
    OptionSpec::number(
        "hetzner-wait-for-running-timeout",
        "Accepted for docker-machine's sake: a server has ten minutes to run",
    )
    .env("HETZNER_WAIT_FOR_RUNNING_TIMEOUT"),
    OptionSpec::text("hetzner-endpoint", "URL of the API")
        .env("HETZNER_ENDPOINT")
        .or("https://api.hetzner.cloud/v1"),
];
