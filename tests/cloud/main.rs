//! Machines in the test cloud: the built `machine` against providers' APIs, with and without VMs behind
//! them; and a driver against a cloud that is not ours.

mod borrowed_host;
mod droplet;
mod faults;
mod ipv6_only_host;
mod moto;
mod openrc_host;
