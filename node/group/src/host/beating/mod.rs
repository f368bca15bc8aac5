//! Beats: one message a heartbeat for each ordered pair of nodes stands for the heartbeats of all groups that rest between them.
//!
//! A leader in whose group nothing is under way *offers* its followers to rest behind its last entry. A follower whose log
//! ends there, all of it applied, *agrees*. When all have agreed the group *rests*: it has no timer and sends nothing. Instead
//! each node tells each other one, by a beat, which groups it leads and offers, and which it follows and agreed to: as a count
//! and a hash, and in full for as long as the other's newest beat said otherwise. What both say of a group is as good as a
//! heartbeat and its answer (INV-80 to INV-83); about a group of which they differ a beat says nothing, and it wakes.
//!
//! Whatever happens in a group wakes it: a group rests only while its replica says so (`resting`). A beat is made by the host's own
//! timer, so a host that stands still does not beat. What silence means is decided after half an election timeout: then every
//! group that rests with the silent node has its own timers again, as they were drawn, and its leader its heartbeats.
//!
//! `pacts` is what a pair of nodes has agreed on, `relation` which of the peer's processes is listened to, `resting` one group's part.

mod pacts;
mod relation;
mod resting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use quorate_model::{GroupId, NodeId, Position, Time};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;
use serde::{Deserialize, Serialize};

pub use pacts::Digest;
use relation::{Identity, Relation};
pub(super) use resting::Repose;

use super::timers::Timer;
use super::{Host, PeerMessage, Turn};

/// How many nodes may be in relation with this one. Groups do not rest with others.
const RELATIONS_MAX: usize = 1024;
/// The times of how many of this node's beats are remembered, to tell which of them an answer is for.
const SENT_MAX: usize = 32;

/// Names a beat: the process that sent it, and which of its beats it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct BeatId {
    /// Drawn at every start of the host.
    pub boot: u64,
    pub number: u64,
}

/// What one node tells another one of the groups that rest between them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Beat {
    pub id: BeatId,
    /// The receiver's newest beat.
    pub seen: Option<BeatId>,
    /// The groups that the sender leads and offers to the receiver.
    pub leads: Digest,
    /// Those that the receiver leads and in which the sender has agreed.
    pub follows: Digest,
    /// In full, while the receiver's newest beat said otherwise.
    pub led: Option<Vec<(GroupId, Position)>>,
    pub followed: Option<Vec<(GroupId, Position)>>,
}

/// All relations of a node.
#[derive(Debug)]
pub(super) struct Beats {
    boot: u64,
    number: u64,
    sent: VecDeque<(u64, Time)>,
    /// It is time for the next ones.
    due: bool,
    relations: BTreeMap<NodeId, Relation>,
}

/// What beats of a peer count for at present, for those who look.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Vouched {
    /// The newest beat that counted as heartbeats, and for which groups.
    pub heard: Option<BeatId>,
    pub followed: Vec<(GroupId, Position)>,
    /// The newest one that counted as answers, and for which groups.
    pub answered: Option<BeatId>,
    pub agreed: Vec<(GroupId, Position)>,
    /// What this node offers the peer.
    pub offered: Vec<(GroupId, Position)>,
}

impl Beats {
    pub(super) const fn new(boot: u64) -> Self {
        Self { boot, number: 0, sent: VecDeque::new(), due: false, relations: BTreeMap::new() }
    }

    /// When the peer last said that it leads what is followed here.
    fn heard(&self, peer: NodeId) -> Option<Time> {
        self.relations.get(&peer).map(|relation| relation.heard)
    }

    /// When the peer last said that it follows the group, which it agreed to.
    pub(super) fn answered(&self, peer: NodeId, group: GroupId) -> Option<Time> {
        let relation = self.relations.get(&peer)?;
        relation.agreed.contains(&group).then_some(relation.answered)
    }

    fn agreed(&self, peer: NodeId, group: GroupId) -> bool {
        self.relations.get(&peer).is_some_and(|relation| relation.agreed.contains(&group))
    }

    fn relation(&mut self, peer: NodeId) -> Option<&mut Relation> {
        if self.relations.len() >= RELATIONS_MAX && !self.relations.contains_key(&peer) {
            self.relations.retain(|_, relation| !relation.is_idle());
            if self.relations.len() >= RELATIONS_MAX {
                return None;
            }
        }
        Some(self.relations.entry(peer).or_default())
    }

    /// Whether a beat with this number was sent within `patience`.
    fn is_recent(&self, number: u64, now: Time, patience: Duration) -> bool {
        let sent = self.sent.iter().rev().find(|(sent, _)| *sent == number);
        sent.is_some_and(|(_, at)| now.since(*at) < patience)
    }

    fn next_id(&mut self, now: Time) -> BeatId {
        self.number += 1;
        if self.sent.len() >= SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((self.number, now));
        BeatId { boot: self.boot, number: self.number }
    }
}

impl<D: Disk, S: StateStore> Host<D, S> {
    /// What beats of `peer` count for at present.
    #[must_use]
    pub fn vouched(&self, peer: NodeId) -> Vouched {
        let relation = self.shared.beats.relations.get(&peer);
        relation.map(Relation::vouched).unwrap_or_default()
    }

    /// Time for the next beats: first what silence has ended, then what there is to say.
    pub(super) fn beat_due(&mut self) {
        let now = self.shared.now;
        let silence = self.shared.settings.replication.election_timeout / 2;
        let silent = |since: Time| now.since(since) >= silence;
        let (mut unheard, mut unanswered) = (Vec::new(), Vec::new());
        for (peer, relation) in &self.shared.beats.relations {
            if silent(relation.heard) {
                unheard.extend(relation.followed.groups());
            }
            if silent(relation.answered) && !relation.agreed.is_empty() {
                unanswered.push(*peer);
            }
        }
        for group in unheard {
            self.with_group(group, |turn| turn.rouse());
        }
        for peer in unanswered {
            self.disagree_all(peer);
        }
        self.shared.beats.due = true;
    }

    /// When everything else is done: a beat says how things are behind it.
    pub(super) fn send_beats(&mut self) {
        let now = self.shared.now;
        let beats = &mut self.shared.beats;
        if !std::mem::take(&mut beats.due) {
            return;
        }
        if beats.relations.values().all(Relation::is_idle) {
            return;
        }
        let id = beats.next_id(now);
        let mut messages = Vec::new();
        for (peer, relation) in &mut beats.relations {
            if !relation.is_idle() {
                messages.push((*peer, relation.beat(id)));
            }
        }
        for (peer, beat) in messages {
            self.shared.send(peer, GroupId::Meta, PeerMessage::Beat(Box::new(beat)));
        }
        let next = now.after(self.shared.settings.replication.heartbeat);
        self.shared.timers.set(Timer::Beat, Some(next));
    }

    pub(super) fn beat_received(&mut self, from: NodeId, beat: &Beat) {
        let beats = &mut self.shared.beats;
        let (boot, number) = (beats.boot, beats.number);
        let Some(relation) = beats.relation(from) else { return };
        relation.owes |= !(beat.leads.is_empty() && beat.follows.is_empty());
        let identity = relation.identify(beat, BeatId { boot, number });
        if identity != Identity::Old {
            relation.seen = Some(beat.id);
        }
        let due = self.shared.now.after(self.shared.settings.replication.heartbeat);
        self.shared.timers.set_at_latest(Timer::Beat, due);
        match identity {
            // INV-81: of a process that may be gone it says nothing.
            Identity::Old | Identity::Unproven => return,
            // What was agreed was agreed with the process before.
            Identity::Another => self.end_pacts(from),
            Identity::Known => {}
        }
        if let Some(relation) = self.shared.beats.relation(from) {
            relation.told_leads = beat.leads;
            relation.told_follows = beat.follows;
        }
        self.take_lead(from, beat);
        self.take_answer(from, beat);
    }

    /// The sender as the leader of groups that are followed here.
    fn take_lead(&mut self, from: NodeId, beat: &Beat) {
        let now = self.shared.now;
        let Some(relation) = self.shared.beats.relation(from) else { return };
        let mut fresh = Vec::new();
        if let Some(led) = &beat.led {
            let led: BTreeMap<GroupId, Position> = led.iter().copied().collect();
            let dropped = relation.followed.differing(&led);
            fresh = relation.followed.missing(&led);
            for group in dropped {
                self.with_group(group, |turn| turn.rouse());
            }
        } else if !relation.followed.agrees_with(beat.leads) {
            // INV-80: of which groups it speaks is not known.
            return;
        }
        let Some(relation) = self.shared.beats.relation(from) else { return };
        relation.heard = now;
        relation.heard_by = Some(beat.id);
        for (group, last) in fresh {
            self.with_group(group, |turn| turn.agree(from, last));
        }
    }

    /// The sender as a follower in groups that are led here.
    fn take_answer(&mut self, from: NodeId, beat: &Beat) {
        let now = self.shared.now;
        let patience = self.shared.settings.replication.election_timeout;
        let beats = &mut self.shared.beats;
        // INV-81: it answers what this process said just now.
        let mine = beat.seen.filter(|seen| seen.boot == beats.boot);
        if !mine.is_some_and(|seen| beats.is_recent(seen.number, now, patience)) {
            return;
        }
        let Some(relation) = beats.relation(from) else { return };
        let (lost, fresh): (BTreeSet<GroupId>, Vec<GroupId>) = match &beat.followed {
            Some(followed) => {
                let followed: BTreeMap<GroupId, Position> = followed.iter().copied().collect();
                let offered = &relation.offered;
                let lost = offered.differing(&followed);
                let lost = lost.into_iter().filter(|group| relation.agreed.contains(group));
                let both =
                    followed.iter().filter(|(group, last)| offered.at(**group) == Some(**last));
                let fresh = both.map(|(group, _)| *group);
                (lost.collect(), fresh.filter(|group| !relation.agreed.contains(group)).collect())
            }
            None if relation.offered.agrees_with(beat.follows) => {
                let unsettled = relation.agreed.len() < relation.offered.len();
                let all = relation.offered.groups().filter(|_| unsettled);
                (BTreeSet::new(), all.filter(|group| !relation.agreed.contains(group)).collect())
            }
            None => return,
        };
        for group in &lost {
            self.disagree(from, *group);
        }
        let Some(relation) = self.shared.beats.relation(from) else { return };
        relation.answered = now;
        relation.answered_by = Some(beat.id);
        relation.agreed.extend(&fresh);
        for group in fresh {
            self.with_group(group, |turn| turn.count_agreements());
        }
    }

    /// Nothing that was agreed with this peer holds any more.
    pub(super) fn end_pacts(&mut self, peer: NodeId) {
        let Some(relation) = self.shared.beats.relations.get(&peer) else { return };
        let followed: Vec<GroupId> = relation.followed.groups().collect();
        for group in followed {
            self.with_group(group, |turn| turn.rouse());
        }
        self.disagree_all(peer);
    }

    fn disagree_all(&mut self, peer: NodeId) {
        let Some(relation) = self.shared.beats.relations.get(&peer) else { return };
        for group in relation.agreed.clone() {
            self.disagree(peer, group);
        }
    }

    /// The peer is not known to follow the group any more: its leader sends heartbeats again.
    fn disagree(&mut self, peer: NodeId, group: GroupId) {
        self.with_group(group, |turn| {
            turn.vouch();
            if let Some(relation) = turn.shared.beats.relations.get_mut(&peer) {
                relation.agreed.remove(&group);
            }
            turn.count_agreements();
        });
    }
}
