//! What the lifecycle in `virtual_machine.rs` asks of a provider: few calls on plain data.

use crate::{http::CloudError, settings::Settings};
use async_trait::async_trait;
use machine_drivers::{DriverError, InstanceState, MachineSpec, OptionSpec, Progress};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fmt::Debug;

/// A provider's account, connected.
#[async_trait]
pub(crate) trait Provider: Debug + Sized + Send + Sync + 'static {
    /// The driver's name.
    const NAME: &'static str;
    /// The provider's name, for sentences.
    const TITLE: &'static str;
    const OPTIONS: &'static [OptionSpec];
    /// Endpoint and credentials: what every later command needs. Kept in a private file of the machine.
    type Account: Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync;
    /// Everything that is decided about a VM before it is made.
    type Order: Send + Sync;

    /// Reads the account from the options.
    fn account(settings: &Settings<'_>) -> Result<Self::Account, DriverError>;

    /// The credentials of `given` for the place that `account` is in.
    fn renewed(account: &Self::Account, given: Self::Account) -> Self::Account;

    /// No call is made.
    fn connect(account: &Self::Account) -> Result<Self, CloudError>;

    /// Looks up what is asked for and decides what is not. The provider is only asked, nothing is made.
    async fn order(
        &self,
        spec: &MachineSpec,
        settings: &Settings<'_>,
    ) -> Result<Plan<Self::Order>, CloudError>;

    /// Makes the VM and what it needs, all bearing `tags`; returns its id as soon as the provider gives one.
    /// When it fails, what was made before is found by the tags. `nonce` is drawn once for every VM.
    async fn make(
        &self,
        order: &Self::Order,
        tags: &Tags,
        nonce: &str,
        progress: &dyn Progress,
    ) -> Result<String, CloudError>;

    /// Every VM in the account that bears tags of ours, in as few calls as there are pages.
    async fn list(&self) -> Result<Vec<Vm>, CloudError>;

    /// The VMs that bear this machine's tags.
    async fn find(&self, machine_id: &str) -> Result<Vec<Vm>, CloudError>;

    /// One VM; `None` when it does not exist any more.
    async fn get(&self, id: &str) -> Result<Option<Vm>, CloudError>;

    /// Asks for power; returns when that has been accepted, with the name of the action that is under way
    /// then, where the provider has such.
    async fn power(&self, id: &str, power: Power) -> Result<Option<String>, CloudError>;

    /// Whether an action that [`Self::power`] named is still under way. An error when it failed.
    async fn is_under_way(&self, _action: &str) -> Result<bool, CloudError> {
        Ok(false)
    }

    /// Asks for the end of a VM; `Ok` when it is gone already.
    async fn delete(&self, id: &str) -> Result<(), CloudError>;

    /// Everything else that bears tags of ours.
    async fn belongings(&self) -> Result<Vec<Belonging>, CloudError>;

    /// Removes one such thing; `Ok` when it is gone already.
    async fn discard(&self, belonging: &Belonging) -> Result<(), CloudError>;

    /// One of the owner's machines has been removed: removes what all of them share if no VM uses it any
    /// more. Where only `gc` can tell that, nothing.
    async fn release(&self, owner: &str) -> Result<(), CloudError> {
        let _ = owner;
        Ok(())
    }
}

/// What was decided about a VM.
#[derive(Debug)]
pub(crate) struct Plan<O> {
    pub(crate) order: O,
    /// How to reach what the order makes.
    pub(crate) reach: Reach,
    /// Sentences about what was decided.
    pub(crate) remarks: Vec<String>,
}

/// What is asked of a VM's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    On,
    /// As by its button: the guest puts itself in order.
    Shutdown,
    /// As by its plug.
    Off,
}

/// Whose it is: on everything we make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tags {
    /// The machine's name, for people.
    pub(crate) name: String,
    pub(crate) machine_id: String,
    pub(crate) owner: String,
}

/// The machine id on what all machines of one owner share.
pub(crate) const SHARED: &str = "shared";

impl Tags {
    /// Those of what all machines of the owner share.
    pub(crate) fn shared(&self) -> Self {
        Self { machine_id: SHARED.to_owned(), name: SHARED.to_owned(), owner: self.owner.clone() }
    }

    /// The name of the machine's SSH key, where keys have names.
    pub(crate) fn key_name(&self) -> String {
        format!("machine-{}-{}", self.name, short(&self.machine_id))
    }

    /// The name of the owner's placement group, where machines can be kept apart.
    pub(crate) fn spread_name(&self) -> String {
        format!("machine-spread-{}", short(&self.owner))
    }

    /// The name of the owner's firewall that lets in SSH and ping only.
    pub(crate) fn firewall_name(&self) -> String {
        format!("machine-ssh-{}", short(&self.owner))
    }
}

fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// A VM as the provider shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vm {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) state: InstanceState,
    pub(crate) ipv4: Option<String>,
    pub(crate) ipv6: Option<String>,
    pub(crate) private: Option<String>,
    /// What its tags say; empty when they do not.
    pub(crate) machine_id: String,
    pub(crate) owner: String,
}

/// Something else of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Belonging {
    /// The provider's word.
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) machine_id: String,
    pub(crate) owner: String,
}

/// How SSH gets to a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reach {
    pub(crate) user: String,
    pub(crate) port: u16,
    /// By its address in a private network.
    pub(crate) private: bool,
}

impl Reach {
    /// As the driver's `ssh-user` and `ssh-port` say; `user` is who the image's account belongs to.
    pub(crate) fn of(settings: &Settings<'_>, driver: &str, user: &str) -> Result<Self, DriverError> {
        Ok(Self {
            user: settings.text(&format!("{driver}-ssh-user")).unwrap_or(user).to_owned(),
            port: settings.port(&format!("{driver}-ssh-port"))?,
            private: false,
        })
    }

    /// The address to use, once there is one. IPv6 only where there is nothing else.
    pub(crate) fn address<'a>(&self, vm: &'a Vm) -> Option<&'a str> {
        let address = if self.private { &vm.private } else { &vm.ipv4 };
        let other = if self.private { &None } else { &vm.ipv6 };
        address.as_deref().or(other.as_deref())
    }
}

/// The entry with this name. The refusal lists what there is.
pub(crate) fn choose<'a, T>(
    what: &str,
    wanted: &str,
    all: &'a [T],
    name: impl Fn(&T) -> &str,
) -> Result<&'a T, CloudError> {
    all.iter().find(|entry| name(entry) == wanted).ok_or_else(|| {
        let mut names: Vec<&str> = all.iter().map(&name).collect();
        names.sort_unstable();
        names.dedup();
        CloudError::Unavailable(format!("There is no {what} {wanted:?}; there are {}", names.join(", ")))
    })
}

/// What `find` finds, else what `make` makes. When making it fails it may be there all the same: another
/// machine's create was faster, or the answer was lost.
pub(crate) async fn ensure<T, Found, Made>(
    find: impl Fn() -> Found,
    make: impl FnOnce() -> Made,
) -> Result<T, CloudError>
where
    Found: Future<Output = Result<Option<T>, CloudError>>,
    Made: Future<Output = Result<T, CloudError>>,
{
    if let Some(there) = find().await? {
        return Ok(there);
    }
    match make().await {
        Ok(made) => Ok(made),
        Err(error) => find().await?.ok_or(error),
    }
}
