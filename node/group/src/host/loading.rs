//! Entries read from the log for followers that are behind its cache, within the node's rate of catching up.
//!
//! Reading them takes the disk, the caller's time and the network away from clients. A follower that would not catch up
//! otherwise is exempt, as it is with snapshots.

use quorate_model::{LogIndex, NodeId};
use quorate_replication::single_leader::{Entry, Input};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::Turn;
use super::group::Task;
use super::timers::Timer;

/// What the protocol asked for and has not been given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Load {
    pub(super) from: LogIndex,
    pub(super) bytes_max: usize,
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// Every load is answered: at once, or when the rate allows it.
    pub(super) fn load_wanted(&mut self, to: NodeId, load: Load) {
        self.watch_paces();
        let hurried = self.group.paces.is_slower(to);
        match self.shared.rate.wait(self.shared.now).filter(|_| !hurried) {
            None => self.load(to, load),
            Some(at) => {
                self.group.loads.insert(to, load);
                self.timer(Timer::Load(self.group.id, to), at);
            }
        }
    }

    pub(super) fn load_due(&mut self, to: NodeId) {
        if let Some(load) = self.group.loads.remove(&to) {
            self.load_wanted(to, load);
        }
    }

    /// This replica leads no longer: nobody waits for them.
    pub(super) fn drop_loads(&mut self) {
        for to in std::mem::take(&mut self.group.loads).into_keys() {
            self.shared.timers.set(Timer::Load(self.group.id, to), None);
        }
    }

    fn load(&mut self, to: NodeId, Load { from, bytes_max }: Load) {
        match self.shared.persisting.load(self.group.id, from, bytes_max) {
            Ok(entries) => {
                // INV-20: what is read back is what was written, in order and without a gap.
                assert!(entries.first().is_none_or(|first| first.index() == from));
                let bytes = entries.iter().map(Entry::bytes).sum();
                self.shared.rate.pay(self.shared.now, bytes);
                self.group.tasks.push_back(Task::Step(Input::Loaded { to, from, entries }));
            }
            Err(reason) => self.shared.fatal(reason),
        }
    }
}
