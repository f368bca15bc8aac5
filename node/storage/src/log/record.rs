//! What the log is made of.

use bytes::Bytes;
use quorate_model::{GroupId, LogIndex, NodeId, Position, Term};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    pub group: GroupId,
    pub body: Body,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// Follows the group's last entry: the index is one more.
    Entry {
        position: Position,
        kind: EntryKind,
        payload: Bytes,
    },
    /// The group's entries from `from` on no longer count.
    Cut {
        from: LogIndex,
    },
    HardState {
        term: Term,
        vote: Option<NodeId>,
    },
    /// The group's log starts after `position`; `payload` (opaque: the configuration there) goes with it. Entries at or
    /// below it no longer count; entries above it go on only if the log holds an entry at exactly `position`, else
    /// they no longer count either.
    Start {
        position: Position,
        payload: Bytes,
    },
    /// The group is gone from this node, with everything it had here.
    Forget,
}

/// Kept beside the payload, opaque to the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryKind(pub u8);
