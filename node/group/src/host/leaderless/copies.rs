//! Whether a replica's data is an older copy of what it once was, as of a volume that was put back: it lacks what it acknowledged
//! since, and nothing on the volume says so.
//!
//! Every replica tells the others how far its data is. Whoever remembers more of it than the next process begins with says so, and
//! that one is emptied and filled again (INV-98). What is told is durable, so that no restart falls behind it. Memories last as
//! long as the processes of the others.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_model::{GroupId, LogIndex, NodeId, ShardId, Topology};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;
use serde::{Deserialize, Serialize};

use super::super::timers::Timer;
use super::super::{Host, PeerMessage};

/// How long what is new may wait for more of it.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// How far a replica's data is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Age {
    /// Drawn whenever the replica begins.
    pub process: u64,
    pub generation: u32,
    /// When it began it claimed to hold what it had acknowledged.
    pub whole: bool,
    /// Through which entry of its log its data was then, and is.
    pub began: LogIndex,
    pub applied: LogIndex,
}

/// What the others' replicas were when they were heard of last.
pub(super) type Ages = BTreeMap<(ShardId, NodeId), Age>;

impl Age {
    /// Of the same replica. A message of an earlier process that comes late may say so wrongly: nobody answers to its name.
    fn is_behind(&self, known: &Self) -> bool {
        self.whole
            && self.process != known.process
            && (self.generation, self.began) < (known.generation, known.applied)
    }
}

impl<D: Disk, S: StateStore> Host<D, S> {
    /// Something is new, or somebody may not know it.
    pub(super) fn tell_ages_soon(&mut self) {
        let at = self.shared.now.after(TELL_EVERY);
        self.shared.timers.set_at_latest(Timer::Ages, at);
    }

    /// To everybody, at once: a connection is made anew.
    pub(in super::super) fn tell_ages_again(&mut self) {
        for shard in self.shards.hosted.values_mut() {
            shard.told = None;
        }
        if !self.shards.hosted.is_empty() {
            let now = self.shared.now;
            self.shared.timers.set_at_latest(Timer::Ages, now);
        }
    }

    pub(in super::super) fn ages_due(&mut self) {
        self.shared.timers.set(Timer::Ages, None);
        let Some(topology) = self.shared.following.topology().cloned() else { return };
        let here = self.shared.node();
        let mut told = BTreeMap::<NodeId, Vec<(ShardId, Age)>>::new();
        for (id, shard) in &mut self.shards.hosted {
            let age = shard.age();
            // Whoever stands in for replicas claims nothing.
            if shard.replica.is_owner() && shard.told != Some(age) {
                shard.told = Some(age);
                for node in topology.holders(*id).filter(|node| *node != here) {
                    told.entry(node).or_default().push((*id, age));
                }
            }
        }
        for (node, ages) in told {
            self.shared.send(node, GroupId::Meta, PeerMessage::Ages(ages));
        }
    }

    pub(in super::super) fn ages_told(&mut self, from: NodeId, ages: Vec<(ShardId, Age)>) {
        let mut behind = Vec::new();
        for (shard, age) in ages {
            // INV-55: of those that the topology names, one each.
            let topology = self.shared.following.topology();
            if !topology.is_some_and(|topology| topology.holds(shard, from)) {
                continue;
            }
            match self.shards.ages.get(&(shard, from)) {
                Some(known) if age.is_behind(known) => behind.push((shard, age)),
                Some(_) | None => {
                    self.shards.ages.insert((shard, from), age);
                }
            }
        }
        if !behind.is_empty() {
            self.shared.send(from, GroupId::Meta, PeerMessage::Behind(behind));
        }
    }

    /// INV-98: somebody remembers more of this node's replicas than they are.
    pub(in super::super) fn found_behind(&mut self, ages: Vec<(ShardId, Age)>) {
        for (shard, age) in ages {
            let hosted = self.shards.hosted.get(&shard);
            if hosted.is_some_and(|hosted| hosted.process == age.process) {
                self.refill(shard, "its data is an older copy than others have known".to_owned());
            }
        }
    }

    /// Who has no replica any more is forgotten.
    pub(super) fn forget_ages(&mut self, topology: &Topology) {
        self.shards.ages.retain(|(shard, node), _| topology.holds(*shard, *node));
    }
}

impl super::Shard {
    fn age(&self) -> Age {
        let super::ShardStanding { generation, applied, .. } = self.standing;
        let (whole, began) = self.began;
        Age { process: self.process, generation, whole, began, applied }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Age =
        Age { process: 1, generation: 2, whole: true, began: LogIndex(5), applied: LogIndex(9) };

    #[test]
    fn a_process_that_begins_with_less_than_was_told_is_behind() {
        let next = |began| Age { process: 2, began: LogIndex(began), ..KNOWN };
        assert!(next(8).is_behind(&KNOWN));
        assert!(!next(9).is_behind(&KNOWN), "nothing was written since");
        assert!(!next(12).is_behind(&KNOWN), "what was written last was not told any more");
        assert!(Age { generation: 1, ..next(100) }.is_behind(&KNOWN));
        assert!(!Age { generation: 3, ..next(0) }.is_behind(&KNOWN), "filled anew since");
    }

    #[test]
    fn the_same_process_is_never_behind_itself_and_one_that_claims_nothing_neither() {
        assert!(!KNOWN.is_behind(&KNOWN));
        let next = Age { process: 2, began: LogIndex(0), whole: false, ..KNOWN };
        assert!(!next.is_behind(&KNOWN), "as with a damaged log, whatever it is by now");
    }
}
