//! The in-memory driver as an executable of its own: the least that a driver in Rust needs.

use machine_drivers::{external::serve, testing::MemoryDriver};

fn main() {
    serve(MemoryDriver::new());
}
