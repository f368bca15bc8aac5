//! What may be tuned, and the bounds of everything that can grow.

use std::time::Duration;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How long a coordinator waits for a quorum.
    pub request_timeout: Duration,
    /// How long before replicas that have not answered are asked again.
    pub resend: Duration,
    /// How long before others stand in for replicas that have not answered, where the level says so.
    pub hint_after: Duration,
    /// What a node that stood in for a replica gives back in a second.
    pub hint_bytes_per_second: u64,
    /// Requests that a replica coordinates at once.
    pub requests_max: usize,
    /// Bytes of cells that are not durable yet; beyond it writes are refused.
    pub unsynced_bytes_max: usize,
    /// Values of a cell; a write that would make more is refused.
    pub siblings_max: usize,
    /// Cells and bytes of the ranges that one read is of; more is refused.
    pub range_cells_max: usize,
    pub range_bytes_max: usize,
    /// How far ahead of this node's clock a write's time may be.
    pub drift_max: Duration,
    /// How often this replica is compared with another one.
    pub exchange_interval: Duration,
    /// How long the answer to a comparison may take.
    pub exchange_timeout: Duration,
    /// What comparing and what follows from it may send in a second.
    pub exchange_bytes_per_second: u64,
    /// What may wait for another datacenter, in bytes of keys; beyond it a comparison finds what was to be told.
    pub relay_waiting_bytes_max: usize,
    /// Bytes of cells that one message to another datacenter carries, beside one cell that may be larger.
    pub relay_batch_bytes: usize,
    /// How long the answer to it may take before another replica is asked.
    pub relay_timeout: Duration,
    /// The hash tree has two to the power of this many leaves; the same on every replica.
    pub leaf_bits: u8,
    /// How often removed cells are looked for.
    pub collect_interval: Duration,
    /// How long they stay in any case: longer than clocks may be apart.
    pub collect_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(2),
            resend: Duration::from_millis(250),
            hint_after: Duration::from_millis(100),
            hint_bytes_per_second: 640 << 10,
            requests_max: 10_000,
            unsynced_bytes_max: 64 << 20,
            siblings_max: 100,
            range_cells_max: 50_000,
            range_bytes_max: 8 << 20,
            drift_max: Duration::from_secs(10),
            exchange_interval: Duration::from_secs(10),
            exchange_timeout: Duration::from_secs(2),
            exchange_bytes_per_second: 16 << 20,
            relay_waiting_bytes_max: 8 << 20,
            relay_batch_bytes: 1 << 20,
            relay_timeout: Duration::from_secs(3),
            leaf_bits: 16,
            collect_interval: Duration::from_secs(10),
            collect_after: Duration::from_secs(30),
        }
    }
}
