//! The options of `digitalocean`, under docker-machine's names.

use machine_drivers::OptionSpec;

pub(super) static OPTIONS: &[OptionSpec] = &[
    OptionSpec::text("digitalocean-access-token", "API token with read and write access")
        .env("DIGITALOCEAN_ACCESS_TOKEN"),
    OptionSpec::text("digitalocean-image", "Image by slug or number (default: the newest Debian)")
        .env("DIGITALOCEAN_IMAGE"),
    OptionSpec::text("digitalocean-region", "Region (default: nyc3, or the first that has the size)")
        .env("DIGITALOCEAN_REGION"),
    OptionSpec::text("digitalocean-size", "Size by slug (default: the cheapest with 1 GB of memory)")
        .env("DIGITALOCEAN_SIZE"),
    OptionSpec::flag("digitalocean-ipv6", "Give the droplet an IPv6 address as well")
        .env("DIGITALOCEAN_IPV6"),
    OptionSpec::flag(
        "digitalocean-private-networking",
        "Accepted for docker-machine's sake: every droplet is in a private network",
    )
    .env("DIGITALOCEAN_PRIVATE_NETWORKING"),
    OptionSpec::flag("digitalocean-backups", "Back the droplet up").env("DIGITALOCEAN_BACKUPS"),
    OptionSpec::flag("digitalocean-monitoring", "Install the provider's monitoring agent")
        .env("DIGITALOCEAN_MONITORING"),
    OptionSpec::text("digitalocean-tags", "More tags of the droplet, separated by commas")
        .env("DIGITALOCEAN_TAGS"),
    OptionSpec::text("digitalocean-userdata", "File of more user-data for cloud-init")
        .env("DIGITALOCEAN_USERDATA"),
    OptionSpec::text("digitalocean-ssh-user", "Account that SSH logs in as (default: root)")
        .env("DIGITALOCEAN_SSH_USER"),
    OptionSpec::number("digitalocean-ssh-port", "TCP port of the droplet's SSH server")
        .env("DIGITALOCEAN_SSH_PORT")
        .or_number(22),
    OptionSpec::text(
        "digitalocean-ssh-key-fingerprint",
        "SSH key of the account, by its fingerprint, that may log in as well",
    )
    .env("DIGITALOCEAN_SSH_KEY_FINGERPRINT"),
    OptionSpec::text(
        "digitalocean-ssh-key-path",
        "Accepted for docker-machine's sake: each machine has a key of its own",
    )
    .env("DIGITALOCEAN_SSH_KEY_PATH"),
    OptionSpec::text("digitalocean-endpoint", "URL of the API")
        .env("DIGITALOCEAN_ENDPOINT")
        .or("https://api.digitalocean.com"),
];
