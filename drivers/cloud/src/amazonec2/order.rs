//! Which instance: what was asked for is looked up, what was not is decided by what the region has.

mod image;
mod place;
mod size;

use super::{Ec2, TagList, firewall::Port, query::Query, wire};
use crate::{
    http::CloudError,
    provider::{Plan, Provider, Reach, choose},
    settings::Settings,
    user_data,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use image::Image;
use machine_drivers::MachineSpec;
use place::Network;

pub(super) use place::Place;

/// The engine is for it.
const ARCHITECTURE: &str = "x86_64";
/// Bytes of user-data that EC2 takes.
const USER_DATA_LIMIT: usize = 16 * 1024;
/// Types of root disks that need nothing else to be said.
const VOLUME_TYPES: [&str; 3] = ["gp2", "gp3", "standard"];

/// Options that change nothing here, and why.
const UNUSED: [(&str, &str); 2] = [
    ("amazonec2-ssh-keypath", "the machine has a key of its own"),
    ("amazonec2-retries", "what may pass is tried again for a while"),
];

/// An instance to be made.
#[derive(Debug)]
pub(crate) struct Order {
    pub(super) instance_type: String,
    pub(super) vpc: String,
    /// Where, best first; more than one where nobody said.
    pub(super) places: Vec<Place>,
    pub(super) groups: Groups,
    pub(super) key: Key,
    /// The user's tags.
    pub(super) tags: TagList,
    pub(super) spot: bool,
    /// `RunInstances`, but for the place, what is made on the way, and our tags.
    pub(super) query: Query,
}

/// Who may speak to it.
#[derive(Debug)]
pub(super) enum Groups {
    /// A group of ours lets in SSH, and these.
    Ours(Vec<Port>),
    /// Groups of the user's, by id.
    Theirs(Vec<String>),
}

/// Whose key pair the provider puts in.
#[derive(Debug)]
pub(super) enum Key {
    /// The machine's, made from this public half.
    Ours(String),
    /// One of the user's, by name.
    Theirs(String),
}

pub(super) async fn decide(
    ec2: &Ec2,
    spec: &MachineSpec,
    settings: &Settings<'_>,
) -> Result<Plan<Order>, CloudError> {
    refuse_what_is_gone(settings)?;
    let addresses = Addresses::of(settings)?;
    let spot = settings.flag("amazonec2-request-spot-instance");
    let (size, image, network) = tokio::try_join!(
        size::choose_type(ec2, settings, spot),
        Image::of(ec2, settings),
        Network::of(ec2, settings)
    )?;
    let places = network.places(ec2, &size.instance_type, addresses.v6_only).await?;
    let native = places.first().is_some_and(|place| place.v6_only);
    let (groups, key) = tokio::try_join!(
        groups(ec2, settings, &network.vpc),
        key(ec2, settings, &spec.identity.authorized_key)
    )?;

    let mut remarks = settings.unused(&UNUSED);
    let root = image.root_device.as_str();
    if let Some(device) = settings.text("amazonec2-device-name").filter(|device| *device != root) {
        remarks.push(format!("--amazonec2-device-name {device} is not used: the image's root is {root}"));
    }
    let reach = Reach::of(settings, Ec2::NAME, &image.user)?;
    remarks.push(format!(
        "Instance type {} ({} CPUs, {} MB) in {}, image {} ({}), account {}",
        size.instance_type,
        size.v_cpu_info.default,
        size.memory_info.mib,
        places.first().map(|place| place.zone.as_str()).unwrap_or_default(),
        image.name,
        image.id,
        reach.user,
    ));
    let query = Query::new("RunInstances")
        .with("MinCount", &1)
        .with("MaxCount", &1)
        .with("ImageId", &image.id)
        .with("InstanceType", &size.instance_type)
        .with("UserData", &user_data(spec, settings)?)
        .with("InstanceInitiatedShutdownBehavior", "stop");
    let query = disk(query, &image, settings)?;
    let query = addresses.in_query(query, native);
    let query = metadata(query, settings, native)?;
    let query = extras(query, settings, spot);
    let order = Order {
        instance_type: size.instance_type,
        vpc: network.vpc,
        places,
        groups,
        key,
        tags: tags(settings)?,
        spot,
        query,
    };
    // Where there is no IPv4 there is one address, and it is not private.
    Ok(Plan { order, reach: Reach { private: addresses.private && !native, ..reach }, remarks })
}

fn refuse_what_is_gone(settings: &Settings<'_>) -> Result<(), CloudError> {
    if settings.number("amazonec2-block-duration-minutes").is_some_and(|minutes| minutes > 0) {
        return Err(CloudError::unavailable(
            "--amazonec2-block-duration-minutes: AWS sells no spot instances by time any more",
        ));
    }
    Ok(())
}

/// Which addresses the instance has, and which of them is used.
#[derive(Debug)]
struct Addresses {
    public: bool,
    private: bool,
    v6: u64,
    v6_only: bool,
    primary_v6: bool,
}

impl Addresses {
    fn of(settings: &Settings<'_>) -> Result<Self, CloudError> {
        let v6_only = settings.flag("amazonec2-ipv6-address-only");
        let private_only = settings.flag("amazonec2-private-address-only");
        let private = private_only || settings.flag("amazonec2-use-private-address");
        if v6_only && private {
            return Err(CloudError::unavailable(
                "--amazonec2-ipv6-address-only and the private addresses exclude each other",
            ));
        }
        let primary_v6 = settings.flag("amazonec2-enable-primary-ipv6");
        let asked = settings.number("amazonec2-ipv6-address-count").unwrap_or(0);
        let v6 = if v6_only || primary_v6 { asked.max(1) } else { asked };
        Ok(Self { public: !private_only && !v6_only, private, v6, v6_only, primary_v6 })
    }

    /// The instance's one network interface; `native`: in a subnet without IPv4.
    fn in_query(&self, query: Query, native: bool) -> Query {
        let v6 = if native { self.v6.max(1) } else { self.v6 };
        let query = query
            .with("NetworkInterface.1.DeviceIndex", &0)
            .with("NetworkInterface.1.DeleteOnTermination", &true)
            .with_some("NetworkInterface.1.Ipv6AddressCount", (v6 > 0).then_some(v6))
            .with_some("NetworkInterface.1.PrimaryIpv6", self.primary_v6.then_some(true));
        if native { query } else { query.with("NetworkInterface.1.AssociatePublicIpAddress", &self.public) }
    }
}

fn user_data(spec: &MachineSpec, settings: &Settings<'_>) -> Result<String, CloudError> {
    let extra = user_data::read(settings.text("amazonec2-userdata"))?;
    let document = user_data::document(spec, &[], extra.as_deref());
    if document.len() > USER_DATA_LIMIT {
        return Err(CloudError::unavailable(format!(
            "--amazonec2-userdata: with the machine's keys it is {} bytes, and EC2 takes {USER_DATA_LIMIT}",
            document.len()
        )));
    }
    Ok(STANDARD.encode(document))
}

fn disk(query: Query, image: &Image, settings: &Settings<'_>) -> Result<Query, CloudError> {
    let size = settings.number("amazonec2-root-size").unwrap_or(16);
    if size < image.size {
        return Err(CloudError::unavailable(format!(
            "--amazonec2-root-size {size}: the image needs {} GB",
            image.size
        )));
    }
    let kind = settings.text("amazonec2-volume-type").unwrap_or("gp3");
    let kind = choose("type of root disk that needs no IOPS", kind, &VOLUME_TYPES, |kind| kind)?;
    let key = settings.text("amazonec2-kms-key");
    let encrypted = settings.flag("amazonec2-encrypt-ebs-volume") || key.is_some();
    Ok(query
        .with("BlockDeviceMapping.1.DeviceName", &image.root_device)
        .with("BlockDeviceMapping.1.Ebs.VolumeSize", &size)
        .with("BlockDeviceMapping.1.Ebs.VolumeType", kind)
        .with("BlockDeviceMapping.1.Ebs.DeleteOnTermination", &true)
        .with_some("BlockDeviceMapping.1.Ebs.Encrypted", encrypted.then_some(true))
        .with_some("BlockDeviceMapping.1.Ebs.KmsKeyId", key))
}

/// The metadata service, which cloud-init reads the machine's keys from.
fn metadata(query: Query, settings: &Settings<'_>, native: bool) -> Result<Query, CloudError> {
    let tokens = settings.text("amazonec2-http-tokens").unwrap_or("required");
    choose("state of session tokens", tokens, &["required", "optional"], |state| state)?;
    let endpoint = settings.text("amazonec2-http-endpoint").unwrap_or("enabled");
    choose("state of the metadata service that cloud-init can work with", endpoint, &["enabled"], |s| s)?;
    let v6 = if native { "enabled" } else { "disabled" };
    let v6 = settings.text("amazonec2-http-protocol-ipv6").unwrap_or(v6);
    choose("state of the metadata service over IPv6", v6, &["enabled", "disabled"], |state| state)?;
    // One hop keeps containers from the machine's keys; a profile is there for what runs in them.
    let hops = if settings.text("amazonec2-iam-instance-profile").is_some() { 2 } else { 1 };
    Ok(query
        .with("MetadataOptions.HttpTokens", tokens)
        .with("MetadataOptions.HttpEndpoint", endpoint)
        .with("MetadataOptions.HttpProtocolIpv6", v6)
        .with("MetadataOptions.HttpPutResponseHopLimit", &hops))
}

fn extras(query: Query, settings: &Settings<'_>, spot: bool) -> Query {
    let flag = |name: &str| settings.flag(name).then_some(true);
    let profile = settings.text("amazonec2-iam-instance-profile");
    let arn = profile.filter(|profile| profile.starts_with("arn:"));
    let query = query
        .with_some("Monitoring.Enabled", flag("amazonec2-monitoring"))
        .with_some("EbsOptimized", flag("amazonec2-use-ebs-optimized-instance"))
        .with_some("IamInstanceProfile.Arn", arn)
        .with_some("IamInstanceProfile.Name", profile.filter(|_| arn.is_none()));
    if !spot {
        return query;
    }
    query
        .with("InstanceMarketOptions.MarketType", "spot")
        .with("InstanceMarketOptions.SpotOptions.SpotInstanceType", "one-time")
        .with_some("InstanceMarketOptions.SpotOptions.MaxPrice", settings.text("amazonec2-spot-price"))
}

/// `key1,value1,key2,value2`.
fn tags(settings: &Settings<'_>) -> Result<TagList, CloudError> {
    let Some(text) = settings.text("amazonec2-tags") else { return Ok(TagList::new()) };
    let words: Vec<&str> = text.split(',').map(str::trim).collect();
    if !words.len().is_multiple_of(2) {
        return Err(CloudError::unavailable(format!(
            "--amazonec2-tags takes key1,value1,key2,value2, not {text:?}"
        )));
    }
    Ok(words.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect())
}

async fn groups(ec2: &Ec2, settings: &Settings<'_>, vpc: &str) -> Result<Groups, CloudError> {
    let wanted = settings.list("amazonec2-security-group");
    let ports = settings.list("amazonec2-open-port");
    if wanted.is_empty() {
        return Ok(Groups::Ours(Port::all_of(&ports)?));
    }
    if !ports.is_empty() {
        return Err(CloudError::unavailable(
            "--amazonec2-open-port: a security group of yours is never changed; open the port in it",
        ));
    }
    let query = Query::new("DescribeSecurityGroups").filter("vpc-id", &[vpc]);
    let all: Vec<wire::SecurityGroup> = ec2.all(query).await?;
    let id = |wanted: &String| match all.iter().find(|group| group.group_id == *wanted) {
        Some(group) => Ok(group.group_id.clone()),
        None => choose("security group", wanted, &all, |g| &g.group_name).map(|group| group.group_id.clone()),
    };
    Ok(Groups::Theirs(wanted.iter().map(id).collect::<Result<_, _>>()?))
}

async fn key(ec2: &Ec2, settings: &Settings<'_>, public: &str) -> Result<Key, CloudError> {
    let Some(wanted) = settings.text("amazonec2-keypair-name") else {
        return Ok(Key::Ours(public.to_owned()));
    };
    let all: Vec<wire::KeyPair> = ec2.list_of(Query::new("DescribeKeyPairs")).await?;
    Ok(Key::Theirs(choose("key pair", wanted, &all, |key| &key.key_name)?.key_name.clone()))
}

#[cfg(test)]
mod tests {
    use super::{super::options::OPTIONS, *};
    use machine_drivers::{DriverOptions, OptionValue};

    fn with<T>(options: &[(&str, OptionValue)], look: impl FnOnce(&Settings<'_>) -> T) -> T {
        let options: DriverOptions =
            options.iter().map(|(name, value)| (format!("amazonec2-{name}"), value.clone())).collect();
        look(&Settings::new(OPTIONS, &options))
    }

    #[test]
    fn tags_are_pairs() {
        let of = |text: &str| with(&[("tags", OptionValue::Text(text.to_owned()))], tags);
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(of("a,1, b,2").unwrap(), [pair("a", "1"), pair("b", "2")]);
        assert!(of("a,1,b").is_err());
    }

    #[test]
    fn addresses_follow_the_flags() {
        let of = |flags: &[&str], native| {
            let options: Vec<(&str, OptionValue)> = flags.iter().map(|f| (*f, OptionValue::Flag)).collect();
            let addresses = with(&options, Addresses::of).unwrap();
            let query = addresses.in_query(Query::new("RunInstances"), native);
            let value = |name: &str| {
                let name = format!("NetworkInterface.1.{name}");
                query.form().iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone())
            };
            (value("AssociatePublicIpAddress"), value("Ipv6AddressCount"))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of(&[], false), (some("true"), None));
        assert_eq!(of(&["use-private-address"], false), (some("true"), None));
        assert_eq!(of(&["private-address-only"], false), (some("false"), None));
        assert_eq!(of(&["ipv6-address-only"], false), (some("false"), some("1")));
        assert_eq!(of(&[], true), (None, some("1")), "where there is no IPv4");
    }
}
