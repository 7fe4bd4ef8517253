//! The options of `linode`, under the names that its docker-machine driver had.

use machine_drivers::OptionSpec;

pub(super) static OPTIONS: &[OptionSpec] = &[
    OptionSpec::text("linode-token", "API token that may read and write Linodes and firewalls")
        .env("LINODE_TOKEN"),
    OptionSpec::text("linode-root-pass", "Root password (default: a random one, forgotten at once)")
        .env("LINODE_ROOT_PASSWORD"),
    OptionSpec::text(
        "linode-authorized-users",
        "Users of the account whose keys may log in as well, separated by commas",
    )
    .env("LINODE_AUTHORIZED_USERS"),
    OptionSpec::text("linode-label", "Label of the Linode (default: the machine's name)").env("LINODE_LABEL"),
    OptionSpec::text("linode-region", "Region (default: us-east, or the first that takes user-data)")
        .env("LINODE_REGION"),
    OptionSpec::text("linode-instance-type", "Type (default: the cheapest with 1 GB of memory)")
        .env("LINODE_INSTANCE_TYPE"),
    OptionSpec::text("linode-image", "Image (default: the newest Debian that takes user-data)")
        .env("LINODE_IMAGE"),
    OptionSpec::number("linode-swap-size", "Swap disk in MB").env("LINODE_SWAP_SIZE").or_number(512),
    OptionSpec::flag("linode-create-private-ip", "Give the Linode a private IPv4 address as well")
        .env("LINODE_CREATE_PRIVATE_IP"),
    OptionSpec::text("linode-tags", "More tags of the Linode, separated by commas").env("LINODE_TAGS"),
    OptionSpec::text("linode-ssh-user", "Account that SSH logs in as (default: root)").env("LINODE_SSH_USER"),
    OptionSpec::number("linode-ssh-port", "TCP port of the Linode's SSH server")
        .env("LINODE_SSH_PORT")
        .or_number(22),
    OptionSpec::text("linode-stackscript", "StackScript to run at the first boot, by number or USER/LABEL")
        .env("LINODE_STACKSCRIPT"),
    OptionSpec::text("linode-stackscript-data", "What the StackScript asks for, as a JSON object")
        .env("LINODE_STACKSCRIPT_DATA"),
    OptionSpec::text("linode-ua-prefix", "Accepted for docker-machine's sake: calls say who makes them")
        .env("LINODE_UA_PREFIX"),
    OptionSpec::number("linode-docker-port", "Accepted for docker-machine's sake: the engine has no port")
        .env("LINODE_DOCKER_PORT"),
    OptionSpec::text("linode-endpoint", "URL of the API")
        .env("LINODE_ENDPOINT")
        .or("https://api.linode.com/v4"),
];
