//! `amazonec2` against an account that keeps AWS's own model of EC2.

mod faults;

use crate::subject::{driver, spec};
use machine_drivers::{
    Driver, DriverError, InstanceState, MachineSpec, Silent,
    conformance::{Subject, conformance},
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};
use tempfile::TempDir;
use tests::test_cloud::{
    Fake,
    ec2::{ACCESS_KEY, Region},
};

struct Cloud {
    fake: Arc<Fake<Region>>,
    folder: TempDir,
    spec: MachineSpec,
    driver: Arc<dyn Driver>,
}

impl Cloud {
    fn new(options: &[(&str, &str)]) -> Self {
        Self::in_region(&Arc::new(Fake::start(Region::default(), "", None)), options)
    }

    fn in_region(fake: &Arc<Fake<Region>>, options: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = fake.url("");
        let mut all = vec![
            ("amazonec2-endpoint", url.as_str()),
            ("amazonec2-access-key", ACCESS_KEY),
            ("amazonec2-secret-key", "secret"),
            ("amazonec2-region", "eu-test-1"),
        ];
        all.retain(|(name, _)| !options.iter().any(|(other, _)| other == name));
        all.extend(options);
        let spec = spec(folder.path(), &all);
        Self { fake: Arc::clone(fake), folder, spec, driver: driver("amazonec2") }
    }

    async fn refused(&self) -> String {
        let error = self.driver.check(&self.spec).await.unwrap_err();
        assert!(matches!(error, DriverError::InvalidSpec(_)), "{error:?}");
        error.to_string()
    }

    fn nothing_is_left(&self) {
        let left = self.fake.world(|region| (region.alive(), region.keys.len(), region.groups.len()));
        assert_eq!(left, (0, 0, 1), "instances, keys and groups but the VPC's own");
        assert_eq!(std::fs::read_dir(self.folder.path()).unwrap().count(), 0, "files left");
    }
}

fn violations(fake: &Fake<Region>) -> BTreeSet<String> {
    fake.world(|region| region.violations.clone())
}

#[tokio::test]
async fn keeps_the_contract() {
    let fake = Arc::new(Fake::start(Region::default(), "", None));
    conformance(|| {
        let cloud = Cloud::in_region(&fake, &[]);
        Subject { driver: cloud.driver, spec: cloud.spec, keep: Box::new(cloud.folder) }
    })
    .await;
    assert_eq!(violations(&fake), BTreeSet::new());
    assert_eq!(fake.world(|region| (region.alive(), region.keys.len())), (0, 0));
    assert_eq!(fake.world(|region| region.groups.len()), 1, "the security group goes with the last machine");
}

#[tokio::test]
async fn what_is_not_asked_for_is_decided_and_told() {
    let cloud = Cloud::new(&[]);
    let remarks = cloud.driver.check(&cloud.spec).await.unwrap();
    assert_eq!(
        remarks,
        ["Instance type t3.micro (2 CPUs, 1024 MB) in eu-test-1a, image debian-13-amd64-20251117-2299 \
          (ami-13new), account admin"]
    );
    let made = ["RunInstances", "ImportKeyPair", "CreateSecurityGroup"];
    assert!(made.iter().all(|action| cloud.fake.count(&format!("POST /{action}")) == 0));
}

#[tokio::test]
async fn what_there_is_not_is_refused_with_what_there_is() {
    let fake = Cloud::new(&[]).fake;
    for (option, value, sentence) in [
        ("instance-type", "t3.nano9", "There is no instance type \"t3.nano9\"; there are t3.micro, t3.small"),
        (
            "instance-type",
            "zz.big",
            "There is no instance type of the family of \"zz.big\"; there are m9, t3, t4g",
        ),
        ("instance-type", "t4g.micro", "Instance type t4g.micro is arm64; the engine is for x86"),
        ("ami", "ami-0", "There is no image \"ami-0\" in this region; images differ by region"),
        ("ami", "ami-arm", "Image ami-arm is for arm64; the engine is for x86"),
        ("zone", "x", "There is no zone \"x\"; there are eu-test-1a, eu-test-1b, eu-test-1c"),
        ("vpc-id", "vpc-9", "There is no VPC \"vpc-9\"; there are vpc-1, vpc-2"),
        (
            "subnet-id",
            "subnet-9",
            "There is no subnet \"subnet-9\"; there are subnet-a, subnet-b, subnet-six",
        ),
        ("security-group", "web", "There is no security group \"web\"; there are default"),
        ("keypair-name", "mine", "There is no key pair \"mine\"; there are "),
        (
            "volume-type",
            "io2",
            "There is no type of root disk that needs no IOPS \"io2\"; there are gp2, gp3, standard",
        ),
        ("root-size", "4", "--amazonec2-root-size 4: the image needs 8 GB"),
        ("tags", "a,b,c", "--amazonec2-tags takes key1,value1,key2,value2, not \"a,b,c\""),
        (
            "block-duration-minutes",
            "60",
            "--amazonec2-block-duration-minutes: AWS sells no spot instances by time any more",
        ),
        (
            "http-endpoint",
            "disabled",
            "There is no state of the metadata service that cloud-init can work with \"disabled\"; there are enabled",
        ),
    ] {
        let option = format!("amazonec2-{option}");
        let mut other = Cloud::in_region(&fake, &[(&option, value)]);
        if let Ok(number) = value.parse() {
            other.spec.options.insert(option.clone(), machine_drivers::OptionValue::Number(number));
        }
        assert_eq!(other.refused().await, sentence, "{option}");
    }
    fake.world(|region| region.no_default_vpc = true);
    let sentence = Cloud::in_region(&fake, &[]).refused().await;
    assert!(
        sentence.contains(
            "There is no default VPC in eu-test-1; name one with --amazonec2-vpc-id (there are vpc-1, vpc-2)"
        ),
        "{sentence}"
    );
    assert_eq!(violations(&fake), BTreeSet::new());
}

#[tokio::test]
async fn everything_asked_for_is_in_the_request() {
    let cloud = Cloud::new(&[
        ("amazonec2-zone", "b"),
        ("amazonec2-instance-type", "m9.large"),
        ("amazonec2-request-spot-instance", ""),
        ("amazonec2-spot-price", "0.05"),
        ("amazonec2-iam-instance-profile", "builder"),
        ("amazonec2-monitoring", ""),
        ("amazonec2-use-ebs-optimized-instance", ""),
        ("amazonec2-kms-key", "alias/ci"),
        ("amazonec2-private-address-only", ""),
        ("amazonec2-open-port", "443,53/udp"),
        ("amazonec2-tags", "team,ci,machine-id,not-this"),
        ("amazonec2-ssh-keypath", "/root/.ssh/id_rsa"),
    ]);
    let remarks = cloud.driver.check(&cloud.spec).await.unwrap();
    assert_eq!(remarks[0], "--amazonec2-ssh-keypath is not used: the machine has a key of its own");
    let instance = cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
    let request = cloud.fake.world(|region| region.instances[&instance.id].request.clone());
    for (at, value) in [
        ("/InstanceType", "\"m9.large\""),
        ("/NetworkInterfaces/0/SubnetId", "\"subnet-b\""),
        ("/NetworkInterfaces/0/AssociatePublicIpAddress", "false"),
        ("/InstanceMarketOptions/MarketType", "\"spot\""),
        ("/InstanceMarketOptions/SpotOptions/MaxPrice", "\"0.05\""),
        ("/IamInstanceProfile/Name", "\"builder\""),
        ("/Monitoring/Enabled", "true"),
        ("/EbsOptimized", "true"),
        ("/BlockDeviceMappings/0/DeviceName", "\"/dev/xvda\""),
        ("/BlockDeviceMappings/0/Ebs/Encrypted", "true"),
        ("/BlockDeviceMappings/0/Ebs/VolumeType", "\"gp3\""),
        ("/BlockDeviceMappings/0/Ebs/VolumeSize", "16"),
        ("/BlockDeviceMappings/0/Ebs/DeleteOnTermination", "true"),
        ("/MetadataOptions/HttpTokens", "\"required\""),
        ("/MetadataOptions/HttpPutResponseHopLimit", "2"),
    ] {
        assert_eq!(request.pointer(at).map(ToString::to_string).as_deref(), Some(value), "{at}");
    }
    let tags = request["TagSpecifications"][0]["Tags"].to_string();
    assert!(
        tags.contains(&cloud.spec.machine_id) && tags.contains("team") && !tags.contains("not-this"),
        "{tags}"
    );
    let open = cloud
        .fake
        .world(|region| region.groups.values().map(|group| group.rules.to_string()).collect::<String>());
    assert!(open.contains("\"FromPort\":443") && open.contains("\"FromPort\":53"), "{open}");
    cloud.driver.start(&instance, &Silent).await.unwrap();
    assert_eq!(cloud.driver.access(&instance).await.unwrap().ssh.host, "10.0.0.4");
    cloud.driver.remove(&instance).await.unwrap();
    assert_eq!(violations(&cloud.fake), BTreeSet::new());
}

#[tokio::test]
async fn a_subnet_without_ipv4_is_reached_by_ipv6() {
    let cloud = Cloud::new(&[("amazonec2-subnet-id", "subnet-six")]);
    let instance = cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
    let request = cloud.fake.world(|region| region.instances[&instance.id].request.clone());
    assert_eq!(request["MetadataOptions"]["HttpProtocolIpv6"], "enabled");
    assert!(request["NetworkInterfaces"][0].get("AssociatePublicIpAddress").is_none());
    cloud.driver.start(&instance, &Silent).await.unwrap();
    assert_eq!(cloud.driver.access(&instance).await.unwrap().ssh.host, "2001:db8::4");
    assert_eq!(violations(&cloud.fake), BTreeSet::new());
}

#[tokio::test]
async fn creates_at_once_share_one_security_group() {
    let fake = Cloud::new(&[]).fake;
    let clouds: Vec<Cloud> = (0..3).map(|_| Cloud::in_region(&fake, &[])).collect();
    let creates = clouds.iter().map(|cloud| cloud.driver.create(&cloud.spec, &Silent));
    let instances = futures_util::future::try_join_all(creates).await.unwrap();
    assert_eq!(fake.world(|region| region.groups.len()), 2, "ours and the VPC's own");
    let removes = clouds.iter().zip(&instances).map(|(cloud, instance)| cloud.driver.remove(instance));
    futures_util::future::try_join_all(removes).await.unwrap();
    clouds.iter().for_each(Cloud::nothing_is_left);
    assert_eq!(violations(&fake), BTreeSet::new());
}

#[tokio::test]
async fn many_machines_are_one_listing() {
    let fake = Cloud::new(&[]).fake;
    let clouds: Vec<Cloud> = (0..3).map(|_| Cloud::in_region(&fake, &[])).collect();
    let driver = crate::subject::patient("amazonec2");
    let mut instances = Vec::new();
    for cloud in &clouds {
        instances.push(cloud.driver.create(&cloud.spec, &Silent).await.unwrap());
    }
    let before = fake.count("POST /DescribeInstances");
    for state in futures_util::future::join_all(instances.iter().map(|i| driver.state(i))).await {
        assert!(matches!(state.unwrap(), InstanceState::Running | InstanceState::Starting));
    }
    assert_eq!(fake.count("POST /DescribeInstances") - before, 2, "two pages, and nothing else");
}

#[tokio::test]
async fn gc_finds_what_belongs_to_no_machine_and_nothing_else() {
    let fake = Cloud::new(&[]).fake;
    let (kept, lost) = (Cloud::in_region(&fake, &[]), Cloud::in_region(&fake, &[]));
    let mut foreign = Cloud::in_region(&fake, &[]);
    "another-store".clone_into(&mut foreign.spec.owner);
    for cloud in [&kept, &lost, &foreign] {
        cloud.driver.create(&cloud.spec, &Silent).await.unwrap();
    }
    let alive: BTreeSet<String> = [kept.spec.machine_id.clone()].into();
    let gc = |remove| kept.driver.leftovers(&kept.spec.options, &kept.spec.owner, &alive, remove);
    let found = gc(false).await.unwrap();
    assert_eq!(found.iter().map(|left| left.kind.as_str()).collect::<Vec<_>>(), ["VM", "key pair"]);
    assert!(found.iter().all(|left| left.name.contains(&lost.spec.name)), "{found:?}");
    gc(true).await.unwrap();
    assert_eq!(gc(false).await.unwrap(), []);
    assert_eq!(fake.world(|region| (region.alive(), region.keys.len(), region.groups.len())), (2, 2, 3));
}

/// Collects what a driver tells.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl machine_drivers::Progress for Told {
    fn step(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}
