//! Hosts that are elsewhere: [`generic`](GenericDriver), any host with SSH, and the VMs of cloud
//! providers, whose common life is in `virtual_machine.rs`.
//!
//! They run an operating system of their own; `machine` puts the engine there over SSH.

mod amazonec2;
mod bearer;
mod digitalocean;
mod files;
mod generic;
mod hetzner;
mod http;
mod known_hosts;
mod linode;
mod provider;
mod random;
mod settings;
mod string_tags;
mod user_data;
mod virtual_machine;

pub use generic::GenericDriver;

use machine_drivers::Driver;
use std::sync::Arc;

use std::time::Duration;
use virtual_machine::VirtualMachines;

/// Between two looks at something that is under way at a provider.
const POLL: Duration = Duration::from_secs(2);

/// All drivers of this crate. Cheap: nothing is connected.
pub fn drivers() -> Vec<Arc<dyn Driver>> {
    let mut drivers = providers(POLL);
    drivers.insert(0, Arc::new(GenericDriver::new()));
    drivers
}

/// Those of providers, looking at what is under way every `poll`.
pub fn providers(poll: Duration) -> Vec<Arc<dyn Driver>> {
    vec![
        Arc::new(VirtualMachines::<hetzner::Hetzner>::new(poll)),
        Arc::new(VirtualMachines::<digitalocean::DigitalOcean>::new(poll)),
        Arc::new(VirtualMachines::<amazonec2::Ec2>::new(poll)),
        Arc::new(VirtualMachines::<linode::Linode>::new(poll)),
    ]
}
