//! What a client's session has written and seen, and what a replica must hold to answer its next read.
//!
//! Pure: the node keeps one [`Knowledge`] per connection, the simulation one per simulated session. No clocks of
//! different machines are compared anywhere: positions are positions in logs, times are this process's own.
//!
//! Where a position cannot say what is needed, a *confirmation* does: a leader's answer to `Request::ReadIndex` that was
//! asked for at a certain time or later. The state at its index holds everything that was acknowledged before that time
//! (INV-24). Keeps INV-70 (own writes), INV-71 (never back), INV-72 (no effect without its cause) and INV-73 (age).

mod vectors;

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_model::planted::{self, Bug};
use quorate_model::{
    LogIndex, Position, ReadPreference, ReadYourWrites, SessionPolicy, ShardId, Time,
};
use serde::{Deserialize, Serialize};

use crate::host::Floor;
use crate::keyspace;

pub use vectors::Vectors;

/// What one session knows. Bounded: at most one entry per shard.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Knowledge {
    shards: BTreeMap<ShardId, Known>,
    /// When the session's newest write was answered.
    wrote_at: Option<Time>,
    /// When something of a shard's state was learnt last, and when of another shard than that one.
    news: [Option<(Time, ShardId)>; 2],
    /// When something was learnt last that is kept for no shard: from elsewhere, or from leaders.
    unnamed_at: Option<Time>,
}

/// What a session knows of one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Known {
    /// The newest write that no read has confirmed to be there.
    written: Position,
    /// The newest write that a read has confirmed: it is in a committed state and can be lost no more.
    kept: LogIndex,
    /// The newest state that a replica answered from, or that a write told of.
    seen: LogIndex,
    /// When a leader answered from a state whose index is not told.
    led_at: Option<Time>,
}

/// Where a read may be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// At the leader, linearizable.
    Leader(Because),
    /// At any replica that satisfies this.
    Replica(Needs),
}

/// Why a read goes to the leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Because {
    Asked,
    OwnKey,
    WroteLately,
}

/// What a replica must hold, beside a confirmation that was asked for at `after` or later, where one is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Needs {
    /// `confirmed` is for whoever has the confirmation to fill in.
    pub floor: Floor,
    pub after: Option<Time>,
}

/// A session's knowledge in a form that another process can go on with.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Exported {
    pub shards: BTreeMap<ShardId, Told>,
    /// There is knowledge that no position expresses.
    pub more: bool,
    /// How long ago the newest write was.
    pub wrote_ago: Option<Duration>,
}

/// What a session tells of one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Told {
    /// The newest write that no read has confirmed.
    pub written: Position,
    /// The newest write that one has.
    pub kept: LogIndex,
    pub seen: LogIndex,
}

impl Knowledge {
    /// A write was acknowledged. `None` when it changed nothing: the leader answered from what it had.
    pub fn wrote(&mut self, shard: ShardId, position: Option<Position>, now: Time) {
        self.wrote_at = Some(now);
        match position {
            Some(position) => {
                let known = self.shards.entry(shard).or_default();
                known.written = known.written.max(position);
            }
            None => self.read_at_leader(shard, now),
        }
    }

    /// The answer of the write at this position told something of the shard's state.
    pub fn told(&mut self, shard: ShardId, position: Position, now: Time) {
        let known = self.shards.entry(shard).or_default();
        known.seen = known.seen.max(position.index);
        self.learnt(shard, now);
    }

    fn learnt(&mut self, shard: ShardId, now: Time) {
        match &mut self.news {
            [Some((at, of)), _] if *of == shard => *at = now,
            [first, second] => *second = first.replace((now, shard)),
        }
    }

    /// A linearizable read was answered.
    pub fn read_at_leader(&mut self, shard: ShardId, now: Time) {
        self.shards.entry(shard).or_default().led_at = Some(now);
        self.learnt(shard, now);
    }

    /// A linearizable read was answered to a session that reads at leaders: of which shard is not kept.
    pub const fn read_at_leaders(&mut self, now: Time) {
        self.unnamed_at = Some(now);
    }

    /// A replica answered a read for which `floor` was asked, from the state at this position.
    pub fn read_at_replica(
        &mut self,
        shard: ShardId,
        floor: &Floor,
        position: Position,
        now: Time,
    ) {
        // INV-70, INV-71: whatever answered, it must have held what was asked for.
        let reached = position.index >= floor.index() || planted::is(Bug::ReadBehindSession);
        assert!(reached, "{shard} answers from {position:?} below {floor:?}");
        let known = self.shards.entry(shard).or_default();
        if known.written == floor.written {
            known.kept = known.kept.max(known.written.index);
            known.written = Position::ZERO;
        }
        if position.index > known.seen {
            known.seen = position.index;
            self.learnt(shard, now);
        }
    }

    /// Of several leaders: the state at this index has all that the session brought from another datacenter.
    pub fn arrived(&mut self, shard: ShardId, index: LogIndex) {
        let known = self.shards.entry(shard).or_default();
        known.kept = known.kept.max(index);
        known.seen = known.seen.max(index);
    }

    /// Of several leaders: the shards of which another datacenter must have what this one has, to keep what this policy promises.
    #[must_use]
    pub fn carried(&self, policy: &SessionPolicy, shards: u16) -> Vec<ShardId> {
        let writes = policy.read_your_writes != ReadYourWrites::Off;
        if *self == Self::default() || !(writes || policy.monotonic || policy.consistent_prefix) {
            return Vec::new();
        }
        // INV-72: whatever was seen may come after something of any other shard.
        if policy.consistent_prefix || self.unnamed_at.is_some() {
            return (0..shards).map(ShardId).collect();
        }
        self.shards.keys().copied().collect()
    }

    /// The session was told that its write is lost, and goes on without it.
    pub fn lost(&mut self, shard: ShardId, position: Position) {
        if let Some(known) = self.shards.get_mut(&shard)
            && known.written == position
        {
            known.written = Position::ZERO;
        }
    }

    /// Where a read of these keys may be answered under this policy.
    #[must_use]
    pub fn source<'a>(
        &self,
        shard: ShardId,
        keys: impl IntoIterator<Item = &'a [u8]>,
        policy: &SessionPolicy,
        now: Time,
    ) -> Source {
        if policy.reads == ReadPreference::Leader {
            return Source::Leader(Because::Asked);
        }
        let known = self.shards.get(&shard).copied().unwrap_or_default();
        let mut needs = Needs::default();
        match &policy.read_your_writes {
            ReadYourWrites::Off => {}
            ReadYourWrites::Owner { patterns } => {
                let owned = |key: &[u8]| {
                    patterns.iter().any(|pattern| keyspace::matches(pattern.as_bytes(), key))
                };
                if keys.into_iter().any(owned) {
                    return Source::Leader(Because::OwnKey);
                }
            }
            ReadYourWrites::Window { ms } => {
                let window = Duration::from_millis(*ms);
                if self.wrote_at.is_some_and(|at| now.since(at) < window) {
                    return Source::Leader(Because::WroteLately);
                }
            }
            ReadYourWrites::Position => {
                needs.floor.written = known.written;
                needs.floor.seen = known.kept;
                needs.after = self.unnamed_at;
            }
        }
        // Within a shard both are the same: whoever does not go back loses no cause of what it saw.
        if policy.monotonic || policy.consistent_prefix {
            needs.floor.seen = needs.floor.seen.max(known.seen);
            needs.after = needs.after.max(known.led_at).max(self.unnamed_at);
        }
        if policy.consistent_prefix {
            needs.after = needs.after.max(self.news_beside(shard)).max(self.unnamed_at);
        }
        if let Some(ms) = policy.staleness_ms_max {
            let oldest = Duration::from_millis(ms).as_nanos();
            let oldest = now.0.saturating_sub(u64::try_from(oldest).unwrap_or(u64::MAX));
            needs.after = needs.after.max(Some(Time(oldest)));
        }
        Source::Replica(needs)
    }

    /// Nothing is known any more.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// The newest unconfirmed writes.
    pub fn written(&self) -> impl Iterator<Item = (ShardId, Position)> + '_ {
        self.shards
            .iter()
            .filter(|(_, known)| known.written != Position::ZERO)
            .map(|(shard, known)| (*shard, known.written))
    }

    #[must_use]
    pub fn export(&self, now: Time) -> Exported {
        let told = self.shards.iter().map(|(shard, known)| {
            let Known { written, kept, seen, led_at: _ } = *known;
            (*shard, Told { written, kept, seen })
        });
        Exported {
            shards: told.filter(|(_, told)| *told != Told::default()).collect(),
            more: self.unnamed_at.is_some() || self.news[0].is_some(),
            wrote_ago: self.wrote_at.map(|at| now.since(at)),
        }
    }

    /// Adds what another connection knew.
    pub fn import(&mut self, exported: &Exported, now: Time) {
        for (shard, Told { written, kept, seen }) in &exported.shards {
            let known = self.shards.entry(*shard).or_default();
            known.written = known.written.max(*written);
            known.kept = known.kept.max(*kept);
            known.seen = known.seen.max(*seen);
        }
        if exported.more {
            self.unnamed_at = Some(now);
        }
        if let Some(ago) = exported.wrote_ago {
            // How long the token was under way is not known: the window is rather too long than too short.
            let ago = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
            self.wrote_at = self.wrote_at.max(Some(Time(now.0.saturating_sub(ago))));
        }
    }

    /// When something was learnt last of any other shard.
    fn news_beside(&self, shard: ShardId) -> Option<Time> {
        self.news.iter().flatten().filter(|(_, of)| *of != shard).map(|(at, _)| *at).max()
    }
}

#[cfg(test)]
mod tests {
    use quorate_model::Term;

    use super::*;

    const A: ShardId = ShardId(0);
    const B: ShardId = ShardId(1);
    const C: ShardId = ShardId(2);
    const KEY: [&[u8]; 1] = [b"user:7:name"];

    fn at(term: u64, index: u64) -> Position {
        Position { term: Term(term), index: LogIndex(index) }
    }

    fn policy() -> SessionPolicy {
        SessionPolicy { reads: ReadPreference::Replica, ..SessionPolicy::default() }
    }

    fn needs(knowledge: &Knowledge, shard: ShardId, policy: &SessionPolicy, now: u64) -> Needs {
        match knowledge.source(shard, KEY, policy, Time(now)) {
            Source::Replica(needs) => needs,
            Source::Leader(because) => panic!("at the leader: {because:?}"),
        }
    }

    #[test]
    fn a_session_that_knows_nothing_needs_nothing() {
        assert_eq!(needs(&Knowledge::default(), A, &policy(), 5), Needs::default());
    }

    #[test]
    fn a_write_is_waited_for_until_a_replica_has_shown_it() {
        let mut session = Knowledge::default();
        session.wrote(A, Some(at(1, 7)), Time(1));
        let first = needs(&session, A, &policy(), 2);
        assert_eq!(first.floor.written, at(1, 7));
        assert_eq!(needs(&session, B, &policy(), 2), Needs::default());
        session.read_at_replica(A, &first.floor, at(1, 9), Time(3));
        let floor = Floor { seen: LogIndex(9), ..Floor::default() };
        assert_eq!(needs(&session, A, &policy(), 4), Needs { floor, after: None });
    }

    #[test]
    fn a_write_that_one_replica_has_shown_is_needed_at_the_others_too() {
        let policy = SessionPolicy { monotonic: false, consistent_prefix: false, ..policy() };
        let mut session = Knowledge::default();
        session.wrote(A, Some(at(1, 7)), Time(1));
        let first = needs(&session, A, &policy, 2);
        session.read_at_replica(A, &first.floor, at(1, 9), Time(3));
        assert_eq!(needs(&session, A, &policy, 4).floor.index(), LogIndex(7));
        let mut other = Knowledge::default();
        other.import(&session.export(Time(5)), Time(6));
        assert_eq!(needs(&other, A, &policy, 7).floor.index(), LogIndex(7));
    }

    #[test]
    fn what_is_taken_to_another_datacenter_is_what_the_policy_promises() {
        let own = SessionPolicy { monotonic: false, consistent_prefix: false, ..policy() };
        let mut session = Knowledge::default();
        assert_eq!(session.carried(&policy(), 3), []);
        session.wrote(B, Some(at(1, 7)), Time(1));
        assert_eq!(session.carried(&own, 3), [B]);
        assert_eq!(session.carried(&policy(), 3), [A, B, C], "another shard has what came before");
        let nothing = SessionPolicy { read_your_writes: ReadYourWrites::Off, ..own.clone() };
        assert_eq!(session.carried(&nothing, 3), []);
        session.read_at_leaders(Time(2));
        assert_eq!(session.carried(&own, 3), [A, B, C], "nobody knows which one was read");
    }

    #[test]
    fn what_has_arrived_is_needed_at_replicas_too() {
        let mut session = Knowledge::default();
        session.arrived(A, LogIndex(7));
        let other = SessionPolicy { monotonic: false, consistent_prefix: false, ..policy() };
        for policy in [policy(), other] {
            assert_eq!(needs(&session, A, &policy, 2).floor.index(), LogIndex(7));
        }
    }

    #[test]
    fn without_read_your_writes_a_write_is_not_waited_for() {
        let mut session = Knowledge::default();
        session.wrote(A, Some(at(1, 7)), Time(1));
        let policy = SessionPolicy { read_your_writes: ReadYourWrites::Off, ..policy() };
        assert_eq!(needs(&session, A, &policy, 2), Needs::default());
    }

    #[test]
    fn own_keys_are_read_at_the_leader() {
        let patterns = vec!["user:7:*".to_owned()];
        let policy =
            SessionPolicy { read_your_writes: ReadYourWrites::Owner { patterns }, ..policy() };
        let session = Knowledge::default();
        assert_eq!(session.source(A, KEY, &policy, Time(1)), Source::Leader(Because::OwnKey));
        let other: [&[u8]; 1] = [b"user:8:name"];
        assert_eq!(session.source(A, other, &policy, Time(1)), Source::Replica(Needs::default()));
    }

    #[test]
    fn within_the_window_after_a_write_reads_go_to_the_leader() {
        let window = ReadYourWrites::Window { ms: 1 };
        let policy = SessionPolicy { read_your_writes: window, ..policy() };
        let mut session = Knowledge::default();
        session.wrote(A, Some(at(1, 7)), Time(10));
        let lately = Source::Leader(Because::WroteLately);
        assert_eq!(session.source(B, KEY, &policy, Time(1_000_009)), lately);
        assert_eq!(needs(&session, B, &policy, 1_000_010), Needs::default());
    }

    #[test]
    fn what_the_leader_answered_is_confirmed_before_a_replica_answers() {
        let mut session = Knowledge::default();
        session.read_at_leader(A, Time(5));
        assert_eq!(needs(&session, A, &policy(), 6).after, Some(Time(5)));
        let policy = SessionPolicy { monotonic: false, consistent_prefix: false, ..policy() };
        assert_eq!(needs(&session, A, &policy, 6).after, None);
    }

    #[test]
    fn news_of_one_shard_asks_for_a_confirmation_of_the_others() {
        let mut session = Knowledge::default();
        session.read_at_replica(B, &Floor::default(), at(1, 4), Time(5));
        assert_eq!(needs(&session, B, &policy(), 6).after, None);
        assert_eq!(needs(&session, A, &policy(), 6).after, Some(Time(5)));
        // The same state again is no news.
        session.read_at_replica(B, &Floor::default(), at(1, 4), Time(7));
        assert_eq!(needs(&session, A, &policy(), 8).after, Some(Time(5)));
        session.read_at_replica(A, &Floor::default(), at(1, 4), Time(9));
        assert_eq!(needs(&session, B, &policy(), 10).after, Some(Time(9)));
        assert_eq!(needs(&session, A, &policy(), 10).after, Some(Time(5)));
        assert_eq!(needs(&session, C, &policy(), 10).after, Some(Time(9)));
        let policy = SessionPolicy { consistent_prefix: false, ..policy() };
        assert_eq!(needs(&session, C, &policy, 10).after, None);
    }

    #[test]
    fn a_consistent_prefix_does_not_go_back_within_a_shard_either() {
        let policy = SessionPolicy { monotonic: false, ..policy() };
        let mut session = Knowledge::default();
        session.read_at_replica(A, &Floor::default(), at(1, 4), Time(5));
        assert_eq!(needs(&session, A, &policy, 6).floor.seen, LogIndex(4));
        session.wrote(A, Some(at(1, 9)), Time(7));
        session.told(A, at(1, 9), Time(7));
        let policy = SessionPolicy { read_your_writes: ReadYourWrites::Off, ..policy };
        assert_eq!(needs(&session, A, &policy, 8).floor.seen, LogIndex(9));
        assert_eq!(needs(&session, B, &policy, 8).after, Some(Time(7)));
    }

    #[test]
    fn staleness_asks_for_a_confirmation_that_is_young_enough() {
        let policy = SessionPolicy { staleness_ms_max: Some(1), ..policy() };
        let after = needs(&Knowledge::default(), A, &policy, 3_000_000).after;
        assert_eq!(after, Some(Time(2_000_000)));
    }

    #[test]
    fn knowledge_survives_its_export() {
        let mut session = Knowledge::default();
        session.wrote(A, Some(at(1, 7)), Time(5));
        session.read_at_replica(B, &Floor::default(), at(2, 4), Time(6));
        let exported = session.export(Time(8));
        let mut other = Knowledge::default();
        other.import(&exported, Time(100));
        assert_eq!(needs(&other, A, &policy(), 101).floor.written, at(1, 7));
        assert_eq!(needs(&other, B, &policy(), 101).floor.seen, LogIndex(4));
        assert_eq!(needs(&other, C, &policy(), 101).after, Some(Time(100)));
    }

    #[test]
    fn a_lost_write_is_not_asked_for_again() {
        let mut session = Knowledge::default();
        session.wrote(A, Some(at(1, 7)), Time(5));
        session.lost(A, at(1, 7));
        assert_eq!(session.written().count(), 0);
        assert_eq!(needs(&session, A, &policy(), 6).floor, Floor::default());
    }
}
