//! Committed entries become rows: one batch for all that the protocol hands out at once, the standing in it.
//!
//! Keeps INV-20 (in order, without a gap, each once) on this side of the protocol: the standing says what the rows hold, so
//! that a crash between the log and the state store is only a longer replay. Answers leave when their rows are visible.

use std::borrow::Cow;
use std::mem;

use bytes::Bytes;
use quorate_model::planted::{self, Bug};
use quorate_model::{Epoch, GroupId, LogIndex, Position, WallTime};
use quorate_replication::single_leader::{Entry, Input, Payload};
use quorate_storage::disk::Disk;
use quorate_storage::state::{Batch, Change, StateError, StateStore};

use super::group::Task;
use super::quarantine::Refusal;
use super::rows::{Standing, empty_generation};
use super::timers::Timer;
use super::topology::{self, SetTopology};
use super::{Failure, RequestId, Turn};
#[cfg(test)]
use crate::Write;
use crate::entry::{Command, CommandError, Statement, Wal};
#[cfg(test)]
use crate::entry::{Pin, unpinned};
use crate::keyspace::{Effects, View};

/// Requests whose index came, and what they are answered.
enum Fate {
    Applied(RequestId, Option<Result<Epoch, Failure>>),
    Lost(RequestId),
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    pub(super) fn apply(&mut self, entries: Vec<Entry>) {
        // What a replica that is taken out would do to its rows is of no use.
        if self.group.is_quarantined() {
            return;
        }
        let Some(last) = entries.last().map(Entry::index) else { return };
        let mut batch = Batch::default();
        let mut fates = Vec::new();
        let mut refusal = None;
        for entry in entries {
            // What an installed snapshot brought is there already.
            if entry.index() <= self.group.standing.applied.index {
                continue;
            }
            if let Err(refused) = self.apply_entry(entry, &mut batch, &mut fates) {
                refusal = Some(refused);
                break;
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
        self.wake_expiry();
        self.exchange_applied();
        match refusal {
            Some(refusal) => self.refuse_state(refusal),
            None => self.group.tasks.push_back(Task::Step(Input::Applied { index: last })),
        }
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
    ) -> Result<(), Refusal> {
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
                if self.group.leadership.leading {
                    // Others are members.
                    self.shared.timers.set(Timer::Format(self.group.id), Some(self.shared.now));
                }
            }
            Payload::Command(command) => match self.group.id {
                GroupId::Meta => {
                    let set = self.apply_topology(&command, batch).map_err(Refusal::Fatal)?;
                    epoch = Some(set);
                }
                GroupId::Shard(_) => self.apply_command(position, command, batch)?,
            },
        }
        self.group.standing.applied = position;
        self.group.standing.installed = false;
        self.take_fates(position, &epoch, fates);
        Ok(())
    }

    fn apply_command(
        &mut self,
        position: Position,
        command: Bytes,
        batch: &mut Batch,
    ) -> Result<(), Refusal> {
        let index = position.index;
        let engine = self.shared.settings.engine_format;
        let command = match Command::decode(command, engine) {
            Ok(command) => command,
            Err(error) => {
                let what = format!("entry {index}: {error}");
                return Err(match error {
                    CommandError::Engine { .. } => {
                        self.tell_leader_engine();
                        Refusal::State(what)
                    }
                    CommandError::Unknown(_)
                    | CommandError::Logical(_)
                    | CommandError::Malformed(_)
                    | CommandError::Empty => Refusal::Fatal(what),
                });
            }
        };
        match command {
            Command::Logical(effects) => self.apply_effects(index, &effects, batch),
            Command::Changes(changes) => {
                self.note_known(position, &changes);
                self.apply_effects(index, &changes.effects, batch)
            }
            Command::Statement(statement) => {
                let effects = self.evaluate_statement(&statement, batch)?;
                self.apply_effects(index, &effects, batch)
            }
            Command::Wal(wal) => self.apply_wal(index, &wal, batch),
            Command::Switch(switch) => {
                self.group.standing.format = switch.format;
                self.shared.status_changed = true;
                Ok(())
            }
            Command::Mark(mark) => {
                self.settle(batch);
                self.apply_mark(index, &mark)
            }
        }
    }

    /// What the entries before this one did is in the rows.
    fn settle(&mut self, batch: &mut Batch) {
        if !batch.changes.is_empty() {
            self.apply_batch(mem::take(batch));
        }
    }

    fn evaluate_statement(
        &mut self,
        statement: &Statement,
        batch: &mut Batch,
    ) -> Result<Effects, Refusal> {
        // Each statement on what those before it left, whoever applies how many at once.
        #[cfg(not(test))]
        let ordered = true;
        #[cfg(test)]
        let ordered = !unpinned::is(Pin::Order);
        if ordered {
            self.settle(batch);
        }
        let statement = self.unpin(statement);
        let prefix = self.group.prefix();
        let view = View::applied(&self.shared.state, prefix.as_slice(), self.group.standing.keys);
        Ok(statement.evaluate(&view)?.effects)
    }

    /// The statement itself; in tests that take a pin away, what a replica would make of it then.
    fn unpin<'a>(&self, statement: &'a Statement) -> Cow<'a, Statement> {
        if planted::is(Bug::UnpinnedTime) {
            return Cow::Owned(Statement { time: self.shared.wall, ..statement.clone() });
        }
        #[cfg(test)]
        {
            let trigger = matches!(statement.write, Write::RemoveExpired { .. });
            if unpinned::is(Pin::Time) || (unpinned::is(Pin::Expiry) && trigger) {
                return Cow::Owned(Statement { time: self.shared.wall, ..statement.clone() });
            }
            if unpinned::is(Pin::Seed) {
                return Cow::Owned(Statement { seed: self.shared.start.seed, ..statement.clone() });
            }
        }
        Cow::Borrowed(statement)
    }

    fn apply_effects(
        &mut self,
        index: LogIndex,
        effects: &Effects,
        batch: &mut Batch,
    ) -> Result<(), Refusal> {
        self.begin_rows(effects.clear, batch)?;
        let prefix = self.group.prefix();
        for change in &effects.changes {
            let row = prefix.row(&change.row);
            batch.changes.push(match &change.value {
                Some(value) => Change::Put { row, value: value.clone() },
                None => Change::Delete { row },
            });
        }
        self.count_rows(effects.clear, effects.keys, effects.time)?;
        self.group.writes.overlay.applied(index, effects);
        Ok(())
    }

    /// The engine's batch, as it is.
    fn apply_wal(&mut self, index: LogIndex, wal: &Wal, batch: &mut Batch) -> Result<(), Refusal> {
        self.begin_rows(wal.clear, batch)?;
        batch.changes.extend(wal.changes_under(self.group.prefix().as_array()));
        self.count_rows(wal.clear, wal.keys, wal.time)?;
        if !self.group.writes.overlay.is_empty() {
            self.group.writes.overlay.applied(index, &wal.effects());
        }
        Ok(())
    }

    /// Where all rows go, what comes with the entry has another generation.
    fn begin_rows(&mut self, clear: bool, batch: &mut Batch) -> Result<(), Refusal> {
        if clear {
            batch.changes.push(self.group.prefix().clear());
            self.group.standing.generation = self.take_generation()?;
        }
        Ok(())
    }

    fn count_rows(&mut self, clear: bool, keys: i64, time: WallTime) -> Result<(), Refusal> {
        let standing = &mut self.group.standing;
        let before = if clear { 0 } else { standing.keys };
        // Fewer keys than none: the rows are not those that the leader had.
        let wrong = || Refusal::State(format!("an entry takes {keys} from {before} keys"));
        standing.keys = before.checked_add_signed(keys).ok_or_else(wrong)?;
        standing.time = standing.time.max(time);
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
        let topology = command.outcome(following.topology());
        let epoch = topology.epoch;
        batch.changes.push(topology::put(&topology, self.group.prefix()));
        following.set(topology);
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
        self.group.checks.forget();
        if self.group.quarantined.take().is_some() {
            self.shared.status_changed = true;
        }
        self.open_fates(self.group.standing.applied.index);
        self.release_applied();
    }
}
