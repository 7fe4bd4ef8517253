//! What of EC2's answers is read. Everything else may come and go.

use crate::http::Refusal;
use serde::Deserialize;

/// A list: `<item>` for every entry.
#[derive(Debug, Deserialize)]
pub(super) struct List<T> {
    #[serde(rename = "item", default = "Vec::new")]
    pub(super) items: Vec<T>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

/// A page of a listing, whose list bears another name in every answer.
#[derive(Debug, Deserialize)]
pub(super) struct Page<T> {
    #[serde(
        alias = "reservationSet",
        alias = "imagesSet",
        alias = "instanceTypeSet",
        alias = "instanceTypeOfferingSet",
        alias = "subnetSet",
        alias = "vpcSet",
        alias = "securityGroupInfo",
        alias = "keySet",
        alias = "availabilityZoneInfo",
        alias = "regionInfo",
        default = "List::default"
    )]
    pub(super) list: List<T>,
    #[serde(rename = "nextToken")]
    pub(super) next: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Reservation {
    #[serde(rename = "instancesSet", default = "List::default")]
    pub(super) instances: List<Instance>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instance {
    pub(super) instance_id: String,
    pub(super) instance_state: State,
    pub(super) ip_address: Option<String>,
    pub(super) private_ip_address: Option<String>,
    pub(super) ipv6_address: Option<String>,
    #[serde(default)]
    pub(super) network_interface_set: List<NetworkInterface>,
    #[serde(default)]
    pub(super) tag_set: List<Tag>,
}

#[derive(Debug, Deserialize)]
pub(super) struct State {
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NetworkInterface {
    #[serde(default)]
    pub(super) ipv6_addresses_set: List<Ipv6Address>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ipv6Address {
    pub(super) ipv6_address: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tag {
    pub(super) key: String,
    #[serde(default)]
    pub(super) value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyPair {
    pub(super) key_pair_id: String,
    pub(super) key_name: String,
    #[serde(default)]
    pub(super) tag_set: List<Tag>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SecurityGroup {
    pub(super) group_id: String,
    pub(super) group_name: String,
    #[serde(default)]
    pub(super) ip_permissions: List<Permission>,
    #[serde(default)]
    pub(super) tag_set: List<Tag>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Permission {}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupCreated {
    pub(super) group_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Vpc {
    pub(super) vpc_id: String,
    #[serde(default)]
    pub(super) is_default: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Subnet {
    pub(super) subnet_id: String,
    pub(super) vpc_id: String,
    pub(super) availability_zone: String,
    #[serde(default)]
    pub(super) available_ip_address_count: u64,
    #[serde(default)]
    pub(super) default_for_az: bool,
    /// It has no IPv4.
    #[serde(default)]
    pub(super) ipv6_native: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Zone {
    pub(super) zone_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Region {
    pub(super) region_name: String,
    pub(super) opt_in_status: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InstanceType {
    pub(super) instance_type: String,
    #[serde(default)]
    pub(super) current_generation: bool,
    #[serde(default)]
    pub(super) free_tier_eligible: bool,
    #[serde(default)]
    pub(super) burstable_performance_supported: bool,
    pub(super) processor_info: ProcessorInfo,
    pub(super) v_cpu_info: VCpuInfo,
    pub(super) memory_info: MemoryInfo,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProcessorInfo {
    #[serde(default)]
    pub(super) supported_architectures: List<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct VCpuInfo {
    #[serde(rename = "defaultVCpus")]
    pub(super) default: u32,
}

#[derive(Debug, Deserialize)]
pub(super) struct MemoryInfo {
    #[serde(rename = "sizeInMiB")]
    pub(super) mib: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Offering {
    pub(super) instance_type: String,
    /// A zone or a region, as was asked.
    pub(super) location: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Image {
    pub(super) image_id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) image_owner_id: String,
    #[serde(default)]
    pub(super) image_state: String,
    /// As text it sorts by time.
    #[serde(default)]
    pub(super) creation_date: String,
    pub(super) root_device_name: Option<String>,
    #[serde(default)]
    pub(super) block_device_mapping: List<BlockDevice>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockDevice {
    pub(super) device_name: Option<String>,
    pub(super) ebs: Option<Ebs>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ebs {
    /// GiB.
    pub(super) volume_size: Option<u64>,
}

/// `<Response><Errors><Error><Code/><Message/>`.
#[derive(Debug, Default, Deserialize)]
struct ErrorResponse {
    #[serde(rename = "Errors", default)]
    errors: Errors,
}

#[derive(Debug, Default, Deserialize)]
struct Errors {
    #[serde(rename = "Error", default)]
    all: Vec<Error>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Error {
    code: String,
    message: String,
}

pub(super) const NO_CAPACITY: [&str; 3] =
    ["InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientReservedInstanceCapacity"];

/// Refusals that have to do with who signed, or when.
pub(super) const UNSIGNED: [&str; 9] = [
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "RequestExpired",
    "RequestInTheFuture",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
];

/// Reads a refusal. AWS's own status says 500 to what is a plain no and 400 to who has expired; the status
/// here says which kind of no it is.
pub(super) fn refusal(status: u16, body: &[u8]) -> Refusal {
    let answer: ErrorResponse = quick_xml::de::from_reader(body).unwrap_or_default();
    let Error { code, message } = answer.errors.all.into_iter().next().unwrap_or_default();
    // A digest for the administrator's tools, a page long.
    let message = message.split(" Encoded authorization failure message").next().unwrap_or_default();
    let passing = matches!(
        code.as_str(),
        "RequestLimitExceeded"
            | "Throttling"
            | "ThrottlingException"
            | "IncorrectInstanceState"
            | "ConcurrentTagAccess"
    );
    let is = |codes: &[&str]| codes.contains(&code.as_str());
    let status = match code.as_str() {
        _ if is(&NO_CAPACITY) => 409,
        _ if is(&UNSIGNED) => 401,
        "UnauthorizedOperation" | "AccessDenied" => 403,
        _ => status,
    };
    Refusal { status, message: message.to_owned(), passing, code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_known_by_its_code() {
        let answer = |code: &str| {
            format!(
                "<?xml version=\"1.0\"?><Response><Errors><Error><Code>{code}</Code><Message>No &lt;way&gt;. \
                 Encoded authorization failure message: abc</Message></Error></Errors><RequestID>1</RequestID>\
                 </Response>"
            )
        };
        let status = |status, code: &str| refusal(status, answer(code).as_bytes()).status;
        assert_eq!(status(500, "InsufficientInstanceCapacity"), 409);
        assert_eq!(status(400, "RequestExpired"), 401);
        assert_eq!(status(400, "InvalidAMIID.NotFound"), 400);
        let refused = refusal(503, answer("RequestLimitExceeded").as_bytes());
        assert!(refused.passing);
        assert_eq!(refused.message, "No <way>.");
        assert_eq!(refusal(502, b"<html>").code, "", "what no API said is no refusal of its");
    }

    #[test]
    fn lists_may_be_empty_or_missing() {
        let read = |text: &str| quick_xml::de::from_str::<Page<Vpc>>(text).unwrap();
        assert!(read("<R xmlns=\"http://x/\"><vpcSet/></R>").list.items.is_empty());
        assert!(read("<R><requestId>1</requestId></R>").list.items.is_empty());
        let page = read(
            "<R><vpcSet><item><vpcId>vpc-1</vpcId><isDefault>true</isDefault><tagSet/></item>\
             <item><vpcId>vpc-2</vpcId></item></vpcSet><nextToken>t</nextToken></R>",
        );
        assert_eq!(page.list.items.len(), 2);
        assert!(page.list.items[0].is_default && page.next.as_deref() == Some("t"));
    }
}
