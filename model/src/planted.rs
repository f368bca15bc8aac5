//! Bugs that are planted on purpose, so that the checks show that they would find them (`cargo xtask planted`).
//!
//! A bug is one line at the place where the real mistake would be made: `if planted::is(Bug::VoteTwice) { ... }`. Without the
//! feature `planted` [`is`] is constantly false and the line compiles to nothing; with it the simulation says for its thread which
//! bug, if any, is in the code. Which checker must catch which bug is said in `sim/src/planted.rs`. No product binary is ever built
//! with the feature.

/// A mistake, and the invariant of `docs/protocol.md` (or the promise of the design) that it breaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Bug {
    /// A log write counts as durable without an fsync (INV-12, INV-45).
    SkipFsync,
    /// A follower acknowledges entries that its disk does not hold yet (INV-12).
    AcknowledgeBeforeDisk,
    /// A leader counts itself for entries that its disk does not hold yet (INV-17).
    CountOwnBeforeDisk,
    /// A vote leaves before it is durable and is not written at all (INV-2).
    ForgetVote,
    /// A second vote in one term (INV-3).
    VoteTwice,
    /// A vote for a candidate whose log ends earlier (INV-5).
    VoteForShorterLog,
    /// A vote although the leader was heard just now (INV-6).
    IgnoreStickiness,
    /// A pre-vote raises the term of whoever is asked (INV-7).
    PreVoteRaisesTerm,
    /// A leader that no majority answers leads on (INV-8).
    LeadWithoutMajority,
    /// A damaged replica votes (INV-10).
    DamagedVotes,
    /// A damaged replica is repaired before a majority without it holds an entry from after the damage (INV-35).
    RepairUnproved,
    /// A leader whose state is wrong goes on evaluating (INV-36).
    LeadWithoutState,
    /// Entries are taken without the one before them (INV-13).
    IgnoreHole,
    /// An entry of an earlier term is committed by counting its copies (INV-16).
    CommitEarlierTerm,
    /// An append that ends before the log does cuts what lies behind it, acknowledged or not (INV-12, INV-18).
    CutBehindAppend,
    /// Two neighbours change places on their way to the state machine (INV-20).
    ApplyOutOfOrder,
    /// A leader applies what no majority holds (INV-21).
    ApplyUncommitted,
    /// A write is acknowledged when it is in the leader's log (INV-22).
    AcknowledgeBeforeCommit,
    /// A write is acknowledged when any entry is applied at its index (INV-22).
    AcknowledgeByIndex,
    /// A write whose leader was deposed is answered as not applied (INV-23).
    UnknownIsFailed,
    /// The number of a read round is used again (INV-24).
    ReuseReadRound,
    /// A leader answers reads without asking anybody (INV-24).
    ReadWithoutRound,
    /// Reads that wait when a leader loses its office are answered (INV-24).
    ReadAfterLoss,
    /// A leader evaluates commands before an entry of its term is applied (INV-25).
    EvaluateEarly,
    /// The configuration changes before an entry of the own term is committed, and before the last change is (INV-26).
    ChangeUnsettled,
    /// A configuration stays in force when its entry is cut (INV-27).
    KeepCutConfiguration,
    /// Learners count for commits (INV-28).
    CountLearners,
    /// A successor is told to stand before it holds everything (INV-31).
    TransferEarly,
    /// A snapshot says that it stands for one entry more than it does (INV-32).
    SnapshotAhead,
    /// A snapshot lacks one row (INV-32).
    SnapshotSkipsRow,
    /// A log with a hole is opened as if it ended there (INV-41).
    OpenDamagedLog,
    /// A checksum that does not match is overlooked (INV-44).
    SkipChecksum,
    /// A topology is replaced whatever epoch its proposer knew (INV-50).
    IgnoreEpoch,
    /// A request is answered twice (INV-54).
    AnswerTwice,
    /// A write is acknowledged before every member of the in-sync set holds it.
    AcknowledgeBeforeSet,
    /// An election needs no member of the in-sync set.
    DropInSyncRule,
    /// A change of the in-sync set counts before a majority holds it; the set that it closes is forgotten.
    SetCountsAtOnce,
    /// A reader sees a write before its acknowledgement rule holds.
    ShowBeforeRule,
    /// Acknowledged writes that a failover loses under `Async` go to no rollback file.
    ForgetRollback,
    /// The idempotency token of a write is not kept with it.
    ForgetToken,
    /// A statement is evaluated with each replica's own clock.
    UnpinnedTime,
    /// Divergence of a replica's state is overlooked.
    SkipStateHash,
    /// Chunks of an earlier snapshot stream are taken for the present one's.
    StaleStream,
    /// A replica answers a session's read before it has reached the session's position.
    ReadBehindSession,
    /// A node's beats name groups that it does not lead any more (INV-80).
    BeatForOthers,
    /// Beats of a process count that may be gone (INV-81).
    BelieveOldProcess,
    /// Two sets of resting groups are taken to be equal when they have as many groups (INV-80).
    CompareCountsOnly,
    /// A leader whose disk stands still goes on leading the groups that rest (INV-83).
    BeatWhileStalled,
    /// Without a leader: a replica that starts goes on as the actor that it was, after the last of its dots that it remembers (INV-90).
    KeepActor,
    /// A replica tells of cells that its disk does not hold yet (INV-91).
    TellBeforeDisk,
    /// A coordinator counts itself before its disk holds the write (INV-95).
    CountOwnCellEarly,
    /// A read that promises not to be gone back behind is answered before those behind are told (INV-96).
    RepairLater,
    /// A replica that is being filled counts for quorums (INV-98).
    CountFilling,
    /// Replicas are compared by the keys that they have, whatever they know of them (INV-97).
    HashKeysOnly,
    /// While a shard moves, a write counts in the new set of replicas alone (INV-99).
    CountNewAlone,
    /// A replica serves coordinators that are a step behind it (INV-99).
    ServeEarlierStep,
    /// A replica is compared with one that is a step behind it (INV-99).
    CompareEarlierStep,
    /// A step counts as taken before enough replicas know of it (INV-99).
    StepAtOnce,
    /// Removed cells are dropped before every replica has agreed (INV-100).
    DropEarly,
    /// Cells of a round that is closed are taken (INV-100).
    TakeEarlierRound,
    /// What is sent to another datacenter counts as held there (INV-101).
    CheckpointAtSending,
    /// A comparison that mends a torn way counts before it is complete (INV-102).
    HalfComparison,
    /// A linearizable write does not read first (INV-105).
    WriteWithoutReading,
    /// The addition of a member that is there already is not written: a removal that has not seen it takes it away (INV-92).
    SkipKnownMember,
    /// A node that stands in for a replica counts at levels of replicas (INV-103).
    CountHints,
    /// A hint is dropped when it is sent to its target (INV-104).
    DropSentHints,
    /// What is written where no replica answers is held for nobody (INV-103).
    HoldForNobody,
    /// A change is applied before what it comes after (INV-108).
    TakeBeforeTurn,
    /// A change that is known is applied again (INV-107).
    TakeAgain,
    /// What comes behind something that was lost is taken all the same (INV-109).
    TakeBehindLost,
    /// A log that was cut is read on as if nothing were missing (INV-109).
    GiveBehindCut,
    /// A write between datacenters replaces what it has not seen (INV-107).
    ReplaceUnseen,
    /// What a datacenter has added is added again with the next addition (INV-107).
    AddTwice,
    /// Of another datacenter's transaction the first write alone is applied (INV-107).
    HalfAChange,
    /// What cells are filled with is applied to them again when it comes as a change (INV-107, INV-109).
    TakeWhatIsFilled,
    /// A part of a snapshot of another datacenter is taken though the one before it was lost (INV-109).
    FillBehindLost,
    /// A change whose time is ahead of the taker's clock is taken (INV-111).
    TakeAhead,
    /// Of concurrent values that do not stand nothing is told (INV-107).
    DiscardSilently,
    /// A key is written where its home is not (INV-112).
    WriteAway,
    /// A home is where it is declared, before who has it hands it over (INV-112).
    HomeAsDeclared,
    /// A home is moved by whoever is asked (INV-112).
    MoveUnfenced,
}

#[cfg(feature = "planted")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether `bug` is planted in this thread.
#[cfg(feature = "planted")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether `bug` is planted: never, without the feature.
#[cfg(not(feature = "planted"))]
#[must_use]
#[inline(always)]
pub const fn is(_bug: Bug) -> bool {
    false
}

/// Plants a bug in this thread in place of the one before.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}
