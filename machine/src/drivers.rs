//! The drivers by name. The only file of the host's binary that names a driver's crate.

use machine_drivers::Driver;
use std::sync::Arc;

/// The driver of `create` when none is named.
pub const DEFAULT: &str = "kvm";

/// The drivers there are.
#[derive(Clone, Debug)]
pub struct Registry {
    drivers: Vec<Arc<dyn Driver>>,
}

/// No driver has the name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Driver {name:?} not found")]
pub struct UnknownDriver {
    /// The name.
    pub name: String,
    /// Those there are.
    pub known: Vec<&'static str>,
}

impl Registry {
    /// What is built in. Cheap: every command calls it.
    pub fn built_in() -> Self {
        let mut drivers: Vec<Arc<dyn Driver>> = vec![Arc::new(driver_kvm::KvmDriver::new())];
        drivers.extend(driver_cloud::drivers());
        Self::of(drivers)
    }

    /// These.
    pub fn of(drivers: Vec<Arc<dyn Driver>>) -> Self {
        Self { drivers }
    }

    /// The driver of that name.
    pub fn get(&self, name: &str) -> Result<&Arc<dyn Driver>, UnknownDriver> {
        self.drivers.iter().find(|driver| driver.name() == name).ok_or_else(|| UnknownDriver {
            name: name.to_owned(),
            known: self.drivers.iter().map(|driver| driver.name()).collect(),
        })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Driver>> {
        self.drivers.iter()
    }
}
