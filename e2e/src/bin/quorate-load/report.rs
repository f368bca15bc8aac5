//! What the load prints when it ends.

use serde::Serialize;

#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) keys: u32,
    pub(crate) acknowledged_writes: u64,
    /// Sent and not answered, or answered with an error: each may have taken effect.
    pub(crate) unknown_writes: u64,
    pub(crate) reads: u64,
    pub(crate) failed_reads: u64,
    /// Not acknowledged, whatever was tried.
    pub(crate) failed_writes: u64,
    /// The longest time between two acknowledged writes to one key.
    pub(crate) longest_gap_ms: u64,
    /// When it began, since the start of the run.
    pub(crate) longest_gap_began_ms: u64,
    pub(crate) run_ms: u64,
    /// Acknowledged writes that were not found, and reads that were stale or from nowhere.
    pub(crate) violations: Vec<String>,
    pub(crate) last_errors: Vec<String>,
    /// How often the client library had locked itself up: see `client`.
    pub(crate) clients_replaced: u64,
}
