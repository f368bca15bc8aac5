//! What a node keeps: one segmented log for all its groups, and one state store below it.
//!
//! Synchronous, no tokio, no threads of its own but the state store's background and the lanes of [`disk::files`]. The log does all
//! its I/O through [`disk::Disk`], so that the simulation can fail it in every way a disk fails.

pub mod data_directory;
pub mod disk;
pub mod log;
pub mod state;
