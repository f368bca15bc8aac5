//! One group's part: when it is offered, agreed to, and roused. Keeps INV-80 and INV-83.

use quorate_model::planted::{self, Bug};
use quorate_model::{LogIndex, NodeId, Position, Time};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::super::timers::Timer;
use super::Turn;

/// What becomes of a group's own timers and heartbeats.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::host) enum Repose {
    /// It has them. On a leader: nothing was under way at its ticks since then, and its log ended there.
    Awake { since: Time, last: LogIndex },
    /// This leader offers its followers to rest. It rests when all of them have agreed.
    Offered { last: Position, since: Time, to: Vec<NodeId>, agreed: bool },
    /// This replica has agreed to rest behind its leader.
    Agreed { leader: NodeId, last: Position },
}

impl Default for Repose {
    fn default() -> Self {
        Self::Awake { since: Time::ZERO, last: LogIndex::ZERO }
    }
}

impl Repose {
    /// Beats stand for its heartbeats, and silence for its timers.
    pub(in crate::host) const fn is_rest(&self) -> bool {
        match self {
            Self::Awake { .. } | Self::Offered { agreed: false, .. } => false,
            Self::Offered { agreed: true, .. } | Self::Agreed { .. } => true,
        }
    }

    const fn is_awake(&self) -> bool {
        matches!(self, Self::Awake { .. })
    }
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// Tells the protocol what beats have said since its last step. To be called before every step.
    pub(in crate::host) fn vouch(&mut self) {
        match &self.group.repose {
            Repose::Awake { .. } => {}
            Repose::Offered { to, .. } => {
                for peer in to {
                    if let Some(at) = self.shared.beats.answered(*peer, self.group.id) {
                        self.group.replica.vouched(*peer, at);
                    }
                }
            }
            Repose::Agreed { leader, .. } => {
                if let Some(at) = self.shared.beats.heard(*leader) {
                    self.group.replica.vouched(*leader, at);
                }
            }
        }
    }

    /// After whatever happened: a group in which something is under way does not rest.
    pub(in crate::host) fn keep_rest(&mut self) {
        if self.group.repose.is_awake() {
            return;
        }
        self.vouch();
        let rests = match &self.group.repose {
            Repose::Awake { .. } => true,
            Repose::Offered { last, .. } => self.group.replica.may_rest() == Some(*last),
            Repose::Agreed { leader, last } => self.group.replica.rests_behind(*leader, *last),
        };
        if !rests {
            self.rouse();
        }
    }

    /// After a tick of a leader: is there anything but heartbeats left to do?
    pub(in crate::host) fn consider_rest(&mut self) {
        let now = self.shared.now;
        let timeout = self.shared.settings.replication.election_timeout;
        match self.group.repose {
            Repose::Awake { since, last } => match self.group.replica.may_rest() {
                Some(end) if end.index == last && now.since(since) >= timeout => self.offer(end),
                Some(end) if end.index == last => {}
                end => {
                    let last = end.map_or(LogIndex::ZERO, |end| end.index);
                    self.group.repose = Repose::Awake { since: now, last };
                }
            },
            // Somebody does not agree: the next time, perhaps.
            Repose::Offered { since, agreed: false, .. } if now.since(since) >= timeout * 2 => {
                self.rouse();
            }
            Repose::Offered { .. } | Repose::Agreed { .. } => {}
        }
    }

    fn offer(&mut self, last: Position) {
        let now = self.shared.now;
        let to: Vec<NodeId> = self.group.replica.followers().into_keys().collect();
        for peer in &to {
            let Some(relation) = self.shared.beats.relation(*peer) else { return self.rouse() };
            relation.offered.insert(self.group.id, last);
        }
        let due = now.after(self.shared.settings.replication.heartbeat);
        self.shared.timers.set_at_latest(Timer::Beat, due);
        self.group.repose = Repose::Offered { last, since: now, to, agreed: false };
        // Alone, there is nobody to agree.
        self.count_agreements();
    }

    /// The leader offers to rest behind `last`.
    pub(in crate::host) fn agree(&mut self, leader: NodeId, last: Position) {
        let group = self.group.id;
        let fit = self.group.repose.is_awake()
            && self.group.incoming.is_none()
            && !self.group.is_quarantined()
            && self.group.replica.rests_behind(leader, last);
        let Some(relation) = self.shared.beats.relation(leader).filter(|_| fit) else { return };
        relation.followed.insert(group, last);
        self.group.repose = Repose::Agreed { leader, last };
    }

    /// Whether all followers have agreed.
    pub(in crate::host) fn count_agreements(&mut self) {
        let (group, now) = (self.group.id, self.shared.now);
        if let Repose::Offered { to, agreed, since, .. } = &mut self.group.repose {
            *agreed = to.iter().all(|peer| self.shared.beats.agreed(*peer, group));
            *since = now;
        }
    }

    /// The group has its own timers and heartbeats again.
    pub(in crate::host) fn rouse(&mut self) {
        self.vouch();
        let (group, since) = (self.group.id, self.shared.now);
        let awake = Repose::Awake { since, last: LogIndex::ZERO };
        match std::mem::replace(&mut self.group.repose, awake) {
            Repose::Awake { .. } => {}
            Repose::Offered { to, .. } => {
                let forgotten = planted::is(Bug::BeatForOthers)
                    && self.group.replica.leader() != Some(self.shared.node());
                for peer in to.iter().filter(|_| !forgotten) {
                    if let Some(relation) = self.shared.beats.relation(*peer) {
                        // INV-80: a node beats only for what it leads.
                        relation.offered.remove(group);
                        relation.agreed.remove(&group);
                    }
                }
            }
            Repose::Agreed { leader, .. } => {
                if let Some(relation) = self.shared.beats.relation(leader) {
                    relation.followed.remove(group);
                }
            }
        }
    }
}
