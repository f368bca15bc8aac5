//! A replica that is no longer wanted goes: asked for by nobody, excluded by its group, forgotten durably.
//!
//! Keeps INV-53. The topology alone does not say that a replica is out of its group, and the replica itself may never hear
//! of its removal. So it asks, and only an answer to this very question counts, from a leader of a term that is not
//! older than its own, and only while no leader has called it since: otherwise a late answer could cost a replica that came
//! back what it has acknowledged since.

use quorate_model::{GroupId, NodeId, Term};
use quorate_replication::single_leader::{Configuration, Input, Message, Restored};
use quorate_storage::disk::Disk;
use quorate_storage::state::{Batch, StateStore};

use super::following::Settling;
use super::group::{Group, Task};
use super::recovery::lost_votes;
use super::retention::{Points, Purpose};
use super::rows::{Health, Prefix, Standing};
use super::timers::Timer;
use super::{Host, PeerMessage, Turn};

/// Whether this replica is still wanted: see `consider_retiring`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Doubt {
    /// What was asked last, while nothing speaks against it.
    nonce: Option<u64>,
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// Asks everybody who may lead the group.
    pub(super) fn retire_due(&mut self) {
        let Some(doubt) = &mut self.group.doubt else { return };
        let nonce = self.shared.nonce();
        doubt.nonce = Some(nonce);
        let group = self.group.id;
        let mut asked = self.shared.following.voters(self.shared.node(), group);
        asked.extend(self.group.replica.configuration().members());
        asked.extend(self.group.leadership.leader);
        asked.remove(&self.shared.node());
        let term = self.group.replica.term();
        for node in asked {
            self.shared.send(node, group, PeerMessage::MembershipQuery { nonce, term });
        }
        let again = self.shared.now.after(self.shared.settings.retire_after);
        self.timer(Timer::Retire(group), again);
    }

    /// A leader that has caught up with itself, and whose group is done with the asker, says so.
    /// One of a later term (it stood for election before it learnt of its removal) would wait for ever for such a leader:
    /// the group goes on to a later term than that.
    pub(super) fn membership_asked(&mut self, from: NodeId, nonce: u64, asker: Term) {
        let applied = self.group.standing.configuration.contains(from);
        let newest = self.group.replica.configuration().contains(from);
        if self.group.leadership.leading && !applied && !newest {
            let term = self.group.leadership.term;
            self.shared.send(from, self.group.id, PeerMessage::NotMember { nonce, term });
            if asker > term {
                let message = Message::VoteReply { term: asker, granted: false };
                self.group.tasks.push_back(Task::Step(Input::Message { from, message }));
            }
        }
    }

    /// A leader called: an answer on its way may be older than that.
    pub(super) fn called_again(&mut self) {
        if let Some(doubt) = &mut self.group.doubt {
            doubt.nonce = None;
        }
    }
}

impl<V> Group<V> {
    /// Whether this answer lets the replica go.
    pub(super) fn may_go(&self, nonce: u64, term: Term) -> bool {
        let asked = self.doubt.is_some_and(|doubt| doubt.nonce == Some(nonce));
        asked && term >= self.replica.term()
    }
}

impl<D: Disk, S: StateStore> Host<D, S> {
    /// INV-53: out of the placement and out of the group's committed configuration.
    pub(super) fn retire(&mut self, id: GroupId) {
        self.with_group(id, |turn| turn.dissolve());
        let Some(group) = self.groups.remove(&id) else { return };
        assert!(group.doubt.is_some(), "only a replica in doubt goes");
        self.shared.persisting.disown(id);
        let generation = group.standing.generation;
        let term = group.replica.term();
        let standing = Standing {
            health: Health::Retired,
            term_floor: term,
            ..Standing::begin(generation, Configuration::default())
        };
        let changes = vec![Prefix::new(id, generation).clear(), standing.put(id)];
        self.shared.state.apply(Batch { changes });
        self.shared.following.retired.insert(id, term);
        self.shared.following.settling.insert(id, Settling::Retiring);
        self.shared.flush_for(Purpose::Retire(id));
        self.shared.status_changed = true;
    }

    /// It is durable that the group is gone: so may its log be.
    pub(super) fn retired(&mut self, id: GroupId) {
        let settling = self.shared.following.settling.remove(&id);
        assert!(matches!(settling, Some(Settling::Retiring)));
        self.shared.persisting.forget(id);
    }

    /// A leader calls a group that was forgotten here. It must not be taken for retired after a crash, so that goes first.
    ///
    /// What it forgot it may have acknowledged, and a voter that has missed everything since may still count it. So it
    /// comes back like a damaged replica: without a vote until a snapshot holds all that may have counted on it (INV-34).
    pub(super) fn revive(&mut self, id: GroupId, term: Term) {
        let Some(generation) = self.fresh_generation(id) else { return };
        let standing = Standing {
            health: Health::Damaged,
            term_floor: term,
            ..Standing::begin(generation, Configuration::default())
        };
        self.shared.state.apply(Batch { changes: vec![standing.put(id)] });
        self.shared.following.settling.insert(id, Settling::Reviving(standing));
        self.shared.flush_for(Purpose::Revive(id));
    }

    /// It is durable that this group is no longer retired.
    pub(super) fn revived(&mut self, id: GroupId) {
        let settling = self.shared.following.settling.remove(&id);
        let Some(Settling::Reviving(standing)) = settling else {
            unreachable!("only what is being revived waits for that")
        };
        self.shared.following.retired.remove(&id);
        let hard_state = lost_votes(self.shared.node(), &standing);
        if hard_state.term > Term::ZERO {
            self.shared.persisting.hard_state(id, hard_state);
        }
        let restored = Restored { hard_state, damaged: true, ..Restored::default() };
        self.host_group(id, restored, standing, Points::default());
    }
}
