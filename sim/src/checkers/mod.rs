//! One checker per invariant of `docs/protocol.md`, or per few that are seen at one place.
//!
//! A checker sees every message when it is sent and when it is delivered, every replica after every step of its host, and every
//! start of a host. It answers with what is violated; it never changes the run.

use std::collections::BTreeMap;

use quorate_group::host::PeerMessage;
use quorate_model::{GroupId, LogIndex, NodeId, Term, Time};
use quorate_replication::single_leader::{Message, Replica};

use acknowledged_writes::Forgotten;

use crate::machine::Machine;
use crate::verdict::{Broken, By, Verdict};

pub(crate) mod acknowledged_writes;
pub(crate) mod beats;
pub(crate) mod cell_convergence;
pub(crate) mod changes;
pub(crate) mod checkpoints;
pub(crate) mod commit_rule;
pub(crate) mod conflicts;
pub(crate) mod consistent_prefix;
pub(crate) mod convergence;
pub(crate) mod damaged_replicas;
pub(crate) mod divergence;
pub(crate) mod dots;
pub(crate) mod durable_acknowledgements;
pub(crate) mod durable_votes;
pub(crate) mod election_safety;
pub(crate) mod hints;
pub(crate) mod identities;
pub(crate) mod in_sync_set;
pub(crate) mod leader_completeness;
pub(crate) mod linearizability;
#[cfg(test)]
mod linearizability_test;
pub(crate) mod liveness;
pub(crate) mod log_matching;
pub(crate) mod members;
pub(crate) mod membership;
pub(crate) mod monotonic_reads;
pub(crate) mod read_your_writes;
pub(crate) mod recovery;
pub(crate) mod remembered;
pub(crate) mod requests;
pub(crate) mod snapshots;
pub(crate) mod staleness;
pub(crate) mod standing;
pub(crate) mod state_machine_safety;
pub(crate) mod steps;
pub(crate) mod stickiness;
pub(crate) mod sums;
pub(crate) mod told_cells;
pub(crate) mod topology;
pub(crate) mod transfer;
pub(crate) mod versions;
pub(crate) mod visibility;

/// A replica at the moment of an observation.
#[derive(Clone, Copy)]
pub(crate) struct Sight<'a> {
    pub(crate) now: Time,
    pub(crate) node: NodeId,
    /// Which process of the node.
    pub(crate) incarnation: u64,
    pub(crate) group: GroupId,
    pub(crate) replica: &'a Replica,
}

/// What has been committed so far, by any replica's word: the term of each index.
pub(crate) type Ledger = BTreeMap<(GroupId, LogIndex), Term>;

/// What is violated, in words.
type Word = Result<(), String>;

pub(crate) trait Checker {
    fn sent(&mut self, _at: Sight<'_>, _to: NodeId, _message: &Message, _ledger: &Ledger) -> Word {
        Ok(())
    }

    /// Before the receiver takes it.
    fn arrives(&mut self, _at: Sight<'_>, _from: NodeId, _message: &Message) {}

    /// After the receiver took it; `term_before` is the receiver's term before.
    fn delivered(
        &mut self,
        _at: Sight<'_>,
        _from: NodeId,
        _message: &Message,
        _term_before: Term,
    ) -> Word {
        Ok(())
    }

    /// After a step of the host, for each of its replicas.
    fn stepped(&mut self, _at: Sight<'_>, _ledger: &Ledger) -> Word {
        Ok(())
    }

    /// A beat of `peer` stood for its heartbeat, or its answer, in the group of this replica.
    fn vouched(&mut self, _at: Sight<'_>, _peer: NodeId) {}

    /// A process has recovered this replica from its disk.
    fn started(&mut self, _at: Sight<'_>) -> Word {
        Ok(())
    }

    /// The replica is gone from its node for good.
    fn forgotten(&mut self, _node: NodeId, _group: GroupId) {}

    /// A peer's death was told to the node.
    fn refused(&mut self, _node: NodeId, _peer: NodeId) {}

    /// A bit of the node's log has flipped.
    fn rots(&mut self, _node: NodeId) {}
}

/// The checkers that watch a run while it goes on.
pub(crate) struct Checkers {
    watching: Vec<(&'static str, Box<dyn Checker>)>,
    ledger: Ledger,
    hosted: BTreeMap<NodeId, Vec<GroupId>>,
    pub(crate) identities: identities::Identities,
    pub(crate) topology: topology::Epochs,
    pub(crate) requests: requests::Requests,
    pub(crate) acknowledged_writes: acknowledged_writes::AcknowledgedWrites,
    pub(crate) visibility: visibility::Visibility,
    pub(crate) divergence: divergence::Divergence,
    pub(crate) beats: beats::Beats,
    dots: dots::Dots,
    changes: changes::Changes,
    told_cells: told_cells::ToldCells,
    hints: hints::Hints,
    pub(crate) steps: steps::Steps,
    pub(crate) checkpoints: checkpoints::Checkpoints,
}

impl Default for Checkers {
    fn default() -> Self {
        Self {
            watching: vec![
                ("election_safety", Box::<election_safety::ElectionSafety>::default()),
                ("durable_votes", Box::<durable_votes::DurableVotes>::default()),
                (
                    "durable_acknowledgements",
                    Box::<durable_acknowledgements::DurableAcknowledgements>::default(),
                ),
                ("leader_completeness", Box::<leader_completeness::LeaderCompleteness>::default()),
                ("log_matching", Box::<log_matching::LeaderAppends>::default()),
                ("commit_rule", Box::<commit_rule::CommitRule>::default()),
                ("in_sync_set", Box::<in_sync_set::InSyncSet>::default()),
                (
                    "state_machine_safety",
                    Box::<state_machine_safety::StateMachineSafety>::default(),
                ),
                ("stickiness", Box::<stickiness::Stickiness>::default()),
                ("damaged_replicas", Box::<damaged_replicas::DamagedReplicas>::default()),
                ("membership", Box::<membership::Membership>::default()),
                ("transfer", Box::<transfer::Transfer>::default()),
                ("recovery", Box::<recovery::Recovery>::default()),
            ],
            ledger: Ledger::new(),
            hosted: BTreeMap::new(),
            identities: identities::Identities::default(),
            topology: topology::Epochs::default(),
            requests: requests::Requests::default(),
            acknowledged_writes: acknowledged_writes::AcknowledgedWrites::default(),
            visibility: visibility::Visibility::default(),
            divergence: divergence::Divergence::default(),
            beats: beats::Beats::default(),
            dots: dots::Dots::default(),
            changes: changes::Changes::default(),
            told_cells: told_cells::ToldCells::default(),
            hints: hints::Hints::default(),
            steps: steps::Steps::default(),
            checkpoints: checkpoints::Checkpoints::default(),
        }
    }
}

impl Checkers {
    pub(crate) fn sent(
        &mut self,
        now: Time,
        machine: &Machine,
        to: NodeId,
        group: GroupId,
        message: &PeerMessage,
    ) -> Verdict {
        self.identities.sent(machine.node).by("identities")?;
        if let PeerMessage::Beat(beat) = message {
            return self.beats.sent(machine, to, beat).by("beats");
        }
        if let PeerMessage::Leaderless { messages, .. } = message {
            for message in messages {
                self.dots.sent(machine, group, message).by("dots")?;
                self.steps.sent(machine, to, group, message).by("steps")?;
                self.checkpoints.sent(now, machine, group, message);
                self.hints.sent(machine, to, group, message).by("hints")?;
                self.told_cells.sent(machine, to, group, message).by("told_cells")?;
            }
            return Ok(());
        }
        self.changes.sent(machine, group, message).by("changes")?;
        // A replica that is being destroyed may have sent its last word in the same step.
        let Some(at) = sight(now, machine, group) else { return Ok(()) };
        if let PeerMessage::Replication(message) = message {
            self.visibility.sent(at, message);
            for (name, checker) in &mut self.watching {
                checker.sent(at, to, message, &self.ledger).by(name)?;
            }
        }
        snapshots::sent(at, message, &self.ledger).by("snapshots")
    }

    pub(crate) fn arrives(
        &mut self,
        now: Time,
        machine: &Machine,
        from: NodeId,
        group: GroupId,
        message: &PeerMessage,
    ) {
        if let PeerMessage::Beat(_) = message {
            return self.beats.arrives(machine);
        }
        if let PeerMessage::Leaderless { mark, messages } = message {
            for message in messages {
                self.steps.arrives(machine, from, group, *mark, message);
                self.dots.arrives(now, machine, group, message);
                self.hints.arrives(machine, from, group, message);
                self.told_cells.arrives(machine, from, group, message);
            }
            return;
        }
        if let (Some(at), PeerMessage::Replication(message)) = (sight(now, machine, group), message)
        {
            for (_, checker) in &mut self.watching {
                checker.arrives(at, from, message);
            }
        }
    }

    pub(crate) fn delivered(
        &mut self,
        now: Time,
        machine: &Machine,
        from: NodeId,
        group: GroupId,
        message: &PeerMessage,
        term_before: Option<Term>,
    ) -> Verdict {
        if let PeerMessage::Beat(beat) = message {
            let counted = self.beats.delivered(machine, from, beat).by("beats")?;
            for group in counted.heard.into_iter().chain(counted.answered) {
                let Some(at) = sight(now, machine, group) else { continue };
                for (_, checker) in &mut self.watching {
                    checker.vouched(at, from);
                }
            }
            return Ok(());
        }
        if let PeerMessage::Leaderless { messages, .. } = message {
            for message in messages {
                self.hints.delivered(machine, group, message).by("hints")?;
            }
            self.steps.delivered(machine, group).by("steps")?;
            return self.dots.delivered(machine, group).by("dots");
        }
        let (Some(at), Some(term_before)) = (sight(now, machine, group), term_before) else {
            return Ok(());
        };
        if let PeerMessage::Replication(message) = message {
            for (name, checker) in &mut self.watching {
                checker.delivered(at, from, message, term_before).by(name)?;
            }
        }
        Ok(())
    }

    pub(crate) fn stepped(&mut self, now: Time, machine: &Machine) -> Verdict {
        self.divergence.stepped(machine).by("divergence")?;
        self.dots.stepped(machine);
        self.changes.stepped(now, machine).by("changes")?;
        self.told_cells.stepped(machine).by("told_cells")?;
        self.hints.stepped(machine).by("hints")?;
        let groups = machine.groups();
        let hosted = self.hosted.insert(machine.node, groups.clone()).unwrap_or_default();
        for group in hosted.into_iter().filter(|group| !groups.contains(group)) {
            for (_, checker) in &mut self.watching {
                checker.forgotten(machine.node, machine.seen_as(group));
            }
        }
        for group in groups {
            let Some(at) = sight(now, machine, group) else { continue };
            note_committed(&mut self.ledger, at).by("commit_rule")?;
            for (name, checker) in &mut self.watching {
                checker.stepped(at, &self.ledger).by(name)?;
            }
        }
        Ok(())
    }

    pub(crate) fn started(&mut self, now: Time, machine: &Machine) -> Verdict {
        for group in machine.groups() {
            let Some(at) = sight(now, machine, group) else { continue };
            self.identities.started(at).by("identities")?;
            for (name, checker) in &mut self.watching {
                checker.started(at).by(name)?;
            }
        }
        Ok(())
    }

    pub(crate) fn refused(&mut self, node: NodeId, peer: NodeId) {
        for (_, checker) in &mut self.watching {
            checker.refused(node, peer);
        }
    }

    pub(crate) fn rots(&mut self, node: NodeId) {
        for (_, checker) in &mut self.watching {
            checker.rots(node);
        }
    }

    /// When the run is over: what was lost although it was acknowledged, as `Async` may.
    pub(crate) fn end(&self, now: Time) -> Result<Forgotten, Broken> {
        self.requests.end(now).by("requests")?;
        self.acknowledged_writes.end(&self.ledger).by("acknowledged_writes")
    }
}

fn sight(now: Time, machine: &Machine, group: GroupId) -> Option<Sight<'_>> {
    let replica = machine.replica(group)?;
    let group = machine.seen_as(group);
    Some(Sight { now, node: machine.node, incarnation: machine.incarnation, group, replica })
}

/// INV-18: what is committed once never changes.
fn note_committed(ledger: &mut Ledger, at: Sight<'_>) -> Word {
    let newest = at.replica.committed();
    let mut index = newest;
    // Backwards to what is known already: all below it was noted when that was.
    while index > LogIndex::ZERO {
        let Some(position) = at.replica.position_at(index) else { break };
        match ledger.insert((at.group, index), position.term) {
            Some(known) if known != position.term => {
                let (group, node, term) = (at.group, at.node, position.term);
                return Err(format!(
                    "{group}: index {index} was committed in term {known}, {node} commits term {term}"
                ));
            }
            Some(_) => break,
            None => {}
        }
        index = index.previous();
    }
    Ok(())
}
