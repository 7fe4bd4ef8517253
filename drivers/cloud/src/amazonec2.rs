//! `amazonec2`: instances of Amazon EC2.
//!
//! Instances, their disks, keys and the security group bear the tags `machine-id` and `machine-owner`, from
//! the request that makes them on. An instance is made once by its client token, which is the machine's
//! nonce and the zone: a zone without capacity is followed by the next one.

mod account;
mod credentials;
mod firewall;
mod options;
mod order;
mod query;
mod signer;
mod wire;

use crate::{
    http::{Api, CloudError},
    provider::{Belonging, Plan, Power, Provider, SHARED, Tags, Vm, ensure},
    settings::Settings,
};
use account::Account;
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use credentials::Surroundings;
use machine_drivers::{DriverError, InstanceState, MachineSpec, OptionSpec, Progress};
use order::{Groups, Key, Order, Place};
use query::Query;
use serde::de::{DeserializeOwned, IgnoredAny};
use signer::Signer;
use std::time::Duration;
use tokio::time::sleep;
use wire::{Instance, KeyPair, List, Page, Region, Reservation, SecurityGroup, Tag};

const ID_TAG: &str = "machine-id";
const OWNER_TAG: &str = "machine-owner";
const NAME_TAG: &str = "Name";
/// An instance in one of the others is a machine no more.
const STATES: [&str; 4] = ["pending", "running", "stopping", "stopped"];
/// Group or key may be gone, or not be seen yet, when the instance is made.
const MOST_ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// Keys and values, in order.
type TagList = Vec<(String, String)>;

/// An account in a region, connected.
#[derive(Debug)]
pub(crate) struct Ec2 {
    api: Api,
    signer: Signer,
    region: String,
    /// Where to ask which regions there are.
    anywhere: Option<Account>,
}

impl Ec2 {
    fn of(account: &Account) -> Result<Self, CloudError> {
        let signer = Signer::new(account.clone(), Surroundings::real());
        Ok(Self {
            api: Api::new(&account.url(), signer.clone())?,
            signer,
            region: account.region.clone(),
            anywhere: account.endpoint.is_none().then(|| account.anywhere()),
        })
    }

    fn region(&self) -> &str {
        &self.region
    }

    /// Every call may be made twice: a second one of those that make something finds what is there.
    async fn call<T: DeserializeOwned>(&self, query: &Query) -> Result<T, CloudError> {
        self.signer.ready().await?;
        let answer = match self.attempt(query).await {
            Err(CloudError::Refused(refusal)) if refusal.status == 401 && self.signer.renew().await => {
                self.attempt(query).await?
            }
            answer => answer?,
        };
        quick_xml::de::from_reader(answer.as_slice()).map_err(|error| CloudError::Nonsense {
            what: query.action.to_owned(),
            detail: error.to_string(),
        })
    }

    async fn attempt(&self, query: &Query) -> Result<Vec<u8>, CloudError> {
        let call = self.api.post("/").called(query.action).form(&query.form()).repeatable();
        call.send().await.map_err(|error| match error {
            CloudError::Refused(mut refusal) if refusal.status == 403 => {
                refusal.message = missing_permission(query.action, &refusal.message);
                CloudError::Refused(refusal)
            }
            error => error,
        })
    }

    async fn run(&self, query: &Query) -> Result<(), CloudError> {
        self.call::<IgnoredAny>(query).await.map(drop)
    }

    /// Every page of a listing.
    async fn all<T: DeserializeOwned>(&self, query: Query) -> Result<Vec<T>, CloudError> {
        // One entry that is named needs no page, and may have none.
        if query.form().iter().any(|(name, _)| name.ends_with("Id.1")) {
            return self.list_of(query).await;
        }
        let mut entries = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let page: Page<T> = self.call(&query.clone().page(next.as_deref())).await?;
            entries.extend(page.list.items);
            match page.next.filter(|token| !token.is_empty()) {
                Some(token) => next = Some(token),
                None => return Ok(entries),
            }
        }
    }

    /// A listing that has no pages.
    async fn list_of<T: DeserializeOwned>(&self, query: Query) -> Result<Vec<T>, CloudError> {
        self.call::<Page<T>>(&query).await.map(|page| page.list.items)
    }

    async fn instances(&self, query: Query) -> Result<Vec<Instance>, CloudError> {
        let reservations: Vec<Reservation> = self.all(query).await?;
        Ok(reservations.into_iter().flat_map(|reservation| reservation.instances.items).collect())
    }

    /// Why nothing is answered: there may be no such region.
    async fn explain(&self, error: CloudError) -> CloudError {
        let suspect = match &error {
            CloudError::NoAnswer { .. } => true,
            CloudError::Refused(refusal) => matches!(refusal.code.as_str(), "AuthFailure" | "OptInRequired"),
            _ => false,
        };
        let Some(account) = self.anywhere.as_ref().filter(|_| suspect) else { return error };
        let Ok(elsewhere) = Self::of(account) else { return error };
        let query = Query::new("DescribeRegions").with("AllRegions", &true);
        let Ok(regions) = elsewhere.list_of::<Region>(query).await else { return error };
        match crate::provider::choose("region", &self.region, &regions, |region| &region.region_name) {
            Err(unknown) => unknown,
            Ok(region) if region.opt_in_status.as_deref() == Some("not-opted-in") => {
                CloudError::unavailable(format!("Region {} is not enabled in this account", self.region))
            }
            Ok(_) => error,
        }
    }

    async fn key(&self, public: &str, tags: &Tags) -> Result<String, CloudError> {
        let find = || async {
            let filter = format!("tag:{ID_TAG}");
            let query = Query::new("DescribeKeyPairs").filter(&filter, &[&tags.machine_id]);
            let keys: Vec<KeyPair> = self.list_of(query).await?;
            Ok(keys.into_iter().next().map(|key| key.key_name))
        };
        ensure(find, || async {
            let query = Query::new("ImportKeyPair")
                .with("KeyName", &tags.key_name())
                .with("PublicKeyMaterial", &STANDARD.encode(public.trim()))
                .tagged(&["key-pair"], &ours(tags, &[]));
            self.run(&query).await?;
            Ok(tags.key_name())
        })
        .await
    }

    /// Makes the instance in one place. What it needs may vanish meanwhile, and is then made again.
    async fn make_in(
        &self,
        place: &Place,
        order: &Order,
        tags: &Tags,
        nonce: &str,
    ) -> Result<String, CloudError> {
        let mut attempt = 0;
        loop {
            let groups = async {
                match &order.groups {
                    Groups::Theirs(ids) => Ok(ids.clone()),
                    Groups::Ours(ports) => Ok(vec![firewall::group(self, &order.vpc, ports, tags).await?]),
                }
            };
            let key = async {
                match &order.key {
                    Key::Theirs(name) => Ok(name.clone()),
                    Key::Ours(public) => self.key(public, tags).await,
                }
            };
            let (groups, key) = tokio::try_join!(groups, key)?;
            let kinds: &[&str] = if order.spot {
                &["instance", "volume", "network-interface", "spot-instances-request"]
            } else {
                &["instance", "volume", "network-interface"]
            };
            // What was refused before had other parameters, and tokens are for the same ones.
            let token = if attempt == 0 { String::new() } else { format!("-{attempt}") };
            let query = order
                .query
                .clone()
                .with("NetworkInterface.1.SubnetId", &place.subnet)
                .with_all("NetworkInterface.1.SecurityGroupId", &groups)
                .with("KeyName", &key)
                .with("ClientToken", &format!("{nonce}-{}{token}", place.zone))
                .tagged(kinds, &ours(tags, &order.tags));
            match self.call::<wire::Reservation>(&query).await {
                Ok(made) => {
                    let made = made.instances.items.into_iter().next();
                    return made.map(|instance| instance.instance_id).ok_or_else(|| CloudError::Nonsense {
                        what: query.action.to_owned(),
                        detail: "there is no instance in it".to_owned(),
                    });
                }
                // An earlier attempt made it, when there was another newest image, say.
                Err(CloudError::Refused(refusal)) if refusal.code == "IdempotentParameterMismatch" => {
                    let found = self.find(&tags.machine_id).await?;
                    let found = found.into_iter().next().map(|vm| vm.id);
                    return found.ok_or(CloudError::Refused(refusal));
                }
                Err(CloudError::Refused(refusal))
                    if matches!(
                        refusal.code.as_str(),
                        "InvalidGroup.NotFound" | "InvalidKeyPair.NotFound"
                    ) && attempt < MOST_ATTEMPTS =>
                {
                    attempt += 1;
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[async_trait]
impl Provider for Ec2 {
    const NAME: &'static str = "amazonec2";
    const TITLE: &'static str = "AWS";
    const OPTIONS: &'static [OptionSpec] = options::OPTIONS;
    type Account = Account;
    type Order = Order;

    fn account(settings: &Settings<'_>) -> Result<Account, DriverError> {
        Account::of(settings, &Surroundings::real())
    }

    fn renewed(account: &Account, given: Account) -> Account {
        Account { given: given.given, profile: given.profile, ..account.clone() }
    }

    fn connect(account: &Account) -> Result<Self, CloudError> {
        Self::of(account)
    }

    async fn order(&self, spec: &MachineSpec, settings: &Settings<'_>) -> Result<Plan<Order>, CloudError> {
        match order::decide(self, spec, settings).await {
            Err(error) => Err(self.explain(error).await),
            plan => plan,
        }
    }

    async fn make(
        &self,
        order: &Order,
        tags: &Tags,
        nonce: &str,
        progress: &dyn Progress,
    ) -> Result<String, CloudError> {
        let mut full = Vec::new();
        for place in &order.places {
            progress.step(&format!("Making a {} instance in {}", order.instance_type, place.zone));
            match self.make_in(place, order, tags, nonce).await {
                Err(CloudError::Refused(refusal)) if wire::NO_CAPACITY.contains(&refusal.code.as_str()) => {
                    full.push(place.zone.as_str());
                }
                outcome => return outcome,
            }
        }
        Err(CloudError::Action {
            what: "RunInstances".to_owned(),
            message: format!(
                "there is no capacity for {} in {} now; try another --amazonec2-instance-type or --amazonec2-region",
                order.instance_type,
                full.join(", ")
            ),
        })
    }

    async fn list(&self) -> Result<Vec<Vm>, CloudError> {
        let query = Query::new("DescribeInstances").filter("tag-key", &[ID_TAG]);
        let all = self.instances(query.filter("instance-state-name", &STATES)).await?;
        Ok(all.into_iter().filter_map(vm).collect())
    }

    async fn find(&self, machine_id: &str) -> Result<Vec<Vm>, CloudError> {
        let query = Query::new("DescribeInstances").filter(&format!("tag:{ID_TAG}"), &[machine_id]);
        let all = self.instances(query.filter("instance-state-name", &STATES)).await?;
        Ok(all.into_iter().filter_map(vm).collect())
    }

    async fn get(&self, id: &str) -> Result<Option<Vm>, CloudError> {
        match self.instances(Query::new("DescribeInstances").with("InstanceId.1", id)).await {
            Err(error) if is_missing(&error) => Ok(None),
            found => Ok(found?.into_iter().next().and_then(vm)),
        }
    }

    async fn power(&self, id: &str, power: Power) -> Result<Option<String>, CloudError> {
        let stop = Query::new("StopInstances").with("InstanceId.1", id);
        let query = match power {
            Power::On => Query::new("StartInstances").with("InstanceId.1", id),
            Power::Shutdown => stop,
            Power::Off => stop.with("Force", &true).with("SkipOsShutdown", &true),
        };
        self.run(&query).await.map(|()| None)
    }

    async fn delete(&self, id: &str) -> Result<(), CloudError> {
        match self.run(&Query::new("TerminateInstances").with("InstanceId.1", id)).await {
            Err(error) if is_missing(&error) => Ok(()),
            outcome => outcome,
        }
    }

    async fn belongings(&self) -> Result<Vec<Belonging>, CloudError> {
        let keys = Query::new("DescribeKeyPairs").filter("tag-key", &[ID_TAG]);
        let groups = Query::new("DescribeSecurityGroups").filter("tag-key", &[ID_TAG]);
        let (keys, groups) =
            tokio::try_join!(self.list_of::<KeyPair>(keys), self.all::<SecurityGroup>(groups))?;
        let keys = keys.into_iter().map(|key| Belonging {
            kind: "key pair",
            machine_id: tag(&key.tag_set, ID_TAG),
            owner: tag(&key.tag_set, OWNER_TAG),
            id: key.key_pair_id,
            name: key.key_name,
        });
        let groups = groups.into_iter().map(|group| Belonging {
            kind: "security group",
            machine_id: SHARED.to_owned(),
            owner: firewall::owner(&group),
            id: group.group_id,
            name: group.group_name,
        });
        Ok(keys.chain(groups).collect())
    }

    async fn discard(&self, belonging: &Belonging) -> Result<(), CloudError> {
        if belonging.kind == "security group" {
            return firewall::delete(self, &belonging.id).await;
        }
        // By name: what speaks EC2 besides AWS accepts an id and deletes nothing.
        match self.run(&Query::new("DeleteKeyPair").with("KeyName", &belonging.name)).await {
            Err(error) if is_missing(&error) => Ok(()),
            outcome => outcome,
        }
    }

    async fn release(&self, owner: &str) -> Result<(), CloudError> {
        firewall::release(self, owner).await
    }
}

/// `None` for one that is on its way out.
fn vm(instance: Instance) -> Option<Vm> {
    let state = match instance.instance_state.name.as_str() {
        "pending" => InstanceState::Starting,
        "running" => InstanceState::Running,
        "stopping" => InstanceState::Stopping,
        "stopped" => InstanceState::Stopped,
        "shutting-down" | "terminated" => return None,
        _ => InstanceState::Error,
    };
    let some = |address: Option<String>| address.filter(|address| !address.is_empty());
    let interfaces = instance.network_interface_set.items.into_iter();
    let first = interfaces.flat_map(|interface| interface.ipv6_addresses_set.items).next();
    Some(Vm {
        ipv4: some(instance.ip_address),
        ipv6: some(instance.ipv6_address).or(first.map(|first| first.ipv6_address)),
        private: some(instance.private_ip_address),
        name: tag(&instance.tag_set, NAME_TAG),
        machine_id: tag(&instance.tag_set, ID_TAG),
        owner: tag(&instance.tag_set, OWNER_TAG),
        id: instance.instance_id,
        state,
    })
}

/// Our tags, and the `wanted` ones of the user behind them.
fn ours(tags: &Tags, wanted: &[(String, String)]) -> TagList {
    let ours = [(NAME_TAG, &tags.name), (ID_TAG, &tags.machine_id), (OWNER_TAG, &tags.owner)];
    let ours = ours.map(|(key, value)| (key.to_owned(), value.clone()));
    let wanted = wanted.iter().filter(|(key, _)| ours.iter().all(|(other, _)| other != key));
    ours.iter().chain(wanted).cloned().collect()
}

fn tag(tags: &List<Tag>, key: &str) -> String {
    tags.items.iter().find(|tag| tag.key == key).map(|tag| tag.value.clone()).unwrap_or_default()
}

/// It is about something that does not exist.
fn is_missing(error: &CloudError) -> bool {
    let CloudError::Refused(refusal) = error else { return false };
    let ending = [".NotFound", ".Malformed", "ID.Unavailable"];
    refusal.code.starts_with("Invalid") && ending.iter().any(|ending| refusal.code.ends_with(ending))
}

/// AWS names the permission in one of its sentences, where it is not that of the call itself.
fn missing_permission(action: &str, message: &str) -> String {
    let words = message.split_once("perform: ").map_or("", |(_, rest)| rest);
    let named = words.split_whitespace().next().filter(|word| word.contains(':'));
    let permission = named.map_or_else(|| format!("ec2:{action}"), str::to_owned);
    format!("the permission {permission} is missing ({})", message.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_permission_is_named() {
        assert_eq!(
            missing_permission("RunInstances", "You are not authorized to perform this operation."),
            "the permission ec2:RunInstances is missing (You are not authorized to perform this operation)"
        );
        let told = missing_permission(
            "RunInstances",
            "You are not authorized to perform this operation. User: arn:aws:iam::1:user/u is not authorized to \
             perform: iam:PassRole on resource: arn:aws:iam::1:role/r",
        );
        assert!(told.starts_with("the permission iam:PassRole is missing (You"), "{told}");
    }
}
