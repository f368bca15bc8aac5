//! The timing and the bounds of a replica.

use std::time::Duration;

/// Same on every replica of a store. The defaults suit machines that share their cores with others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How often a leader shows that it lives.
    pub heartbeat: Duration,
    /// A follower that heard nothing for a random time between this and twice this starts a pre-vote; a leader that no
    /// majority answered within it steps down; a follower that heard its leader within it votes for nobody else.
    pub election_timeout: Duration,
    /// How much longer than others a replica waits which is not the preferred leader. A delay, never a veto.
    pub preference_delay: Duration,
    /// How much payload one append carries.
    pub append_bytes_max: usize,
    /// How many appends may be unanswered to one follower.
    pub inflight_appends_max: usize,
    /// How much payload the in-memory tail of the log holds beyond what is not yet applied; older entries are loaded.
    pub cache_bytes_max: usize,
    /// How many bytes of proposals may be uncommitted before a proposal is refused as overloaded.
    pub uncommitted_bytes_max: usize,
    /// How many reads may wait for a confirmation before a read is refused as overloaded.
    pub waiting_reads_max: usize,
    /// How close to the leader's last entry a learner must be to become a voter.
    pub caught_up_entries: u64,
    /// How long a transfer may take before the leader goes on leading.
    pub transfer_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_timeout: Duration::from_millis(800),
            preference_delay: Duration::from_millis(100),
            append_bytes_max: 1 << 20,
            inflight_appends_max: 16,
            cache_bytes_max: 8 << 20,
            uncommitted_bytes_max: 64 << 20,
            waiting_reads_max: 65_536,
            caught_up_entries: 64,
            transfer_timeout: Duration::from_millis(1_000),
        }
    }
}
