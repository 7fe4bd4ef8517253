//! What a provider's VMs run on.

use std::{collections::BTreeMap, fmt::Debug};

/// What is asked of a VM, in no provider's words.
#[derive(Clone, Debug, Default)]
pub struct Order {
    pub name: String,
    pub user_data: String,
    pub authorized_keys: Vec<String>,
}

/// Runs VMs by the numbers that the provider gave them.
pub trait Hypervisor: Debug + Send {
    /// Makes a VM, switches it on, and says its address.
    fn make(&mut self, id: u64, order: &Order) -> String;
    /// Does nothing when it is on.
    fn switch_on(&mut self, id: u64);
    /// Presses the power button; the guest may take its time.
    fn press(&mut self, id: u64);
    fn cut(&mut self, id: u64);
    /// A guest may also switch itself off.
    fn is_on(&mut self, id: u64) -> bool;
    fn remove(&mut self, id: u64);
}

/// VMs that are nothing but on or off, all at the same address.
#[derive(Debug)]
pub struct Imaginary {
    address: String,
    on: BTreeMap<u64, bool>,
}

impl Imaginary {
    pub fn at(address: &str) -> Box<Self> {
        Box::new(Self { address: address.to_owned(), on: BTreeMap::new() })
    }
}

impl Hypervisor for Imaginary {
    fn make(&mut self, id: u64, order: &Order) -> String {
        assert!(order.user_data.contains("ed25519_private"), "the host key is seeded");
        self.on.insert(id, true);
        self.address.clone()
    }

    fn switch_on(&mut self, id: u64) {
        self.on.insert(id, true);
    }

    fn press(&mut self, id: u64) {
        self.on.insert(id, false);
    }

    fn cut(&mut self, id: u64) {
        self.on.insert(id, false);
    }

    fn is_on(&mut self, id: u64) -> bool {
        self.on.get(&id) == Some(&true)
    }

    fn remove(&mut self, id: u64) {
        self.on.remove(&id);
    }
}
