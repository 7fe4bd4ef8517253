//! What a driver can do, as data.

/// Abilities that not every driver has. All false is a legal driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The VM runs on this computer: no bill, dies with the host.
    pub local: bool,
    /// The guest boots anonymous and takes its seed over [`crate::Access::seed_socket`].
    pub seed_channel: bool,
    /// `create` leaves the instance running, as clouds do: there is no other way to have one.
    pub runs_when_created: bool,
    /// The host is somebody's, lent to the machine: power on and off mean the engine's service on it, and
    /// `remove` leaves the host as it was found.
    pub borrowed_host: bool,
    /// [`crate::Driver::resize`] works.
    pub resize: bool,
    /// Files of the machine's folder that hold what is in the machine, and that another instance of the same
    /// sizes can be given while it is off: how a machine moves to another computer.
    pub contents: &'static [&'static str],
}
