//! Which checker must find which bug that is planted on purpose (`quorate_model::planted`), and the search for it.
//!
//! A checker that finds nothing proves nothing; each bug here was put in place to be found, by seeds that are clean without it.

use quorate_model::planted::Bug;

use crate::kind::Kind;

/// What is expected of a bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expectation {
    /// One of these checkers says so; `assert` is an assert of the code itself.
    Found(&'static [&'static str]),
    /// Nothing in the code asks for it yet.
    NotPlanted,
}

use Expectation::Found;

type Listed = (Bug, &'static str, Expectation);

/// Every bug of that replication, and what must find it.
#[must_use]
pub const fn bugs(kind: Kind) -> &'static [Listed] {
    match kind {
        Kind::SingleLeader => SINGLE_LEADER,
        Kind::Leaderless => LEADERLESS,
        Kind::MultiLeader => MULTI_LEADER,
    }
}

const MULTI_LEADER: &[Listed] = &[
    (Bug::TakeBeforeTurn, "take-before-turn", Found(&["changes", "assert"])),
    (Bug::TakeBehindLost, "take-behind-lost", Found(&["liveness", "changes"])),
    (Bug::FillBehindLost, "fill-behind-lost", Found(&["liveness", "changes", "standing"])),
    (Bug::ReplaceUnseen, "replace-unseen", Found(&["changes", "standing"])),
    (Bug::AddTwice, "add-twice", Found(&["changes", "standing"])),
    (Bug::HalfAChange, "half-a-change", Found(&["changes", "standing"])),
    (Bug::TakeAhead, "take-ahead", Found(&["changes"])),
    (Bug::DiscardSilently, "discard-silently", Found(&["conflicts"])),
    (Bug::WriteAway, "write-away", Found(&["conflicts", "standing"])),
    (Bug::HomeAsDeclared, "home-as-declared", Found(&["conflicts", "standing"])),
    (Bug::MoveUnfenced, "move-unfenced", Found(&["conflicts", "standing"])),
    (Bug::ReadBehindSession, "read-behind-session", Found(&["remembered"])),
];

const LEADERLESS: &[Listed] = &[
    (Bug::KeepActor, "keep-actor", Found(&["dots", "assert"])),
    (Bug::TellBeforeDisk, "tell-before-disk", Found(&["told_cells"])),
    (
        Bug::CountOwnCellEarly,
        "count-own-cell-early",
        Found(&["versions", "sums", "linearizability"]),
    ),
    (Bug::RepairLater, "repair-later", Found(&["versions", "sums", "linearizability"])),
    (
        Bug::CountFilling,
        "count-filling",
        Found(&["told_cells", "versions", "sums", "linearizability"]),
    ),
    (Bug::HashKeysOnly, "hash-keys-only", Found(&["cell_convergence"])),
    (Bug::CountNewAlone, "count-new-alone", Found(&["versions", "sums", "linearizability"])),
    (Bug::ServeEarlierStep, "serve-earlier-step", Found(&["steps"])),
    (
        Bug::CompareEarlierStep,
        "compare-earlier-step",
        Found(&["steps", "versions", "sums", "linearizability"]),
    ),
    (Bug::StepAtOnce, "step-at-once", Found(&["steps"])),
    (Bug::DropEarly, "drop-early", Found(&["versions", "sums", "linearizability"])),
    (Bug::TakeEarlierRound, "take-earlier-round", Found(&["steps"])),
    (Bug::CheckpointAtSending, "checkpoint-at-sending", Found(&["checkpoints"])),
    (Bug::HalfComparison, "half-comparison", Found(&["checkpoints"])),
    (Bug::WriteWithoutReading, "write-without-reading", Found(&["linearizability"])),
    (Bug::ReadBehindSession, "read-behind-session", Found(&["remembered"])),
    (Bug::SkipKnownMember, "skip-known-member", Found(&["members"])),
    (Bug::CountHints, "count-hints", Found(&["versions", "sums"])),
    (Bug::DropSentHints, "drop-sent-hints", Found(&["hints"])),
    (Bug::HoldForNobody, "hold-for-nobody", Found(&["versions"])),
];

const SINGLE_LEADER: &[Listed] = &[
    (
        Bug::SkipFsync,
        "skip-fsync",
        Found(&["durable_acknowledgements", "durable_votes", "recovery"]),
    ),
    (Bug::AcknowledgeBeforeDisk, "acknowledge-before-disk", Found(&["durable_acknowledgements"])),
    (Bug::CountOwnBeforeDisk, "count-own-before-disk", Found(&["commit_rule"])),
    (Bug::ForgetVote, "forget-vote", Found(&["durable_votes", "election_safety"])),
    (Bug::VoteTwice, "vote-twice", Found(&["durable_votes"])),
    (Bug::VoteForShorterLog, "vote-for-shorter-log", Found(&["leader_completeness"])),
    (Bug::IgnoreStickiness, "ignore-stickiness", Found(&["stickiness"])),
    (Bug::PreVoteRaisesTerm, "pre-vote-raises-term", Found(&["stickiness"])),
    (Bug::LeadWithoutMajority, "lead-without-majority", Found(&["stickiness"])),
    (Bug::DamagedVotes, "damaged-votes", Found(&["damaged_replicas"])),
    (Bug::RepairUnproved, "repair-unproved", Found(&["damaged_replicas"])),
    (Bug::LeadWithoutState, "lead-without-state", Found(&["damaged_replicas"])),
    (Bug::IgnoreHole, "ignore-hole", Found(&["log_matching"])),
    (Bug::CommitEarlierTerm, "commit-earlier-term", Found(&["commit_rule"])),
    (
        Bug::CutBehindAppend,
        "cut-behind-append",
        Found(&["leader_completeness", "recovery", "durable_acknowledgements"]),
    ),
    (Bug::ApplyOutOfOrder, "apply-out-of-order", Found(&["convergence", "linearizability"])),
    (Bug::ApplyUncommitted, "apply-uncommitted", Found(&["state_machine_safety"])),
    (Bug::AcknowledgeBeforeCommit, "acknowledge-before-commit", Found(&["acknowledged_writes"])),
    (Bug::AcknowledgeByIndex, "acknowledge-by-index", Found(&["acknowledged_writes"])),
    (Bug::UnknownIsFailed, "unknown-is-failed", Found(&["linearizability"])),
    (Bug::ReuseReadRound, "reuse-read-round", Found(&["linearizability"])),
    (Bug::ReadWithoutRound, "read-without-round", Found(&["linearizability"])),
    (Bug::ReadAfterLoss, "read-after-loss", Found(&["linearizability"])),
    (Bug::EvaluateEarly, "evaluate-early", Found(&["linearizability"])),
    (Bug::ChangeUnsettled, "change-unsettled", Found(&["membership"])),
    (Bug::KeepCutConfiguration, "keep-cut-configuration", Found(&["assert", "membership"])),
    (Bug::CountLearners, "count-learners", Found(&["commit_rule"])),
    (Bug::TransferEarly, "transfer-early", Found(&["transfer"])),
    (Bug::SnapshotAhead, "snapshot-ahead", Found(&["snapshots"])),
    (Bug::SnapshotSkipsRow, "snapshot-skips-row", Found(&["convergence", "linearizability"])),
    (Bug::OpenDamagedLog, "open-damaged-log", Found(&["recovery", "durable_acknowledgements"])),
    (
        Bug::SkipChecksum,
        "skip-checksum",
        Found(&["divergence", "convergence", "linearizability", "acknowledged_writes"]),
    ),
    (Bug::IgnoreEpoch, "ignore-epoch", Found(&["topology"])),
    (Bug::AnswerTwice, "answer-twice", Found(&["requests"])),
    (
        Bug::AcknowledgeBeforeSet,
        "acknowledge-before-set",
        Found(&["commit_rule", "leader_completeness"]),
    ),
    (Bug::DropInSyncRule, "drop-in-sync-rule", Found(&["leader_completeness", "in_sync_set"])),
    (Bug::SetCountsAtOnce, "set-counts-at-once", Found(&["in_sync_set"])),
    (Bug::ShowBeforeRule, "show-before-rule", Found(&["visibility"])),
    (Bug::ForgetRollback, "forget-rollback", Found(&["acknowledged_writes"])),
    (Bug::ForgetToken, "forget-token", Found(&["linearizability"])),
    (Bug::UnpinnedTime, "unpinned-time", Found(&["divergence"])),
    (Bug::SkipStateHash, "skip-state-hash", Found(&["convergence"])),
    (
        Bug::StaleStream,
        "stale-stream",
        Found(&["divergence", "topology", "convergence", "linearizability"]),
    ),
    (
        Bug::ReadBehindSession,
        "read-behind-session",
        Found(&["read_your_writes", "monotonic_reads", "consistent_prefix", "staleness"]),
    ),
    (Bug::BeatForOthers, "beat-for-others", Found(&["beats"])),
    (Bug::BelieveOldProcess, "believe-old-process", Found(&["beats"])),
    (Bug::CompareCountsOnly, "compare-counts-only", Found(&["beats"])),
    (Bug::BeatWhileStalled, "beat-while-stalled", Found(&["beats"])),
];
