//! What a replica has whatever its role: hard state, log, configurations, who leads, and the effects of one step.
//!
//! The effects of a step are gathered and leave together: at most one persist, before every message that waits for
//! it. Keeps INV-4 (terms rise and are durable before they are told), INV-12, INV-18, INV-20 and INV-21. It takes no
//! decision of the protocol.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use quorate_model::planted::{self, Bug};
use quorate_model::{InSyncPolicy, LogIndex, NodeId, Position, Term, Time, majority};

use super::configurations::Configurations;
use super::durability::{Durability, later};
use super::log::Log;
use super::succession::Reign;
use super::{
    Configuration, Entry, HardState, Message, Output, Payload, PersistId, Restored, Settings, When,
};
use crate::random::Random;

#[derive(Clone, Debug)]
pub(super) struct Kernel {
    pub(super) id: NodeId,
    pub(super) settings: Settings,
    pub(super) random: Random,
    pub(super) now: Time,
    pub(super) log: Log,
    pub(super) durability: Durability,
    pub(super) configurations: Configurations,
    pub(super) damage: Option<Damage>,
    /// What the log led to is wrong at the caller's, or cannot be read: INV-36.
    pub(super) needs_state: bool,
    pub(super) target: Option<Target>,
    /// Whom this replica believes to lead its term.
    pub(super) leader: Option<NodeId>,
    /// When the leader was last heard.
    pub(super) heard: Option<Time>,
    /// A candidate whose log ends before this one asked for this replica's agreement, and no leader was heard since. Somewhere it
    /// is a voter, then, and nobody wins there with less than it holds.
    pub(super) needed: bool,
    pub(super) reign: Reign,
    /// The newest term that this replica led. After a restart: that it voted for itself in, if that is its newest.
    led_term: Term,
    /// The newest round of any leadership of this process.
    pub(super) round: u64,
    hard_state: HardState,
    /// The persist under way that holds the newest hard state.
    hard_state_persist: Option<PersistId>,
    committed: LogIndex,
    /// Handed out to be applied through here.
    applying: LogIndex,
    applied: LogIndex,
    /// What this step has changed and not yet issued.
    unsaved: Unsaved,
    outputs: VecDeque<Output>,
}

/// The log has a hole or a bad record.
#[derive(Clone, Debug)]
pub(super) struct Damage {
    /// Names this damage at the leader.
    pub(super) token: u64,
    /// A snapshot from here on holds everything that this replica may have counted for: its leader said so.
    pub(super) whole_from: Option<LogIndex>,
}

/// The membership that the group should have.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) voters: BTreeSet<NodeId>,
    pub(super) learners: BTreeSet<NodeId>,
    pub(super) preferred_leader: Option<NodeId>,
    pub(super) durability: quorate_model::Durability,
    pub(super) in_sync: InSyncPolicy,
}

#[derive(Clone, Debug, Default)]
struct Unsaved {
    hard_state: bool,
    truncate_from: Option<LogIndex>,
    entries: Vec<Entry>,
    /// What the cut takes away although it may have been acknowledged.
    rolled_back: Vec<Entry>,
}

impl Unsaved {
    const fn is_empty(&self) -> bool {
        !self.hard_state && self.truncate_from.is_none() && self.entries.is_empty()
    }
}

impl Kernel {
    pub(super) fn new(
        id: NodeId,
        settings: Settings,
        seed: u64,
        restored: Restored,
        now: Time,
    ) -> Self {
        let Restored { mut hard_state, base, base_configuration, entries, applied, damaged } =
            restored;
        assert!(damaged || applied >= base.index, "applied {applied} is before {base:?}");
        let mut log = Log::new(base, applied, settings.cache_bytes_max);
        let mut configurations = Configurations::new(base.index, base_configuration);
        // INV-10: what a damaged log holds is not relied on; a snapshot takes its place.
        for entry in entries.into_iter().take_while(|_| !damaged) {
            configurations.append(&entry);
            log.append(entry);
        }
        let mut random = Random::new(seed);
        let damage = damaged.then(|| Damage { token: random.next(), whole_from: None });
        let last = log.last();
        // INV-42: the state never holds what the log does not.
        assert!(damaged || applied <= last.index, "applied {applied}, log through {last:?}");
        // A snapshot can be durable before the term in which it was taken; no vote was told in that term then.
        let behind = base.term > hard_state.term;
        if behind {
            hard_state = HardState { term: base.term, vote: None };
        }
        // INV-4: no entry is older than the term in which it was stored.
        assert!(damaged || last.term <= hard_state.term, "{last:?} against {hard_state:?}");
        let led_term = if hard_state.vote == Some(id) { hard_state.term } else { Term::ZERO };
        Self {
            id,
            random,
            now,
            log,
            durability: Durability::new(last.index),
            configurations,
            damage,
            needs_state: false,
            target: None,
            leader: None,
            heard: None,
            needed: false,
            reign: Reign::default(),
            led_term,
            round: 0,
            hard_state,
            hard_state_persist: None,
            committed: applied,
            applying: applied,
            applied,
            unsaved: Unsaved { hard_state: behind, ..Unsaved::default() },
            outputs: VecDeque::new(),
            settings,
        }
    }

    // The hard state.

    /// Enters a later term, in which this replica has not voted.
    pub(super) fn enter_term(&mut self, term: Term) {
        // INV-4: terms only rise.
        assert!(term > self.hard_state.term, "{term:?} after {:?}", self.hard_state);
        self.hard_state = HardState { term, vote: None };
        self.unsaved.hard_state = true;
        self.lose_leader();
    }

    /// Follows `leader` of this term, or is it.
    pub(super) fn follow(&mut self, leader: NodeId) {
        self.leader = Some(leader);
        self.needed = false;
        if leader == self.id {
            self.led_term = self.hard_state.term;
        }
        self.reign.begin(leader, self.hard_state.term);
    }

    /// Gives up whomever it took for its leader, and answers who that was.
    pub(super) fn lose_leader(&mut self) -> Option<NodeId> {
        let lost = self.leader.take();
        self.heard = None;
        if lost.is_some() {
            self.reign.end(self.now);
        }
        lost
    }

    pub(super) fn vote_for(&mut self, candidate: NodeId) {
        // INV-10, INV-3: a damaged replica does not vote, the others once in a term.
        assert!(self.damage.is_none());
        assert!(self.hard_state.vote.is_none_or(|vote| vote == candidate));
        if self.hard_state.vote.is_none() {
            self.hard_state.vote = Some(candidate);
            self.unsaved.hard_state = true;
        }
    }

    pub(super) const fn term(&self) -> Term {
        self.hard_state.term
    }

    pub(super) const fn vote(&self) -> Option<NodeId> {
        self.hard_state.vote
    }

    /// When the present term and vote are durable.
    pub(super) fn when_hard_state(&self) -> When {
        if self.unsaved.hard_state {
            return When::Persisted(self.durability.upcoming());
        }
        self.hard_state_persist.map_or(When::Now, When::Persisted)
    }

    /// When the present term and vote and the log through `index` are durable.
    pub(super) fn when_durable(&self, index: LogIndex) -> When {
        later(self.when_hard_state(), self.durability.when_durable(index))
    }

    /// The state above the log is wrong. What was handed out and is not applied never will be: it is handed out again, to the
    /// state that takes this one's place.
    pub(super) fn lose_state(&mut self) {
        self.needs_state = true;
        self.applying = self.applied;
    }

    /// Takes no more entries before it has a state that they can be applied to: all of them are in memory.
    pub(super) fn is_full(&self) -> bool {
        self.needs_state && self.log.unapplied_bytes() >= self.settings.uncommitted_bytes_max
    }

    // The log.

    pub(super) fn append(&mut self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            // INV-4: nothing of a later term comes into the log before the term itself.
            assert!(entry.term() <= self.hard_state.term);
            self.configurations.append(&entry);
            self.log.append(entry.clone());
            self.unsaved.entries.push(entry);
        }
    }

    /// Cuts the log from `from` on.
    pub(super) fn cut(&mut self, from: LogIndex) {
        // INV-18: a committed entry stays.
        assert!(from > self.committed, "cannot cut {from}: committed through {}", self.committed);
        assert!(self.unsaved.entries.is_empty() && self.unsaved.truncate_from.is_none());
        self.unsaved.rolled_back = self.at_risk(from);
        self.log.cut(from);
        self.durability.cut(from);
        if !planted::is(Bug::KeepCutConfiguration) {
            self.configurations.cut(from);
        }
        self.unsaved.truncate_from = Some(from);
    }

    /// Commands from `from` on that their leader may have acknowledged from its own disk alone. None is applied yet, so all are
    /// in memory.
    pub(super) fn at_risk(&self, from: LogIndex) -> Vec<Entry> {
        // INV-66: what is committed is not at risk.
        assert!(from > self.committed);
        let entries = self.log.cached(from, self.log.last().index);
        let alone = |entry: &&Entry| {
            matches!(entry.payload, Payload::Command(_))
                && self.configurations.passes_alone(entry.index(), self.committed)
        };
        entries.filter(alone).cloned().collect()
    }

    /// Whether this replica, as far as it remembers, led the term of the last of these entries.
    pub(super) fn led(&self, entries: &[Entry]) -> bool {
        entries.last().is_some_and(|entry| entry.term() == self.led_term)
    }

    pub(super) fn persisted(&mut self, id: PersistId) {
        self.durability.complete(id);
        if self.hard_state_persist.is_some_and(|pending| pending <= id) {
            self.hard_state_persist = None;
        }
        assert!(self.durability.durable() <= self.log.last().index);
    }

    /// Everything through `index` is committed.
    pub(super) fn commit(&mut self, index: LogIndex) {
        // INV-18, INV-16: what is committed is in the log, and stays committed.
        assert!(index <= self.log.last().index, "{index} is not in the log");
        assert!(index >= self.committed);
        self.committed = index;
    }

    pub(super) fn applied_through(&mut self, index: LogIndex) {
        // INV-20: only what was handed out is applied.
        assert!(index <= self.applying, "{index} was not handed out");
        if index > self.applied {
            self.applied = index;
            self.log.applied(index);
        }
    }

    /// The log was cut at its begin; a snapshot at `base` stands for what is gone.
    pub(super) fn compact(&mut self, base: Position, configuration: &Configuration) {
        if base.index <= self.log.base().index {
            return;
        }
        // INV-43: what is not applied is still needed.
        assert!(base.index <= self.applied, "{base:?}: applied through {}", self.applied);
        // INV-32: the snapshot's configuration is the one at its position.
        assert_eq!(configuration, self.configurations.at(base.index));
        self.log.compact(base);
        self.configurations.compact(base.index);
    }

    /// A snapshot has taken the state's place, durably, and the log's as far as the log does not go on from it.
    pub(super) fn install(&mut self, base: Position, configuration: Configuration) {
        // INV-4: nothing of a later term comes into the log before the term itself.
        assert!(base.term <= self.hard_state.term);
        self.needs_state = false;
        if let Some(damage) = &self.damage {
            // INV-34: only a snapshot that the leader chose for this repair makes whole.
            if damage.whole_from.is_some_and(|least| base.index >= least) {
                self.damage = None;
            }
            // Of the damaged log nothing goes on. Its disk may hold more than is known here.
            self.replace_log(base, configuration);
            self.unsaved.truncate_from = Some(base.index.next());
            // INV-3: what it voted in this term may be lost with the damage, so it votes for nobody else in it.
            if self.hard_state.vote.is_none() {
                self.hard_state.vote = Some(self.id);
                self.unsaved.hard_state = true;
            }
            return;
        }
        // INV-33: a snapshot never takes the state back.
        assert!(base.index >= self.applied, "{base:?}: applied through {}", self.applied);
        if self.log.contains(base) {
            self.applying = self.applying.max(base.index);
            self.committed = self.committed.max(base.index);
            self.applied_through(base.index);
            self.durability.raise(base.index);
            self.compact(base, &configuration);
        } else {
            assert!(base.index > self.committed);
            self.replace_log(base, configuration);
        }
    }

    fn replace_log(&mut self, base: Position, configuration: Configuration) {
        self.log.reset(base);
        self.durability.reset(base.index);
        self.configurations = Configurations::new(base.index, configuration);
        self.committed = base.index;
        self.applying = base.index;
        self.applied = base.index;
    }

    pub(super) const fn committed(&self) -> LogIndex {
        self.committed
    }

    pub(super) const fn applied(&self) -> LogIndex {
        self.applied
    }

    // The membership.

    pub(super) fn configuration(&self) -> &Configuration {
        self.configurations.current()
    }

    pub(super) fn is_voter(&self) -> bool {
        self.configuration().voters.contains(&self.id)
    }

    /// May stand for election: a voter, or one whose removal is not known to be committed and who may therefore be the
    /// only one that can still commit it (Raft dissertation, section 4.2.2), or one that is needed.
    pub(super) fn may_campaign(&self) -> bool {
        let at_committed = self.configurations.at(self.committed.max(self.log.base().index));
        let being_removed = at_committed.voters.contains(&self.id);
        let needed = self.needed && !self.configuration().voters.is_empty();
        // INV-10, INV-30.
        self.damage.is_none() && (self.is_voter() || being_removed || needed)
    }

    /// Whether these votes, or agreements to a pre-vote, make a leader: a majority of the voters of the newest
    /// configuration (INV-28), and a member of its in-sync set among them (INV-62). Who holds all that was acknowledged is
    /// in that set; a majority alone may hold less.
    pub(super) fn elects(&self, granted: impl Fn(NodeId) -> bool) -> bool {
        let Configuration { voters, rule, .. } = self.configuration();
        let votes = voters.iter().filter(|voter| granted(**voter)).count();
        votes >= majority(voters.len())
            && (rule.in_sync().is_none_or(|set| set.iter().any(|member| granted(*member)))
                || planted::is(Bug::DropInSyncRule))
    }

    /// Every member but this replica.
    pub(super) fn peers(&self) -> Vec<NodeId> {
        self.configuration().members().filter(|node| *node != self.id).collect()
    }

    /// Heard its leader lately: votes for nobody else (INV-6).
    pub(super) fn is_sticky(&self) -> bool {
        let within = self.settings.election_timeout;
        !planted::is(Bug::IgnoreStickiness)
            && self.leader.is_some()
            && self.heard.is_some_and(|heard| self.now.since(heard) < within)
    }

    /// How much longer this replica waits, for the sake of the preferred leader. Nobody waits for `lost`, the leader
    /// that is being replaced.
    pub(super) fn preference_delay(&self, lost: Option<NodeId>) -> Duration {
        // INV-36: whoever has a state would have to be handed over to.
        if self.needs_state {
            return self.settings.preference_delay;
        }
        let preferred = self.target.as_ref().and_then(|target| target.preferred_leader);
        match preferred {
            Some(node)
                if node != self.id
                    && preferred != lost
                    && self.configuration().voters.contains(&node) =>
            {
                self.settings.preference_delay
            }
            Some(_) | None => Duration::ZERO,
        }
    }

    // The effects.

    pub(super) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn send(&mut self, to: NodeId, message: Message, when: When) {
        assert!(to != self.id, "a replica does not write to itself");
        self.outputs.push_back(Output::Send { to, message, when });
    }

    pub(super) fn pop_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn has_outputs(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// Ends a step: what it changed is issued as one persist, ahead of the messages that wait for it, and what has
    /// become both committed and durable is handed out to be applied.
    pub(super) fn finish_step(&mut self) {
        if !self.unsaved.is_empty() {
            let unsaved = std::mem::take(&mut self.unsaved);
            let id = self.durability.issue(self.log.last().index);
            if unsaved.hard_state {
                self.hard_state_persist = Some(id);
            }
            let HardState { term, vote } = self.hard_state;
            let written = HardState { term, vote: vote.filter(|_| !planted::is(Bug::ForgetVote)) };
            self.outputs.push_front(Output::Persist {
                id,
                hard_state: unsaved.hard_state.then_some(written),
                truncate_from: unsaved.truncate_from,
                entries: unsaved.entries,
            });
            if !unsaved.rolled_back.is_empty() {
                // INV-66: ahead of the persist.
                let led = self.led(&unsaved.rolled_back);
                let entries = unsaved.rolled_back;
                self.outputs.push_front(Output::RolledBack { entries, led });
            }
        }
        // INV-21: never ahead of what is committed, nor of what is on this disk.
        let through = self.committed.min(self.durability.durable());
        let unheld = self.leader == Some(self.id) && planted::is(Bug::ApplyUncommitted);
        let through = if unheld { self.durability.durable() } else { through };
        let may_apply = self.damage.is_none() && !self.needs_state;
        if through > self.applying && may_apply {
            let mut entries: Vec<Entry> =
                self.log.cached(self.applying.next(), through).cloned().collect();
            // INV-20: in order, without a gap, each once.
            assert_eq!(entries.first().map(Entry::index), Some(self.applying.next()));
            assert_eq!(entries.last().map(Entry::index), Some(through));
            if let [first, second, ..] = &mut entries[..]
                && planted::is(Bug::ApplyOutOfOrder)
            {
                std::mem::swap(&mut first.payload, &mut second.payload);
            }
            self.applying = through;
            self.outputs.push_back(Output::Apply { entries });
        }
        let committed = self.applying <= self.committed || planted::is(Bug::ApplyUncommitted);
        assert!(self.applied <= self.applying && committed);
    }
}
