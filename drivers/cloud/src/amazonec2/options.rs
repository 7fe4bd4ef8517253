//! The options of `amazonec2`, under the names that docker-machine and Rancher's copy of it have.

use machine_drivers::OptionSpec;

pub(super) static OPTIONS: &[OptionSpec] = &[
    OptionSpec::text("amazonec2-access-key", "Access key (default: as the AWS CLI finds it)")
        .env("AWS_ACCESS_KEY_ID"),
    OptionSpec::text("amazonec2-secret-key", "Secret key of the access key").env("AWS_SECRET_ACCESS_KEY"),
    OptionSpec::text("amazonec2-session-token", "Session token, where the keys are temporary")
        .env("AWS_SESSION_TOKEN"),
    OptionSpec::text("amazonec2-profile", "Profile of ~/.aws/credentials and ~/.aws/config")
        .env("AWS_PROFILE"),
    OptionSpec::text("amazonec2-region", "Region (default: the profile's, else us-east-1)")
        .env("AWS_DEFAULT_REGION"),
    OptionSpec::text("amazonec2-zone", "Zone of the region, by letter or name (default: one with capacity)")
        .env("AWS_ZONE"),
    OptionSpec::text("amazonec2-ami", "Image by id (default: the newest Debian of the Debian project)")
        .env("AWS_AMI"),
    OptionSpec::text(
        "amazonec2-instance-type",
        "Instance type (default: the smallest burstable one with 1 GB of memory)",
    )
    .env("AWS_INSTANCE_TYPE"),
    OptionSpec::text("amazonec2-vpc-id", "VPC by id (default: the region's default VPC)").env("AWS_VPC_ID"),
    OptionSpec::text("amazonec2-subnet-id", "Subnet by id (default: one of the VPC)").env("AWS_SUBNET_ID"),
    OptionSpec::list(
        "amazonec2-security-group",
        "Security group by name or id, instead of ours that lets in SSH only (repeatable)",
    )
    .env("AWS_SECURITY_GROUP"),
    OptionSpec::flag(
        "amazonec2-security-group-readonly",
        "Accepted for docker-machine's sake: a security group of yours is never changed",
    )
    .env("AWS_SECURITY_GROUP_READONLY"),
    OptionSpec::list("amazonec2-open-port", "Port to open besides SSH, such as 443 or 53/udp (repeatable)"),
    OptionSpec::number("amazonec2-root-size", "Root disk in GB").env("AWS_ROOT_SIZE").or_number(16),
    OptionSpec::text("amazonec2-volume-type", "Type of the root disk").env("AWS_VOLUME_TYPE").or("gp3"),
    OptionSpec::text("amazonec2-device-name", "Accepted for docker-machine's sake: the image names its root")
        .env("AWS_DEVICE_NAME"),
    OptionSpec::flag("amazonec2-encrypt-ebs-volume", "Encrypt the root disk").env("AWS_ENCRYPT_EBS_VOLUME"),
    OptionSpec::text("amazonec2-kms-key", "Key that encrypts the root disk, instead of AWS's own")
        .env("AWS_KMS_KEY"),
    OptionSpec::flag("amazonec2-use-ebs-optimized-instance", "Make an EBS-optimized instance"),
    OptionSpec::flag("amazonec2-monitoring", "Detailed monitoring by CloudWatch"),
    OptionSpec::text("amazonec2-iam-instance-profile", "IAM instance profile, by name or ARN")
        .env("AWS_INSTANCE_PROFILE"),
    OptionSpec::flag(
        "amazonec2-request-spot-instance",
        "Make a spot instance, which AWS may take back and which cannot be stopped",
    ),
    OptionSpec::text(
        "amazonec2-spot-price",
        "The most a spot instance may cost an hour, in dollars (default: the on-demand price)",
    ),
    OptionSpec::number(
        "amazonec2-block-duration-minutes",
        "Refused: AWS sells no spot instances by time any more",
    ),
    OptionSpec::flag("amazonec2-private-address-only", "Make an instance without public address"),
    OptionSpec::flag("amazonec2-use-private-address", "Reach the instance by its private address"),
    OptionSpec::number("amazonec2-ipv6-address-count", "IPv6 addresses of the instance")
        .env("AWS_IPV6_ADDRESS_COUNT")
        .or_number(0),
    OptionSpec::flag("amazonec2-ipv6-address-only", "Reach the instance by IPv6, and give it no public IPv4")
        .env("AWS_IPV6_ADDRESS_ONLY"),
    OptionSpec::flag("amazonec2-enable-primary-ipv6", "Make the first IPv6 address the primary one")
        .env("AWS_ENABLE_PRIMARY_IPV6"),
    OptionSpec::text("amazonec2-http-tokens", "Session tokens of the metadata service: required or optional")
        .env("AWS_HTTP_TOKENS")
        .or("required"),
    OptionSpec::text(
        "amazonec2-http-endpoint",
        "Metadata service of the instance; cloud-init needs it enabled",
    )
    .env("AWS_HTTP_ENDPOINT")
    .or("enabled"),
    OptionSpec::text("amazonec2-http-protocol-ipv6", "Metadata service over IPv6: enabled or disabled")
        .env("AWS_HTTP_PROTOCOL_IPV6"),
    OptionSpec::text("amazonec2-tags", "More tags of the instance: key1,value1,key2,value2").env("AWS_TAGS"),
    OptionSpec::text("amazonec2-userdata", "File of more user-data for cloud-init").env("AWS_USERDATA"),
    OptionSpec::text("amazonec2-ssh-user", "Account that SSH logs in as (default: the image's)")
        .env("AWS_SSH_USER"),
    OptionSpec::number("amazonec2-ssh-port", "TCP port of the instance's SSH server")
        .env("AWS_SSH_PORT")
        .or_number(22),
    OptionSpec::text("amazonec2-keypair-name", "Key pair of yours that may log in as well")
        .env("AWS_KEYPAIR_NAME"),
    OptionSpec::text(
        "amazonec2-ssh-keypath",
        "Accepted for docker-machine's sake: each machine has a key of its own",
    )
    .env("AWS_SSH_KEYPATH"),
    OptionSpec::number(
        "amazonec2-retries",
        "Accepted for docker-machine's sake: what may pass is tried again",
    ),
    OptionSpec::text("amazonec2-endpoint", "URL or host name of the API (default: the region's)")
        .env("AWS_ENDPOINT"),
    OptionSpec::flag(
        "amazonec2-insecure-transport",
        "Speak plain HTTP to an endpoint that is given as a host name",
    )
    .env("AWS_INSECURE_TRANSPORT"),
];
