//! WAIT: how many other replicas hold a position durably.

use quorate_model::{LogIndex, Position};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::requests::{Stage, Waiting};
use super::{Failure, Reply, RequestId, Turn};

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    pub(super) fn count(
        &mut self,
        id: RequestId,
        position: Position,
        replicas: u32,
        timeout_ms: u64,
    ) {
        let group = self.group.id;
        let node = self.shared.node();
        let timeout = match timeout_ms {
            0 => self.shared.settings.request_timeout,
            ms => std::time::Duration::from_millis(ms),
        };
        let deadline = self.shared.now.after(timeout);
        let counted = self.holders(position.index);
        let stage = Stage::Counting { position, replicas, counted };
        self.shared.requests.insert(id, Waiting { group, deadline, stage });
        if self.group.leadership.leader != Some(node) {
            let leader = self.group.leader_elsewhere(node);
            self.shared.answer(id, Err(Failure::NotLeader { group, leader }));
        } else if self.is_lost(position) {
            // What stands at its index is another entry, whoever holds that.
            self.shared.answer(id, Err(Failure::PositionLost { group, position }));
        } else if counted >= replicas {
            self.shared.answer(id, Ok(Reply::Waited { replicas: counted }));
        } else {
            self.group.reads.counting.insert(id);
        }
    }

    /// Looks again at everybody who waits for followers, after whatever may have moved them.
    pub(super) fn recount(&mut self) {
        if self.group.reads.counting.is_empty() {
            return;
        }
        let matched = self.matched();
        let shared = &mut *self.shared;
        self.group.reads.counting.retain(|id| {
            let Some(Stage::Counting { position, replicas, counted }) =
                shared.requests.stage_mut(*id)
            else {
                return false;
            };
            *counted = holding(&matched, position.index);
            let (enough, replicas) = (*counted >= *replicas, *counted);
            if enough {
                shared.answer(*id, Ok(Reply::Waited { replicas }));
            }
            !enough
        });
    }

    /// This replica leads no longer: it knows of nobody.
    pub(super) fn stop_counting(&mut self) {
        let counting = std::mem::take(&mut self.group.reads.counting);
        self.send_elsewhere(counting);
    }

    /// Tells them who leads.
    pub(super) fn send_elsewhere(&mut self, ids: impl IntoIterator<Item = RequestId>) {
        let group = self.group.id;
        let leader = self.group.leader_elsewhere(self.shared.node());
        for id in ids {
            self.shared.answer(id, Err(Failure::NotLeader { group, leader }));
        }
    }

    fn holders(&self, index: LogIndex) -> u32 {
        holding(&self.matched(), index)
    }

    /// How far the voters beside this leader hold the log durably. INV-28: learners do not count.
    fn matched(&self) -> Vec<LogIndex> {
        let replica = &self.group.replica;
        let voters = &replica.configuration().voters;
        let followers = replica.followers();
        let followers = followers.iter().filter(|(node, _)| voters.contains(node));
        followers.map(|(_, follower)| follower.matched).collect()
    }
}

fn holding(matched: &[LogIndex], index: LogIndex) -> u32 {
    let count = matched.iter().filter(|matched| **matched >= index).count();
    u32::try_from(count).expect("a group has few replicas")
}
