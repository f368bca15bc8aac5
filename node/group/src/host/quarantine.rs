//! A replica whose state is wrong, or cannot be read, or which cannot take what the log holds: it is taken out and rebuilt.
//!
//! Keeps INV-36. Its log is whole and goes on: it votes and acknowledges, and applies, answers and streams nothing until a snapshot has
//! replaced its rows. A leader hands over. That a replica is out is stored, so that a restart does not bring it back before its
//! snapshot. The only replica of a group cannot be rebuilt: its node stops and says why.

use quorate_model::GroupId;
use quorate_replication::single_leader::Input;
use quorate_storage::disk::Disk;
use quorate_storage::state::{Batch, StateError, StateStore};

use super::Turn;
use super::group::Task;
use super::persisting::describe;
use super::rows::Health;

/// Why an entry was not applied, or a state not read.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Nobody can help: the process stops.
    Fatal(String),
    /// Another replica's state can.
    State(String),
}

impl From<StateError> for Refusal {
    fn from(error: StateError) -> Self {
        Self::State(describe(&error))
    }
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    pub(super) fn refuse_state(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::Fatal(why) => self.shared.fatal(format!("{}: {why}", self.group.id)),
            Refusal::State(why) => self.quarantine(why),
        }
    }

    /// Takes this replica out of its group until a snapshot has replaced its rows.
    pub(super) fn quarantine(&mut self, why: String) {
        if self.group.is_quarantined() {
            return;
        }
        let voters = &self.group.replica.configuration().voters;
        let node = self.shared.node();
        // The meta group's rows are what the node itself goes by.
        if self.group.id == GroupId::Meta || (voters.len() == 1 && voters.contains(&node)) {
            return self.shared.fatal(format!("{}: {why}", self.group.id));
        }
        self.group.quarantined = Some(why);
        self.shared.quarantines += 1;
        self.shared.status_changed = true;
        // Nobody is given these rows.
        self.abort_outgoing();
        // The standing goes alone: the rows below it are of no use.
        self.group.standing.health = Health::Quarantined;
        let changes = vec![self.group.standing.put(self.group.id)];
        self.shared.state.apply(Batch { changes });
        self.shared.note_unflushed(self.group.id);
        self.group.tasks.push_back(Task::Step(Input::StateDamaged));
    }

    /// It was taken out before the process started.
    pub(super) fn resume_quarantine(&mut self) {
        self.group.quarantined = Some("its state was found wrong before a restart".to_owned());
        self.group.tasks.push_back(Task::Step(Input::StateDamaged));
    }
}
