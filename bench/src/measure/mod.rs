//! What a load costs: processor time and syncs of the disk, seen from outside, the same way for every system.

pub(crate) mod process;
pub(crate) mod syncs;
mod window;

pub(crate) use window::{Sample, measure};
