//! Networks and their members on links that exist only in memory.

use super::{
    directory::tests::{question, records},
    *,
};
use crate::{
    ports::{NameAnswer, Names, NoHost},
    testing::MemoryLinks,
};
use bollard_stubs::models::{EndpointIpamConfig, EndpointSettings, HostConfig, Ipam, IpamConfig};
use hickory_proto::rr::RecordType;
use std::collections::HashMap;

struct Site {
    _root: tempfile::TempDir,
    networks: Networks,
    links: Arc<MemoryLinks>,
}

async fn site() -> Site {
    let root = tempfile::tempdir().unwrap();
    let links = Arc::new(MemoryLinks::default());
    let networks =
        Networks::open(root.path(), links.clone(), Arc::new(NoHost), Arc::default(), BRIDGE_INTERFACE)
            .await
            .unwrap();
    Site { _root: root, networks, links }
}

fn request(name: &str, subnet: &str) -> NetworkCreateRequest {
    let config = IpamConfig { subnet: Some(subnet.to_owned()), ..IpamConfig::default() };
    let ipam = Ipam { config: (!subnet.is_empty()).then(|| vec![config]), ..Ipam::default() };
    NetworkCreateRequest { name: name.to_owned(), ipam: Some(ipam), ..NetworkCreateRequest::default() }
}

impl Site {
    async fn join(&self, id: &str, wishes: &[(&str, EndpointSettings)]) -> Result<Joined> {
        let wishes: HashMap<String, EndpointSettings> =
            wishes.iter().map(|(name, wish)| ((*name).to_owned(), wish.clone())).collect();
        let mode = NetworkMode::parse(wishes.keys().min().map_or("bridge", String::as_str)).unwrap();
        let host = HostConfig::default();
        let name = format!("name-{id}");
        let guest = Guest { id, name: &name, hostname: id, host: &host, wishes: &wishes };
        self.networks.join(guest, &mode).await
    }

    async fn address(&self, id: &str, network: &str) -> String {
        let joined = self.join(id, &[(network, EndpointSettings::default())]).await.unwrap();
        joined.endpoints[network].address.unwrap().to_string()
    }

    fn ask(&self, container: &str, name: &str, kind: RecordType) -> NameAnswer {
        let directory = directory::Directory::new(self.networks.state.clone());
        directory.answer(container, &question(name, kind), false)
    }
}

#[tokio::test]
async fn definitions_survive_and_predefined_networks_stay() {
    let root = tempfile::tempdir().unwrap();
    let open = || {
        Networks::open(
            root.path(),
            Arc::new(MemoryLinks::default()),
            Arc::new(NoHost),
            Arc::default(),
            BRIDGE_INTERFACE,
        )
    };
    let first = open().await.unwrap();
    let mine = first.create(request("mine", "")).await.unwrap();
    assert_eq!(mine.plans[0].subnet.to_string(), "172.18.0.0/16");
    let second = open().await.unwrap();
    assert_eq!(second.find(&mine.id[..12]).unwrap().definition.name, "mine");
    let bridge = first.find("bridge").unwrap().definition;
    assert_eq!(bridge.id, second.find("default").unwrap().definition.id);
    assert_eq!(first.find("nope").unwrap_err().to_string(), "network nope not found");
    let refused = first.remove("host").await.unwrap_err();
    assert_eq!(refused.to_string(), "host is a pre-defined network and cannot be removed");
    second.remove("mine").await.unwrap();
    assert!(open().await.unwrap().find("mine").is_err());
}

#[tokio::test]
async fn where_ipv4_leads_nowhere_networks_have_ipv6() {
    let root = tempfile::tempdir().unwrap();
    let open = async |links: MemoryLinks| {
        let (links, host) = (Arc::new(links), Arc::new(NoHost));
        Networks::open(root.path(), links, host, Arc::default(), BRIDGE_INTERFACE).await.unwrap()
    };
    let has_ipv6 = |networks: &Networks, name: &str| {
        let definition = networks.find(name).unwrap().definition;
        assert_eq!(definition.ipv6, definition.plan(false).is_some());
        definition.ipv6
    };
    let networks = open(MemoryLinks::ipv6_only()).await;
    networks.create(request("mine", "")).await.unwrap();
    networks.create(NetworkCreateRequest { enable_ipv6: Some(false), ..request("other", "") }).await.unwrap();
    assert!(has_ipv6(&networks, "bridge") && has_ipv6(&networks, "mine"));
    assert!(!has_ipv6(&networks, "other") && !has_ipv6(&networks, "host"));
    // It was decided when the engine came there.
    assert!(has_ipv6(&open(MemoryLinks::default()).await, "bridge"));
}

#[tokio::test]
async fn names_subnets_and_drivers_are_refused_as_dockerd_does() {
    let site = site().await;
    let networks = &site.networks;
    networks.create(request("mine", "10.1.0.0/16")).await.unwrap();
    let refused = async |request| networks.create(request).await.unwrap_err();
    let error = refused(request("mine", "")).await;
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Conflict, "network with name mine already exists")
    );
    let error = refused(request("other", "10.1.2.0/24")).await;
    assert_eq!(error.to_string(), "Pool overlaps with other one on this address space");
    let mut overlay = request("other", "");
    overlay.driver = Some("weave".to_owned());
    assert_eq!(refused(overlay).await.to_string(), "plugin \"weave\" not found");
    assert_eq!(networks.list().len(), 4);
    for _ in 0..40 {
        let Err(error) = networks.create(request(&crate::id::random_id().unwrap(), "")).await else {
            continue;
        };
        assert!(
            error.to_string().starts_with("could not find an available, non-overlapping IPv4"),
            "{error}"
        );
        return;
    }
    panic!("the default pools never end");
}

#[tokio::test]
async fn an_address_belongs_to_one_container_at_a_time() {
    let site = site().await;
    assert_eq!(site.address("a", "bridge").await, "172.17.0.2");
    assert_eq!(site.address("b", "bridge").await, "172.17.0.3");
    site.networks.leave("a").await.unwrap();
    site.networks.leave("a").await.unwrap();
    assert_eq!(site.address("c", "bridge").await, "172.17.0.2");
    assert_eq!(site.links.sandboxes(), ["b", "c"]);
    assert_eq!(site.networks.find("bridge").unwrap().members.len(), 2);
}

#[tokio::test]
async fn a_failed_join_leaves_nothing() {
    let site = site().await;
    site.links.fail_joins(true);
    assert!(site.join("a", &[("bridge", EndpointSettings::default())]).await.is_err());
    site.links.fail_joins(false);
    assert!(site.links.sandboxes().is_empty());
    assert!(site.networks.find("bridge").unwrap().members.is_empty());
    assert_eq!(site.address("b", "bridge").await, "172.17.0.2");
}

#[tokio::test]
async fn a_chosen_address_is_given_once_and_a_used_network_stays() {
    let site = site().await;
    site.networks.create(request("mine", "10.1.0.0/24")).await.unwrap();
    let wish = EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: Some("10.1.0.9".to_owned()),
            ..EndpointIpamConfig::default()
        }),
        mac_address: Some("02:00:00:00:00:07".to_owned()),
        ..EndpointSettings::default()
    };
    let joined = site.join("a", &[("mine", wish.clone())]).await.unwrap();
    let endpoint = &joined.endpoints["mine"];
    assert_eq!((endpoint.address, endpoint.mac.as_str()), ("10.1.0.9".parse().ok(), "02:00:00:00:00:07"));
    assert_eq!(site.join("b", &[("mine", wish)]).await.unwrap_err().to_string(), "Address already in use");
    let error = site.networks.remove("mine").await.unwrap_err().to_string();
    assert!(error.starts_with("error while removing network: network mine id "), "{error}");
    assert!(site.networks.prune(|_| true).await.unwrap().is_empty());
    site.networks.leave("a").await.unwrap();
    assert_eq!(site.networks.prune(|_| true).await.unwrap(), ["mine"]);
}

#[tokio::test]
async fn the_way_out_is_the_first_by_name_and_moves() {
    let site = site().await;
    for name in ["aaa", "zzz"] {
        site.networks.create(request(name, "")).await.unwrap();
    }
    let wishes = [("zzz", EndpointSettings::default())];
    let mut endpoints = site.join("c", &wishes).await.unwrap().endpoints;
    assert_eq!(site.links.interfaces("c"), [("eth0".to_owned(), true)]);
    let (host, wishes) = (HostConfig::default(), HashMap::new());
    let guest = Guest { id: "c", name: "name-c", hostname: "c", host: &host, wishes: &wishes };
    let added = site.networks.connect(guest, "aaa", &endpoints).await.unwrap();
    assert_eq!(site.links.interfaces("c"), [("eth0".to_owned(), false), ("eth1".to_owned(), true)]);
    endpoints.insert("aaa".to_owned(), added);
    let twice = site.networks.connect(guest, "aaa", &endpoints).await.unwrap_err();
    assert_eq!(twice.to_string(), "endpoint with name name-c already exists in network aaa");
    site.networks.disconnect("c", "aaa", &endpoints).await.unwrap();
    assert_eq!(site.links.interfaces("c"), [("eth0".to_owned(), true)]);
    site.networks.remove("aaa").await.unwrap();
}

#[tokio::test]
async fn names_reach_as_far_as_the_network() {
    let site = site().await;
    for name in ["one", "two"] {
        site.networks.create(request(name, "")).await.unwrap();
    }
    let wish = |alias: &str| EndpointSettings {
        aliases: Some(vec![alias.to_owned()]),
        ..EndpointSettings::default()
    };
    site.join("a", &[("one", wish("Web"))]).await.unwrap();
    site.join("b", &[("one", wish("web"))]).await.unwrap();
    site.join("c", &[("two", wish("web"))]).await.unwrap();
    site.join("d", &[("bridge", EndpointSettings::default())]).await.unwrap();
    let addresses = |container, name| records(site.ask(container, name, RecordType::A));
    assert_eq!(addresses("a", "web."), Some(vec!["172.18.0.2".to_owned(), "172.18.0.3".to_owned()]));
    assert_eq!(addresses("c", "WEB."), Some(vec!["172.19.0.2".to_owned()]));
    assert_eq!(addresses("a", "name-b.one."), Some(vec!["172.18.0.3".to_owned()]));
    assert_eq!(addresses("a", "name-c."), None, "not on a network with it");
    assert_eq!(addresses("a", "web.two."), None);
    assert_eq!(records(site.ask("a", "name-b.", RecordType::AAAA)), Some(vec![]));
    let reverse = records(site.ask("a", "3.0.18.172.in-addr.arpa.", RecordType::PTR));
    assert_eq!(reverse, Some(vec!["name-b.one.".to_owned()]));
    assert!(matches!(site.ask("a", "example.org.", RecordType::MX), NameAnswer::Forward { .. }));
    site.networks.rename("b", "fresh");
    assert_eq!(addresses("a", "fresh."), Some(vec!["172.18.0.3".to_owned()]));
    assert_eq!(addresses("a", "name-b."), None);
}

#[tokio::test]
async fn an_internal_network_asks_nobody_else_and_long_answers_are_cut() {
    let site = site().await;
    let internal = NetworkCreateRequest { internal: Some(true), ..request("inner", "") };
    site.networks.create(internal).await.unwrap();
    let wish = EndpointSettings { aliases: Some(vec!["many".to_owned()]), ..EndpointSettings::default() };
    for n in 0..40 {
        let joined = site.join(&format!("c{n}"), &[("inner", wish.clone())]).await.unwrap();
        assert_eq!(joined.endpoints["inner"].gateway, None);
    }
    let refused = records(site.ask("c0", "example.org.", RecordType::A));
    assert_eq!(refused, Some(vec!["Server Failure".to_owned()]));
    let NameAnswer::Reply(cut) = site.ask("c0", "many.", RecordType::A) else { panic!("not answered") };
    assert!(cut.len() <= 512 && cut[2] & 2 == 2, "truncated");
}

#[tokio::test]
async fn ports_open_on_the_way_out_and_a_busy_one_leaves_nothing() {
    let site = site().await;
    let endpoints = site.join("a", &[("bridge", EndpointSettings::default())]).await.unwrap().endpoints;
    let wanted = |ports: std::ops::RangeInclusive<u16>| PortRequest {
        protocol: crate::ports::Protocol::Tcp,
        container_port: 80,
        host_address: None,
        host_ports: Some(ports),
    };
    let publish = async |id: &str, requests: &[PortRequest]| {
        site.networks.publish(id, "web", &endpoints, requests).await
    };
    site.links.occupy(8081);
    let ports = publish("a", &[wanted(8080..=8080)]).await.unwrap();
    assert_eq!(ports.iter().map(|p| p.host.to_string()).collect::<Vec<_>>(), ["0.0.0.0:8080", "[::]:8080"]);
    let taken = publish("b", &[wanted(9000..=9000), wanted(8080..=8080)]).await.unwrap_err().to_string();
    assert!(
        taken.starts_with("driver failed programming external connectivity on endpoint web ("),
        "{taken}"
    );
    assert!(taken.ends_with("): Bind for 0.0.0.0:8080 failed: port is already allocated"), "{taken}");
    let busy = publish("b", &[wanted(8081..=8081)]).await.unwrap_err().to_string();
    assert!(busy.ends_with("listen tcp4 0.0.0.0:8081: bind: address already in use"), "{busy}");
    assert_eq!(publish("b", &[wanted(8080..=8082)]).await.unwrap()[0].host.port(), 8082);
    site.networks.unpublish("a").await;
    assert_eq!(publish("b", &[wanted(8080..=8080), wanted(9000..=9000)]).await.unwrap().len(), 4);
    site.networks.leave("a").await.unwrap();
}
