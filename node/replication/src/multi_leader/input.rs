//! What an exchange is told, what it wants done, and what may be tuned.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_model::{ActorId, Datacenter, LogIndex, NodeId, Time, VersionVector};

use super::{Change, Message, Routes};

/// What is known of the group when its leader begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// Whose its writes are now,
    pub origin: ActorId,
    /// and whose they have been: another one since its volumes were lost.
    pub own: BTreeSet<ActorId>,
    /// What it has applied.
    pub known: VersionVector,
    /// Another one for every leader.
    pub seed: u64,
    pub now: Time,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    Tick,
    Routes {
        routes: Routes,
        /// Who has a replica of the shard in each of the others.
        nodes: BTreeMap<Datacenter, Vec<NodeId>>,
    },
    /// The group has applied all of this by now.
    Applied {
        known: VersionVector,
    },
    Message {
        from: NodeId,
        message: Message,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    Send {
        to: NodeId,
        message: Message,
    },
    /// To be written to the group's log, each whole, in this order.
    Apply {
        changes: Vec<Change>,
    },
    /// Some of what that datacenter has applied through `floor` is not known here, and no longer in its log, or so late there that what
    /// comes first has no room to wait: a snapshot is needed.
    Lacks {
        from: Datacenter,
        floor: VersionVector,
    },
}

/// What the group has applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    Change(Change),
    /// Everything that another datacenter had applied. With it this was applied here.
    Snapshot(VersionVector),
    /// Of no concern to others, and nothing before it that was not given here.
    Nothing,
}

/// What the group has applied, as far back as its log goes.
pub trait Log {
    /// The last entry that the log no longer has, and what was applied through it.
    fn floor(&self) -> (LogIndex, &VersionVector);

    /// The last entry that is committed and applied.
    fn applied(&self) -> LogIndex;

    /// The changes and snapshots behind an entry that the log has, through [`Self::applied`]: at most so many bytes, but at least one where
    /// there is one.
    fn behind(&self, index: LogIndex, bytes_max: usize) -> Vec<(LogIndex, Entry)>;
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Bytes that one datacenter may be given before it says that it has taken some.
    pub window_bytes: usize,
    /// Bytes of changes in one message, beside one that may be larger.
    pub batch_bytes: usize,
    /// Bytes of changes that are on their way through this group's log at a time.
    pub apply_bytes_max: usize,
    /// Bytes of changes that wait for others; what comes beyond it comes again.
    pub held_bytes_max: usize,
    /// How long what is applied gathers after changes were told, so that many small writes do not cost whoever takes a sync each.
    pub gather: Duration,
    /// How often something is said where there is nothing to tell.
    pub beat: Duration,
    /// After how long without a word a datacenter is gone around.
    pub silence: Duration,
    /// How long a change may wait for another one before that is asked for elsewhere.
    pub patience: Duration,
    /// How far ahead of this node's clock a write's time may be.
    pub drift_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // What is on its way is taken in at once when a line mends: with more a leader would not hear its followers for too long.
            window_bytes: 2 << 20,
            batch_bytes: 64 << 10,
            // About two hundred small ones.
            apply_bytes_max: 64 << 10,
            held_bytes_max: 64 << 20,
            gather: Duration::from_millis(5),
            beat: Duration::from_millis(500),
            silence: Duration::from_secs(3),
            patience: Duration::from_secs(1),
            drift_max: Duration::from_secs(10),
        }
    }
}
