//! The bounds and the timing of a host.

use std::time::Duration;

use quorate_replication::{leaderless, multi_leader, single_leader};
use quorate_storage::state;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    pub replication: single_leader::Settings,
    pub leaderless: leaderless::Settings,
    pub multi_leader: multi_leader::Settings,
    /// How many requests may wait for an answer over all groups; more are refused as overloaded.
    pub requests_max: usize,
    /// How long a request waits for a leader or an acknowledgement before it is answered.
    pub request_timeout: Duration,
    /// The state store is flushed when this much was applied since the last flush.
    pub flush_bytes: u64,
    /// And at the latest this long after the first change that no flush covers.
    pub flush_age: Duration,
    /// A new log segment begins at this size.
    pub segment_bytes: u64,
    /// How much of the log is kept for followers that are behind; beyond it they get a snapshot.
    pub log_kept_bytes: u64,
    /// How much one snapshot chunk carries, and how many chunks may be unanswered.
    pub snapshot_chunk_bytes: usize,
    pub snapshot_chunks_inflight: usize,
    /// How much a node sends in a second to followers that catch up, of snapshots and of old entries, over all; 0 is no limit.
    pub catch_up_bytes_per_second: u64,
    /// How much of the log is held for followers that are catching up, beyond `log_kept_bytes`.
    pub log_held_bytes: u64,
    /// Cells in one part of what is taken over from another datacenter.
    pub fill_cells_max: usize,
    /// How many keys whose time has come one log entry removes at most, and how often the leader looks.
    pub expired_keys_per_entry: u32,
    pub expiry_interval: Duration,
    /// How often a node compares the replicas of one of the shards that it leads, and how much of the rows at once.
    pub check_interval: Duration,
    pub check_rows_max: u32,
    pub check_bytes_max: u32,
    /// The format of the storage engine's batches; another one than the engine's own is for tests.
    pub engine_format: u32,
    /// A leader that could not make a write durable for this long hands over, and is gone a quarter of an election timeout later
    /// at the latest: together less than an election timeout.
    pub disk_stall: Duration,
    /// How long a replica that the topology does not name waits before it asks its group whether it may go.
    pub retire_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            replication: single_leader::Settings::default(),
            leaderless: leaderless::Settings::default(),
            multi_leader: multi_leader::Settings::default(),
            requests_max: 65_536,
            request_timeout: Duration::from_secs(5),
            flush_bytes: 64 << 20,
            flush_age: Duration::from_secs(30),
            segment_bytes: 64 << 20,
            log_kept_bytes: 256 << 20,
            snapshot_chunk_bytes: 512 << 10,
            snapshot_chunks_inflight: 8,
            catch_up_bytes_per_second: 64 << 20,
            log_held_bytes: 1 << 30,
            fill_cells_max: 64,
            expired_keys_per_entry: 256,
            expiry_interval: Duration::from_millis(100),
            check_interval: Duration::from_secs(1),
            check_rows_max: 512,
            check_bytes_max: 256 << 10,
            engine_format: state::FORMAT_VERSION,
            disk_stall: Duration::from_millis(500),
            retire_after: Duration::from_secs(5),
        }
    }
}
