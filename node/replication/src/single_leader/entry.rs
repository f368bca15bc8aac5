//! What the log holds: entries, the configurations among them, and the hard state beside it.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_model::{LogIndex, NodeId, Position, Term};
use serde::{Deserialize, Serialize};

/// One entry of a group's log.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub position: Position,
    pub payload: Payload,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Payload {
    /// A new leader's first entry: through it, and only through it, earlier terms' entries are committed.
    Empty,
    /// Counts from the moment it is in a replica's log, committed or not (Raft dissertation, section 4.1). The entry with
    /// index 1 is the genesis configuration.
    Configuration(Configuration),
    /// What the state machine applies; opaque here.
    Command(Bytes),
}

/// Who replicates a group. No node is both a voter and a learner.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Configuration {
    pub voters: BTreeSet<NodeId>,
    /// They follow the log and have no vote.
    pub learners: BTreeSet<NodeId>,
    pub rule: Rule,
}

/// Who must hold an entry durably before it is acknowledged, and whose vote an election needs beside a majority.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Rule {
    /// A majority of the voters.
    #[default]
    Quorum,
    /// The leader alone. What no majority holds can be lost with it.
    Async,
    /// Every member of the in-sync set, voters all, the leader among them (INV-63). An election needs the vote of one of
    /// them (INV-62).
    InSync(BTreeSet<NodeId>),
}

/// What a replica must not forget between restarts, beside its log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct HardState {
    pub term: Term,
    pub vote: Option<NodeId>,
}

impl Entry {
    #[must_use]
    pub const fn index(&self) -> LogIndex {
        self.position.index
    }

    #[must_use]
    pub const fn term(&self) -> Term {
        self.position.term
    }

    /// The size that counts towards the limits of messages and caches.
    #[must_use]
    pub fn bytes(&self) -> usize {
        const OVERHEAD: usize = 32;
        OVERHEAD
            + match &self.payload {
                Payload::Empty => 0,
                Payload::Configuration(configuration) => {
                    let in_sync = configuration.rule.in_sync().map_or(0, BTreeSet::len);
                    16 * (configuration.members().count() + in_sync)
                }
                Payload::Command(command) => command.len(),
            }
    }
}

impl Configuration {
    /// A group that begins: these voters, nobody else, acknowledged by a majority.
    #[must_use]
    pub const fn of(voters: BTreeSet<NodeId>) -> Self {
        Self { voters, learners: BTreeSet::new(), rule: Rule::Quorum }
    }

    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.iter().chain(&self.learners).copied()
    }

    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.learners.contains(&node)
    }
}

impl Rule {
    #[must_use]
    pub const fn in_sync(&self) -> Option<&BTreeSet<NodeId>> {
        match self {
            Self::Quorum | Self::Async => None,
            Self::InSync(set) => Some(set),
        }
    }
}
