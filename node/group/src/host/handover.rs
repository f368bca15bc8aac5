//! Moving every leadership away before the node stops.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_model::{GroupId, ShardId};
use quorate_replication::single_leader::Input;
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::group::Task;
use super::requests::{Stage, Waiting};
use super::timers::Timer;
use super::{Host, Reply, RequestId};

/// How often a handover tries again what is still led.
const AGAIN: Duration = Duration::from_millis(100);

impl<D: Disk, S: StateStore> Host<D, S> {
    pub(super) fn hand_over(&mut self, id: RequestId) {
        let led: BTreeSet<GroupId> = self.led().into_iter().collect();
        let groups: BTreeSet<ShardId> = led
            .iter()
            .filter_map(|group| match group {
                GroupId::Shard(shard) => Some(*shard),
                GroupId::Meta => None,
            })
            .collect();
        // A transfer that fails is tried once more.
        let patience = self.shared.settings.replication.transfer_timeout.saturating_mul(2);
        let deadline = self.shared.now.after(patience);
        let stage = Stage::HandingOver { groups };
        self.shared.requests.insert(id, Waiting { group: GroupId::Meta, deadline, stage });
        self.handover_due(id);
    }

    /// Transfers what is still led and can be, or answers.
    pub(super) fn handover_due(&mut self, id: RequestId) {
        if !matches!(self.shared.requests.stage(id), Some(Stage::HandingOver { .. })) {
            return;
        }
        let mut waits = false;
        for group in self.led() {
            self.with_group(group, |turn| {
                // Alone, there is nobody to hand over to.
                if turn.group.replica.configuration().voters.len() > 1 {
                    waits = true;
                    if !turn.group.replica.is_transferring() {
                        turn.group.tasks.push_back(Task::Step(Input::Transfer { to: None }));
                    }
                }
            });
        }
        if waits && !self.led().is_empty() {
            let again = self.shared.now.after(AGAIN);
            self.shared.timers.set(Timer::Handover(id), Some(again));
            return;
        }
        let Some(waiting) = self.shared.requests.stage(id).cloned() else { return };
        let reply = self.handed_over(&waiting);
        self.shared.answer(id, Ok(reply));
    }

    /// Handovers look again when leaderships change.
    pub(super) fn tend_handovers(&mut self) {
        if std::mem::take(&mut self.shared.leadership_changed) {
            let now = self.shared.now;
            self.shared.timers.hasten_handovers(now);
        }
    }

    pub(super) fn handed_over(&self, stage: &Stage) -> Reply {
        let kept = self.led();
        let moved = match stage {
            Stage::HandingOver { groups } => groups
                .iter()
                .filter(|shard| !kept.contains(&GroupId::Shard(**shard)))
                .copied()
                .collect(),
            Stage::Queued(_)
            | Stage::Proposing { .. }
            | Stage::Appended { .. }
            | Stage::Confirming(_)
            | Stage::Applying { .. }
            | Stage::Acknowledging { .. }
            | Stage::Counting { .. }
            | Stage::Knowing { .. } => Vec::new(),
        };
        Reply::HandedOver { moved, kept }
    }

    fn led(&self) -> Vec<GroupId> {
        let node = self.shared.node();
        self.groups
            .values()
            .filter(|group| group.leadership.leader == Some(node))
            .map(|group| group.id)
            .collect()
    }
}
