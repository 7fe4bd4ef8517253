//! Machines in the test cloud: the built `machine` against providers' APIs, with and without VMs behind
//! them.

mod borrowed_host;
mod droplet;
mod faults;
