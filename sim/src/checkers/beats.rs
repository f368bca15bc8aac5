//! Beats count for what was so at their sender when it sent them, and only while that process may live; a leader whose disk
//! stands still beats for nothing; a beat commits nothing. INV-80, INV-81, INV-82, INV-83.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use quorate_group::host::{Beat, BeatId, Settings};
use quorate_model::admin::Role;
use quorate_model::{GroupId, LogIndex, NodeId, Position};

use crate::machine::Machine;

#[derive(Default)]
pub(crate) struct Beats {
    /// What was so at the sender, by sender and receiver.
    sent: BTreeMap<(NodeId, NodeId, BeatId), Sent>,
    order: VecDeque<(NodeId, NodeId, BeatId)>,
    /// The receiver's replicas before it took the beat that it is taking.
    before: Vec<Commit>,
    /// For each process of a receiver and each sender, what counted last.
    newest: BTreeMap<(NodeId, u64, NodeId), Newest>,
    /// How often a beat stood for the heartbeat of a group, and for an answer to one.
    pub(crate) heartbeats: u64,
    pub(crate) answers: u64,
}

#[derive(Default)]
struct Newest {
    /// Of the sender's process.
    incarnation: u64,
    heard: Option<BeatId>,
    answered: Option<BeatId>,
}

struct Sent {
    incarnation: u64,
    offered: Vec<(GroupId, Position)>,
    followed: Vec<(GroupId, Position)>,
}

struct Commit {
    group: GroupId,
    committed: LogIndex,
    installing: bool,
}

/// For which groups a beat counted.
#[derive(Default)]
pub(crate) struct Counted {
    pub(crate) heard: Vec<GroupId>,
    pub(crate) answered: Vec<GroupId>,
}

/// Older beats are not looked at, however late they come.
const SENT_MAX: usize = 20_000;

impl Beats {
    pub(crate) fn sent(
        &mut self,
        machine: &Machine,
        to: NodeId,
        beat: &Beat,
    ) -> Result<(), String> {
        let vouched = machine.vouched(to);
        for (group, last) in &vouched.offered {
            let leads = machine.replica(*group).is_some_and(|replica| {
                replica.role() == Role::Leader && replica.term() == last.term
            });
            if !leads {
                let node = machine.node;
                return Err(format!(
                    "{group}: {node} beats for term {}, which it does not lead",
                    last.term
                ));
            }
        }
        let Settings { disk_stall, replication, .. } = Settings::default();
        let patience = disk_stall + replication.election_timeout;
        let stands_still = machine.disk_stands_still_for().unwrap_or(Duration::ZERO);
        if stands_still >= patience && !vouched.offered.is_empty() {
            let (node, ms) = (machine.node, stands_still.as_millis());
            let groups = vouched.offered.iter().map(|(group, _)| group);
            let groups: Vec<String> = groups.map(ToString::to_string).collect();
            return Err(format!("{node} leads {groups:?}, its disk stands still for {ms} ms"));
        }
        let key = (machine.node, to, beat.id);
        let (offered, followed) = (vouched.offered, vouched.followed);
        self.sent.insert(key, Sent { incarnation: machine.incarnation, offered, followed });
        self.order.push_back(key);
        if self.order.len() > SENT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.sent.remove(&oldest);
        }
        Ok(())
    }

    /// Before the receiver takes it.
    pub(crate) fn arrives(&mut self, machine: &Machine) {
        let replicas = machine.groups().into_iter();
        let commit = |group| {
            let committed = machine.replica(group)?.committed();
            Some(Commit { group, committed, installing: machine.is_installing(group) })
        };
        self.before = replicas.filter_map(commit).collect();
    }

    /// After the receiver took it.
    pub(crate) fn delivered(
        &mut self,
        machine: &Machine,
        from: NodeId,
        beat: &Beat,
    ) -> Result<Counted, String> {
        if self.before.len() != machine.groups().len()
            || self.before.iter().any(|before| commits(machine, before))
        {
            return Err(format!("{} commits something for a beat of {from}", machine.node));
        }
        let vouched = machine.vouched(from);
        let node = machine.node;
        let Some(sent) = self.sent.get(&(from, node, beat.id)) else {
            return Ok(Counted::default());
        };
        // A beat that the network repeats still is the newest one that counted, and does not count again.
        let newest = self.newest.entry((node, machine.incarnation, from)).or_default();
        let heard = vouched.heard == Some(beat.id) && newest.heard != vouched.heard;
        let answered = vouched.answered == Some(beat.id) && newest.answered != vouched.answered;
        if heard || answered {
            if sent.incarnation < newest.incarnation {
                return Err(format!("{node} counts a beat of a process of {from} that is gone"));
            }
            newest.incarnation = sent.incarnation;
            newest.heard = vouched.heard;
            newest.answered = vouched.answered;
        }
        let mut counted = Counted::default();
        for (group, last) in vouched.followed.iter().filter(|_| heard) {
            if !sent.offered.contains(&(*group, *last)) {
                return Err(format!("{group}: {node} counts a beat of {from} that was not for it"));
            }
            self.heartbeats += 1;
            counted.heard.push(*group);
        }
        for (group, last) in vouched.agreed.iter().filter(|_| answered) {
            if !sent.followed.contains(&(*group, *last)) {
                return Err(format!(
                    "{group}: {node} counts an answer of {from} that was not for it"
                ));
            }
            self.answers += 1;
            counted.answered.push(*group);
        }
        Ok(counted)
    }
}

/// Whether the replica has committed something since, but for a snapshot: its flush may have ended while the machine stood
/// still, and the first step after that tells the replica, whatever it is for.
fn commits(machine: &Machine, before: &Commit) -> bool {
    machine.replica(before.group).is_none_or(|replica| {
        let committed = replica.committed();
        let installed = before.installing && !machine.is_installing(before.group);
        committed != before.committed && !(installed && committed == replica.base().index)
    })
}
