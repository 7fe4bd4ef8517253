//! Which loopback port leads to the guest's SSH server.

use machine_drivers::DriverError;
use std::net::{Ipv4Addr, TcpListener};

/// The port of the last start if it is still free, else any free one. Somebody may take it before
/// QEMU does; `start` then asks again.
pub(crate) fn free_port(wanted: Option<u16>) -> Result<u16, DriverError> {
    if let Some(port) = wanted.filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()) {
        return Ok(port);
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| DriverError::Provider { what: format!("No free TCP port on 127.0.0.1: {error}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_free_port_and_leaves_a_taken_one() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = listener.local_addr().unwrap().port();
        assert_ne!(free_port(Some(taken)).unwrap(), taken);
        drop(listener);
        assert_eq!(free_port(Some(taken)).unwrap(), taken);
    }
}
