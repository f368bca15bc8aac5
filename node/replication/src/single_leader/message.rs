//! What replicas say to each other. Every message carries its sender's term.

use quorate_model::{LogIndex, Position, Term};
use serde::{Deserialize, Serialize};

use super::{Configuration, Entry};

/// Fields are only ever appended to a variant's end and variants to the enum's end: the encoding is positional.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Message {
    /// "Would you vote for me in `term`?" Changes nobody's state (Raft dissertation, section 9.6).
    PreVote {
        term: Term,
        last: Position,
    },
    PreVoteReply {
        term: Term,
        granted: bool,
    },
    /// `transfer` is set when the old leader asked for this election: stickiness does not apply.
    Vote {
        term: Term,
        last: Position,
        transfer: bool,
    },
    VoteReply {
        term: Term,
        granted: bool,
    },
    Append {
        term: Term,
        /// The entry before the first of `entries`.
        previous: Position,
        entries: Vec<Entry>,
        committed: LogIndex,
        /// Echoed by the answer; a leader counts an answer for its quorum check and its reads by this number, which
        /// is fresh for every round and never reused.
        round: u64,
    },
    AppendReply {
        term: Term,
        round: u64,
        result: AppendResult,
    },
    /// A snapshot is needed and about to be streamed outside this protocol; keeps the follower from electing.
    SnapshotOffer {
        term: Term,
        position: Position,
        configuration: Configuration,
        round: u64,
        /// Set when the stream repairs a damaged log: the token of its `Damaged` answer. A snapshot at `position` or
        /// later makes that log whole.
        repairs: Option<u64>,
    },
    /// "Start an election at once": the leader hands over (Raft dissertation, section 3.10).
    TimeoutNow {
        term: Term,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum AppendResult {
    /// Durable through here, and equal to the sender's log through here.
    Matched(LogIndex),
    /// The log differs at or before `previous`. Continue after `hint`: the last position of this log that can
    /// still agree.
    Mismatch { hint: Position },
    /// The sender's log is damaged: only a snapshot repairs it, and until then it counts for nothing. The token is
    /// drawn anew at every start, so that nothing sent before can be taken for the repair.
    Damaged { token: u64 },
    /// As `Matched`, of a replica whose log is whole and whose state is not: it needs a snapshot for that.
    NeedsState { matched: LogIndex },
}

impl Message {
    /// The sender's term; in a pre-vote and the agreement to one, the term that a vote would be asked in.
    #[must_use]
    pub const fn term(&self) -> Term {
        match self {
            Self::PreVote { term, .. }
            | Self::PreVoteReply { term, .. }
            | Self::Vote { term, .. }
            | Self::VoteReply { term, .. }
            | Self::Append { term, .. }
            | Self::AppendReply { term, .. }
            | Self::SnapshotOffer { term, .. }
            | Self::TimeoutNow { term } => *term,
        }
    }
}
