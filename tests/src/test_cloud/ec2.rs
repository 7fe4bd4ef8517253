//! A region of EC2: instances that take a look or two to get where they go, a VPC with three zones, and
//! Debian's images.

use super::{
    fake::{Answer, Asked, World, pairs},
    query_model::Model,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
    time::SystemTime,
};

static MODEL: LazyLock<Model> = LazyLock::new(|| Model::parse(include_str!("specs/ec2.json")));
/// The access key that is accepted.
pub const ACCESS_KEY: &str = "AKIDEXAMPLE";

/// One that was made.
#[derive(Debug)]
pub struct Instance {
    /// What it was made of.
    pub request: Value,
    state: &'static str,
    /// Looks until it is in the next one.
    next: Option<(u32, &'static str)>,
    /// Looks that do not find it yet.
    blind: u32,
}

/// A security group.
#[derive(Debug)]
pub struct Group {
    request: Value,
    pub rules: Value,
}

/// The region.
#[derive(Debug, Default)]
pub struct Region {
    next: u64,
    pub instances: BTreeMap<String, Instance>,
    pub keys: BTreeMap<String, Value>,
    pub groups: BTreeMap<String, Group>,
    tokens: BTreeMap<String, String>,
    pub violations: BTreeSet<String>,
    pub no_default_vpc: bool,
    /// Seconds that the clock here is ahead of the driver's.
    pub clock_ahead: i64,
    /// How long new instances are not seen.
    pub blind: u32,
}

/// A refusal by its code; AWS's status for it.
type Refusal = (u16, &'static str);

impl Region {
    pub fn alive(&self) -> usize {
        self.instances.values().filter(|i| i.state != "shutting-down" && i.state != "terminated").count()
    }

    fn id(&mut self, kind: &str) -> String {
        self.next += 1;
        format!("{kind}-{:017x}", self.next)
    }

    fn admitted(&self, asked: &Asked) -> Result<(), Refusal> {
        let header = |name: &str| asked.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let scope = format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/");
        if !header("authorization").starts_with(&scope)
            || !header("authorization").contains("/eu-test-1/ec2/aws4_request")
        {
            return Err((401, "AuthFailure"));
        }
        if header("x-amz-security-token") == "expired-token" {
            return Err((400, "RequestExpired"));
        }
        let signed = jiff::fmt::strtime::parse("%Y%m%dT%H%M%SZ", header("x-amz-date")).unwrap();
        let signed = signed.to_datetime().unwrap().to_zoned(jiff::tz::TimeZone::UTC).unwrap();
        let off = signed.timestamp().as_second() - self.now();
        if off.abs() > 300 { Err((401, "AuthFailure")) } else { Ok(()) }
    }

    fn now(&self) -> i64 {
        jiff::Timestamp::try_from(SystemTime::now()).unwrap().as_second() + self.clock_ahead
    }

    /// Time passes by being looked at.
    fn pass(&mut self) {
        for instance in self.instances.values_mut() {
            match &mut instance.next {
                Some((0, state)) => {
                    instance.state = state;
                    instance.next = (*state == "shutting-down").then_some((1, "terminated"));
                }
                Some((left, _)) => *left -= 1,
                None => {}
            }
        }
    }

    fn act(&mut self, action: &str, request: &Value) -> Result<Value, Refusal> {
        match action {
            "RunInstances" => self.run(request),
            "DescribeInstances" => self.describe(request),
            "StartInstances" => self.power(request, &["stopped"], ("pending", "running")),
            "StopInstances" => self.power(request, &["running"], ("stopping", "stopped")),
            "TerminateInstances" => self.power(
                request,
                &["pending", "running", "stopping", "stopped"],
                ("shutting-down", "terminated"),
            ),
            "ImportKeyPair" => {
                let name = request["KeyName"].as_str().unwrap().to_owned();
                if self.keys.values().any(|key| key["KeyName"] == name) {
                    return Err((400, "InvalidKeyPair.Duplicate"));
                }
                let id = self.id("key");
                self.keys.insert(
                    id.clone(),
                    json!({ "KeyPairId": id, "KeyName": name, "Tags": request["TagSpecifications"][0]["Tags"] }),
                );
                Ok(json!({ "KeyPairId": id, "KeyName": name }))
            }
            "DescribeKeyPairs" => {
                let keys: Vec<Value> = self.keys.values().filter(|key| fits(request, key)).cloned().collect();
                Ok(json!({ "KeyPairs": keys }))
            }
            "DeleteKeyPair" => {
                // AWS says yes as well when there is none of that name.
                self.keys.retain(|_, key| key["KeyName"] != request["KeyName"]);
                Ok(json!({ "Return": true }))
            }
            "CreateSecurityGroup" => {
                let same = |group: &Group| group.request["GroupName"] == request["GroupName"];
                if self.groups.values().any(same) {
                    return Err((400, "InvalidGroup.Duplicate"));
                }
                let id = self.id("sg");
                self.groups.insert(id.clone(), Group { request: request.clone(), rules: json!([]) });
                Ok(json!({ "GroupId": id }))
            }
            "AuthorizeSecurityGroupIngress" => {
                let id = request["GroupId"].as_str().unwrap();
                let group = self.groups.get_mut(id).ok_or((400, "InvalidGroup.NotFound"))?;
                if group.rules != json!([]) {
                    return Err((400, "InvalidPermission.Duplicate"));
                }
                group.rules = request["IpPermissions"].clone();
                Ok(json!({ "Return": true }))
            }
            "DescribeSecurityGroups" => {
                self.groups.entry("sg-default".to_owned()).or_insert_with(|| Group {
                    request: json!({ "GroupName": "default", "VpcId": "vpc-1" }),
                    rules: json!([]),
                });
                let group = |(id, group): (&String, &Group)| {
                    json!({ "GroupId": id, "GroupName": group.request["GroupName"], "VpcId": group.request["VpcId"],
                        "Tags": group.request["TagSpecifications"][0]["Tags"], "IpPermissions": group.rules })
                };
                Ok(page("SecurityGroups", self.groups.iter().map(group).collect(), request))
            }
            "DeleteSecurityGroup" => {
                let id = request["GroupId"].as_str().unwrap();
                let uses = |instance: &Instance| {
                    instance.state != "terminated"
                        && instance.request["NetworkInterfaces"][0]["Groups"][0] == id
                };
                if self.instances.values().any(uses) {
                    return Err((400, "DependencyViolation"));
                }
                self.groups.remove(id).map(|_| json!({})).ok_or((400, "InvalidGroup.NotFound"))
            }
            "DescribeVpcs" => {
                let default = !self.no_default_vpc;
                let vpc = |id: &str, default: bool| json!({ "VpcId": id, "IsDefault": default });
                Ok(page("Vpcs", vec![vpc("vpc-1", default), vpc("vpc-2", false)], request))
            }
            "DescribeSubnets" => {
                let all = subnets();
                let wanted = request["SubnetIds"][0].as_str();
                if wanted.is_some_and(|wanted| all.iter().all(|subnet| subnet["SubnetId"] != wanted)) {
                    return Err((400, "InvalidSubnetID.NotFound"));
                }
                let named = |subnet: &Value| wanted.is_none_or(|wanted| subnet["SubnetId"] == wanted);
                Ok(page("Subnets", all.into_iter().filter(named).collect(), request))
            }
            "DescribeImages" => {
                let wanted = request["ImageIds"][0].as_str();
                let found: Vec<Value> = images()
                    .into_iter()
                    .filter(|image| wanted.is_none_or(|wanted| image["ImageId"] == wanted))
                    .filter(|image| {
                        request["Owners"][0].is_null() || request["Owners"][0] == image["OwnerId"]
                    })
                    .filter(|image| {
                        let release = image["Name"].as_str().unwrap().starts_with("debian-13-amd64-2");
                        wanted.is_some() || release
                    })
                    .collect();
                if found.is_empty() {
                    Err((400, "InvalidAMIID.Malformed"))
                } else {
                    Ok(json!({ "Images": found }))
                }
            }
            "DescribeInstanceTypes" => {
                let wanted = request["InstanceTypes"][0].as_str();
                let found: Vec<Value> =
                    types().into_iter().filter(|t| wanted.is_none_or(|w| t["InstanceType"] == w)).collect();
                if found.is_empty() {
                    Err((400, "InvalidInstanceType"))
                } else {
                    Ok(page("InstanceTypes", found, request))
                }
            }
            "DescribeInstanceTypeOfferings" => {
                let zones = request["LocationType"] == "availability-zone";
                let locations: &[&str] = if zones { &["eu-test-1a", "eu-test-1b"] } else { &["eu-test-1"] };
                let offers = types().into_iter().flat_map(|kind| {
                    locations
                        .iter()
                        .map(move |l| json!({ "InstanceType": kind["InstanceType"], "Location": l }))
                });
                Ok(page("InstanceTypeOfferings", offers.collect(), request))
            }
            "DescribeAvailabilityZones" => {
                let zone = |letter| json!({ "ZoneName": format!("eu-test-1{letter}"), "State": "available" });
                let zones = ["a", "b", "c"].map(zone);
                Ok(json!({ "AvailabilityZones": zones }))
            }
            _ => Err((400, "InvalidAction")),
        }
    }

    fn run(&mut self, request: &Value) -> Result<Value, Refusal> {
        let token = request["ClientToken"].as_str().unwrap().to_owned();
        let id = match self.tokens.get(&token) {
            Some(id) if self.instances[id].request == *request => id.clone(),
            Some(_) => return Err((400, "IdempotentParameterMismatch")),
            None => {
                let known = |group: &Value| self.groups.contains_key(group.as_str().unwrap());
                let interface = &request["NetworkInterfaces"][0];
                if !interface["Groups"].as_array().unwrap().iter().all(known) {
                    return Err((400, "InvalidGroup.NotFound"));
                }
                if !self.keys.values().any(|key| key["KeyName"] == request["KeyName"]) {
                    return Err((400, "InvalidKeyPair.NotFound"));
                }
                let id = self.id("i");
                self.tokens.insert(token, id.clone());
                let next = Some((1, "running"));
                self.instances.insert(
                    id.clone(),
                    Instance { request: request.clone(), state: "pending", next, blind: self.blind },
                );
                id
            }
        };
        Ok(json!({ "Instances": [self.shown(&id)] }))
    }

    fn describe(&mut self, request: &Value) -> Result<Value, Refusal> {
        self.pass();
        if let Some(id) = request["InstanceIds"][0].as_str() {
            let instance = self.instances.get_mut(id).ok_or((400, "InvalidInstanceID.NotFound"))?;
            if instance.blind > 0 {
                instance.blind -= 1;
                return Err((400, "InvalidInstanceID.NotFound"));
            }
            return Ok(json!({ "Reservations": [{ "Instances": [self.shown(id)] }] }));
        }
        let seen = self.instances.iter().filter(|(_, instance)| instance.blind == 0);
        let all = seen.map(|(id, _)| self.shown(id)).filter(|instance| fits(request, instance));
        Ok(page("Reservations", all.map(|instance| json!({ "Instances": [instance] })).collect(), request))
    }

    fn shown(&self, id: &str) -> Value {
        let Instance { request, state, .. } = &self.instances[id];
        let interface = &request["NetworkInterfaces"][0];
        let running = *state == "running";
        let native = interface.get("AssociatePublicIpAddress").is_none();
        let public = interface["AssociatePublicIpAddress"] == true && running;
        let v6 = if native { json!([{ "Ipv6Address": "2001:db8::4" }]) } else { json!([]) };
        json!({
            "InstanceId": id,
            "State": { "Name": state, "Code": 0 },
            "PublicIpAddress": public.then_some("203.0.113.4"),
            "PrivateIpAddress": (!native).then_some("10.0.0.4"),
            "NetworkInterfaces": [{ "Ipv6Addresses": v6 }],
            "SecurityGroups": [{ "GroupId": interface["Groups"][0] }],
            "Tags": request["TagSpecifications"][0]["Tags"],
        })
    }

    fn power(
        &mut self,
        request: &Value,
        from: &[&str],
        (now, then): (&'static str, &'static str),
    ) -> Result<Value, Refusal> {
        let id = request["InstanceIds"][0].as_str().unwrap();
        let instance = self.instances.get_mut(id).filter(|instance| instance.blind == 0);
        let instance = instance.ok_or((400, "InvalidInstanceID.NotFound"))?;
        if from.contains(&instance.state) {
            instance.state = now;
            instance.next = Some((1, then));
        } else if !matches!(instance.state, state if state == now || state == then) {
            return Err((400, "IncorrectInstanceState"));
        }
        Ok(json!({}))
    }
}

/// Whether an entry has what the filters want.
fn fits(request: &Value, entry: &Value) -> bool {
    let filters = request["Filters"].as_array().into_iter().flatten();
    filters.into_iter().all(|filter| {
        let values = filter["Values"].as_array().unwrap();
        let tags = || entry["Tags"].as_array().into_iter().flatten();
        match filter["Name"].as_str().unwrap() {
            "tag-key" => tags().any(|tag| values.contains(&tag["Key"])),
            "instance-state-name" => values.contains(&entry["State"]["Name"]),
            "instance.group-id" => values.contains(&entry["SecurityGroups"][0]["GroupId"]),
            "vpc-id" => values.contains(&entry["VpcId"]),
            "group-name" => values.contains(&entry["GroupName"]),
            name => match name.strip_prefix("tag:") {
                Some(key) => tags().any(|tag| tag["Key"] == key && values.contains(&tag["Value"])),
                // The rest is about what is the same for all entries here.
                None => true,
            },
        }
    })
}

/// Small pages: whoever reads the first only reads too little.
fn page(key: &str, entries: Vec<Value>, request: &Value) -> Value {
    let start: usize = request["NextToken"].as_str().map_or(0, |token| token.parse().unwrap());
    let entries: Vec<Value> =
        entries.into_iter().filter(|entry| key == "Reservations" || fits(request, entry)).collect();
    let size = if request["MaxResults"].is_null() { entries.len() } else { 2 };
    let more = entries.len() > start + size;
    let some: Vec<Value> = entries.into_iter().skip(start).take(size).collect();
    json!({ key: some, "NextToken": more.then(|| (start + size).to_string()) })
}

fn subnets() -> Vec<Value> {
    let one = |id: &str, zone: &str, default: bool, native: bool| {
        json!({ "SubnetId": id, "VpcId": "vpc-1", "AvailabilityZone": zone, "DefaultForAz": default,
            "AvailableIpAddressCount": if native { 0 } else { 250 }, "Ipv6Native": native, "State": "available" })
    };
    vec![
        one("subnet-b", "eu-test-1b", true, false),
        one("subnet-six", "eu-test-1a", false, true),
        one("subnet-a", "eu-test-1a", true, false),
    ]
}

fn images() -> Vec<Value> {
    let one = |id: &str, name: &str, architecture: &str, date: &str| {
        json!({ "ImageId": id, "Name": name, "Architecture": architecture, "State": "available",
            "OwnerId": "136693071363", "CreationDate": date, "RootDeviceName": "/dev/xvda",
            "BlockDeviceMappings": [{ "DeviceName": "/dev/xvda", "Ebs": { "VolumeSize": 8 } }] })
    };
    vec![
        one("ami-13old", "debian-13-amd64-20250814-2204", "x86_64", "2025-08-14T00:00:00.000Z"),
        one("ami-13new", "debian-13-amd64-20251117-2299", "x86_64", "2025-11-17T00:00:00.000Z"),
        one("ami-arm", "debian-13-arm64-20251117-2299", "arm64", "2025-11-17T00:00:00.000Z"),
    ]
}

fn types() -> Vec<Value> {
    let one = |name: &str, architecture: &str, memory: u64, burstable: bool| {
        json!({ "InstanceType": name, "CurrentGeneration": true, "FreeTierEligible": false,
            "BurstablePerformanceSupported": burstable, "VCpuInfo": { "DefaultVCpus": 2 },
            "MemoryInfo": { "SizeInMiB": memory }, "ProcessorInfo": { "SupportedArchitectures": [architecture] } })
    };
    vec![
        one("m9.large", "x86_64", 8192, false),
        one("t4g.micro", "arm64", 1024, true),
        one("t3.small", "x86_64", 2048, true),
        one("t3.micro", "x86_64", 1024, true),
    ]
}

impl World for Region {
    fn error(&self, status: u16, code: &str) -> Answer {
        let date = jiff::Timestamp::from_second(self.now()).unwrap().strftime("%a, %d %b %Y %H:%M:%S GMT");
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code>\
             <Message>It is {code}</Message></Error></Errors><RequestID>1</RequestID></Response>"
        );
        Answer {
            status,
            headers: vec![("content-type", "text/xml".to_owned()), ("date", date.to_string())],
            body,
        }
    }

    fn answer(&mut self, asked: &Asked) -> Answer {
        if let Err((status, code)) = self.admitted(asked) {
            return self.error(status, code);
        }
        let form = pairs(&asked.text);
        let action = form["Action"].clone();
        let (request, wrong) = MODEL.read(&action, &form);
        let refused = !wrong.is_empty();
        self.violations.extend(wrong);
        if refused {
            return self.error(400, "InvalidParameter");
        }
        match self.act(&action, &request) {
            Err((status, code)) => self.error(status, code),
            Ok(document) => {
                let (body, wrong) = MODEL.write(&action, &document);
                self.violations.extend(wrong);
                Answer { status: 200, headers: vec![("content-type", "text/xml".to_owned())], body }
            }
        }
    }
}
