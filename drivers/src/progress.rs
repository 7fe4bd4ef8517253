//! Drivers tell, the CLI draws.

/// Receives the steps of a long call.
pub trait Progress: Send + Sync {
    /// A step begins; a sentence without final dot, such as `Formatting a 20 GiB disk`.
    fn step(&self, text: &str);
}

/// Nobody listens.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _text: &str) {}
}
