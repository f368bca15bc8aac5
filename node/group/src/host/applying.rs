//! Committed entries become rows: one batch for all that the protocol hands out at once, the standing in it.
//!
//! Keeps INV-20 (in order, without a gap, each once) on this side of the protocol: the standing says what the rows hold, so
//! that a crash between the log and the state store is only a longer replay. Answers leave when their rows are visible.

use bytes::Bytes;
use quorate_model::planted::{self, Bug};
use quorate_model::{Epoch, GroupId, LogIndex, Position};
use quorate_replication::single_leader::{Entry, Input, Payload};
use quorate_storage::disk::Disk;
use quorate_storage::state::{Batch, Change, StateError, StateStore};

use super::group::Task;
use super::persisting::describe;
use super::rows::{Standing, empty_generation};
use super::topology::SetTopology;
use super::{Failure, RequestId, Turn};
use crate::keyspace::Effects;

/// Requests whose index came, and what they are answered.
enum Fate {
    Applied(RequestId, Option<Result<Epoch, Failure>>),
    Lost(RequestId),
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    pub(super) fn apply(&mut self, entries: Vec<Entry>) {
        let Some(last) = entries.last().map(Entry::index) else { return };
        let mut batch = Batch::default();
        let mut fates = Vec::new();
        for entry in entries {
            // What an installed snapshot brought is there already.
            if entry.index() <= self.group.standing.applied.index {
                continue;
            }
            if let Err(what) = self.apply_entry(entry, &mut batch, &mut fates) {
                self.shared.fatal(format!("{}: {what}", self.group.id));
                return;
            }
        }
        if !batch.changes.is_empty() || self.group.standing.applied.index == last {
            self.apply_batch(batch);
        }
        for fate in fates {
            match fate {
                Fate::Applied(id, epoch) => self.answer_applied(id, epoch),
                Fate::Lost(id) => self.answer_lost(id),
            }
        }
        self.release_applied();
        self.group.tasks.push_back(Task::Step(Input::Applied { index: last }));
    }

    /// Makes changes visible together with the group's standing.
    pub(super) fn apply_batch(&mut self, mut batch: Batch) {
        batch.changes.push(self.group.standing.put(self.group.id));
        self.shared.state.apply(batch);
        self.shared.note_unflushed(self.group.id);
    }

    fn apply_entry(
        &mut self,
        entry: Entry,
        batch: &mut Batch,
        fates: &mut Vec<Fate>,
    ) -> Result<(), String> {
        let position = entry.position;
        let applied = self.group.standing.applied;
        // INV-20: the next entry, and no other; terms never go back along the log.
        assert_eq!(position.index, applied.index.next());
        assert!(position.term >= applied.term);
        let mut epoch = None;
        match entry.payload {
            Payload::Empty => {}
            Payload::Configuration(configuration) => {
                self.group.standing.configuration = configuration;
                self.shared.status_changed = true;
            }
            Payload::Command(command) => match self.group.id {
                GroupId::Meta => epoch = Some(self.apply_topology(&command, batch)?),
                GroupId::Shard(_) => self.apply_effects(position.index, command, batch)?,
            },
        }
        self.group.standing.applied = position;
        self.group.standing.installed = false;
        self.take_fates(position, &epoch, fates);
        Ok(())
    }

    fn apply_effects(
        &mut self,
        index: LogIndex,
        command: Bytes,
        batch: &mut Batch,
    ) -> Result<(), String> {
        let effects = Effects::decode(command).map_err(|error| error.to_string())?;
        if effects.clear {
            batch.changes.push(self.group.prefix().clear());
            let generation = self.take_generation().map_err(|error| describe(&error))?;
            self.group.standing.generation = generation;
        }
        let prefix = self.group.prefix();
        for change in &effects.changes {
            let row = prefix.row(&change.row);
            batch.changes.push(match &change.value {
                Some(value) => Change::Put { row, value: value.clone() },
                None => Change::Delete { row },
            });
        }
        let standing = &mut self.group.standing;
        let before = if effects.clear { 0 } else { standing.keys };
        standing.keys = count(before, effects.keys)?;
        standing.time = standing.time.max(effects.time);
        self.group.writes.overlay.applied(index, &effects);
        Ok(())
    }

    /// The compare-and-set happens here, the same on every replica.
    fn apply_topology(
        &mut self,
        command: &[u8],
        batch: &mut Batch,
    ) -> Result<Result<Epoch, Failure>, String> {
        let command = SetTopology::decode(command)?;
        let following = &mut self.shared.following;
        if let Err(failure) = command.check(self.shared.start.store, following.topology()) {
            return Ok(Err(failure));
        }
        let epoch = command.topology.epoch;
        batch.changes.push(command.put(self.group.prefix()));
        following.set(command.topology);
        self.shared.status_changed = true;
        Ok(Ok(epoch))
    }

    /// Every request whose index this is: done in this term, lost in any other.
    fn take_fates(
        &mut self,
        position: Position,
        epoch: &Option<Result<Epoch, Failure>>,
        fates: &mut Vec<Fate>,
    ) {
        let appended = &mut self.group.writes.appended;
        while let Some(first) = appended.first_entry()
            && first.key().0 <= position.index
        {
            let ((index, term), id) = first.remove_entry();
            assert_eq!(index, position.index, "no index is passed without its requests");
            fates.push(if term == position.term || planted::is(Bug::AcknowledgeByIndex) {
                Fate::Applied(id, epoch.clone())
            } else {
                Fate::Lost(id)
            });
        }
    }

    /// A snapshot took the state beyond these requests' entries: what became of them stays open.
    pub(super) fn open_fates(&mut self, through: LogIndex) {
        while let Some(first) = self.group.writes.appended.first_entry()
            && first.key().0 <= through
        {
            let id = first.remove();
            self.answer_open(id);
        }
    }

    /// A generation for new rows.
    pub(super) fn take_generation(&mut self) -> Result<u32, StateError> {
        let group = &mut self.group;
        let generation = empty_generation(&self.shared.state, group.id, group.next_generation)?;
        assert!(generation > group.standing.generation);
        group.next_generation = generation + 1;
        Ok(generation)
    }

    /// The standing and the rows come from elsewhere.
    pub(super) fn replace_standing(&mut self, standing: Standing) {
        let before = &self.group.standing;
        assert!(standing.applied.index >= before.applied.index, "the state never goes back");
        assert!(standing.generation > before.generation);
        self.group.standing = standing;
        self.open_fates(self.group.standing.applied.index);
        self.release_applied();
    }
}

fn count(before: u64, change: i64) -> Result<u64, String> {
    before
        .checked_add_signed(change)
        .ok_or_else(|| format!("an entry takes {change} from {before} keys"))
}
