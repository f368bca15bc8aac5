//! The node's log on behalf of all groups: what the protocol wants durable becomes records, one batch in flight, and
//! every group hears through which persist it is durable.
//!
//! While the log is damaged nothing is written to it: its replicas promise nothing, so their persists count as done, and
//! what is there stays until every group is repaired.

use std::collections::VecDeque;

use bytes::Bytes;
use quorate_model::{GroupId, LogIndex, Position, Term, Time};
use quorate_replication::causal::Cell;
use quorate_replication::leaderless::{self, CellKey};
use quorate_replication::single_leader::{Configuration, Entry, HardState, Payload, PersistId};
use quorate_storage::disk::{Completion, Disk};
use quorate_storage::log::{self, BatchId, Body, EntryKind, Log, LogError, OpenError, Record};

use super::leaderless::Role;
use super::rest::Rest;
use super::rows;

/// The largest command: an entry fits well into a record of the log and into a message between nodes, so that a queue
/// which is not empty takes it, too.
pub(super) const COMMAND_BYTES_MAX: usize = log::RECORD_BYTES_MAX / 2;

const EMPTY: EntryKind = EntryKind(0);
const CONFIGURATION: EntryKind = EntryKind(1);
const COMMAND: EntryKind = EntryKind(2);
const CELLS: EntryKind = EntryKind(3);
const ROLE: EntryKind = EntryKind(4);
/// Without a leader there are no terms.
const CELLS_TERM: Term = Term(1);

pub(super) struct Persisting<D> {
    /// `None` only while it starts over.
    log: Option<Log<D>>,
    settings: log::Settings,
    damaged: bool,
    /// Which batch makes which persist durable, in order.
    issued: VecDeque<(BatchId, GroupId, PersistId)>,
    done: Vec<(GroupId, PersistId)>,
    /// Since when something is not durable.
    busy_since: Option<Time>,
    rest: Rest,
    /// Payload bytes appended since the start, on top of what was there.
    written: u64,
}

impl<D: Disk> Persisting<D> {
    pub(super) fn new(log: Log<D>, settings: log::Settings, damaged: bool) -> Self {
        let written = log.bytes();
        Self {
            log: Some(log),
            settings,
            damaged,
            issued: VecDeque::new(),
            done: Vec::new(),
            busy_since: None,
            rest: Rest::default(),
            written,
        }
    }

    /// Appends what a replica wants durable.
    ///
    /// The hard state goes first: should a crash leave only a part, no entry is of a later term than it.
    pub(super) fn persist(
        &mut self,
        group: GroupId,
        id: PersistId,
        hard_state: Option<HardState>,
        truncate_from: Option<LogIndex>,
        entries: Vec<Entry>,
    ) {
        if self.damaged {
            assert!(entries.is_empty(), "a damaged replica takes no entries");
            self.done.push((group, id));
            return;
        }
        let mut batch = None;
        if let Some(HardState { term, vote }) = hard_state {
            batch = Some(self.append(group, Body::HardState { term, vote }));
        }
        if let Some(from) = truncate_from {
            batch = Some(self.append(group, Body::Cut { from }));
        }
        self.rest.gather(entries.len());
        for entry in entries {
            let (kind, payload) = encode(entry.payload);
            let position = entry.position;
            batch = Some(self.append(group, Body::Entry { position, kind, payload }));
        }
        match batch {
            Some(batch) => {
                // INV-19: persists complete in the order of their issue.
                assert!(self.issued.back().is_none_or(|(newest, ..)| *newest <= batch));
                self.issued.push_back((batch, group, id));
            }
            None => self.done.push((group, id)),
        }
    }

    /// Appends cells that a shard without a leader wants durable, encoded. Answers which entry they are.
    pub(super) fn persist_cells(
        &mut self,
        group: GroupId,
        id: leaderless::PersistId,
        cells: &[(CellKey, Bytes)],
    ) -> LogIndex {
        self.rest.gather(cells.len());
        let (index, batch) = self.append_without_leader(group, CELLS, rows::encode_pairs(cells));
        self.issued.push_back((batch, group, PersistId(id.0)));
        index
    }

    /// Appends what the node is to a shard without a leader: durable before whatever follows.
    pub(super) fn persist_role(&mut self, group: GroupId, role: Role) {
        self.append_without_leader(group, ROLE, rows::encode(&role));
    }

    fn append_without_leader(
        &mut self,
        group: GroupId,
        kind: EntryKind,
        payload: Bytes,
    ) -> (LogIndex, BatchId) {
        let index = self.log().last(group).index.next();
        let position = Position { term: CELLS_TERM, index };
        (index, self.append(group, Body::Entry { position, kind, payload }))
    }

    /// The shard's rows hold everything through `index` durably.
    pub(super) fn start_cells(&mut self, group: GroupId, index: LogIndex) {
        if index > self.log().start(group).index && index <= self.log().last(group).index {
            let position = Position { term: CELLS_TERM, index };
            self.append(group, Body::Start { position, payload: Bytes::new() });
        }
    }

    /// The group's log starts after `position`.
    pub(super) fn start_log(
        &mut self,
        group: GroupId,
        position: Position,
        configuration: &Configuration,
    ) {
        let payload = rows::encode(configuration);
        self.append(group, Body::Start { position, payload });
    }

    pub(super) fn hard_state(&mut self, group: GroupId, hard_state: HardState) {
        let HardState { term, vote } = hard_state;
        self.append(group, Body::HardState { term, vote });
    }

    /// The group is gone, with everything that it had in the log.
    pub(super) fn forget(&mut self, group: GroupId) {
        self.issued.retain(|(_, issuer, _)| *issuer != group);
        self.done.retain(|(issuer, _)| *issuer != group);
        if !self.damaged && self.log().groups().any(|known| known == group) {
            self.append(group, Body::Forget);
        }
    }

    /// Nobody asks for the group's persists any more; its records stay.
    pub(super) fn disown(&mut self, group: GroupId) {
        self.issued.retain(|(_, issuer, _)| *issuer != group);
        self.done.retain(|(issuer, _)| *issuer != group);
    }

    /// Hands the next batch to the disk, if none is under way. Answers when to ask again, if the log rests.
    pub(super) fn submit(&mut self, now: Time) -> Option<Time> {
        if self.damaged {
            return None;
        }
        if let Some(until) = self.rest.until(now).filter(|_| !self.log().is_writing()) {
            return Some(until).filter(|_| !self.log().is_idle());
        }
        if self.log_mut().submit().is_some() {
            self.rest.begin();
        }
        if self.log().is_idle() {
            self.busy_since = None;
        } else if self.busy_since.is_none() {
            self.busy_since = Some(now);
        }
        None
    }

    /// # Errors
    /// [`LogError`]: the process must stop.
    pub(super) fn completed(&mut self, now: Time, completion: Completion) -> Result<(), LogError> {
        if let Some(durable) = self.log_mut().completed(completion)? {
            if let Some(since) = self.busy_since.take() {
                self.rest.end(now, now.since(since));
            }
            while let Some((batch, group, id)) = self.issued.front().copied()
                && batch <= durable
            {
                self.issued.pop_front();
                self.done.push((group, id));
            }
        }
        Ok(())
    }

    /// Persists that became durable since the last call, in order.
    pub(super) fn take_done(&mut self) -> Vec<(GroupId, PersistId)> {
        std::mem::take(&mut self.done)
    }

    /// Consecutive entries from `from` on; none when they are no longer there.
    ///
    /// # Errors
    /// Why the process must stop.
    pub(super) fn load(
        &self,
        group: GroupId,
        from: LogIndex,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, String> {
        read(self.log(), group, from, bytes_max)
    }

    /// Throws the damaged log away and begins an empty one. Blocks on the disk.
    ///
    /// # Errors
    /// [`OpenError`]: the process must stop.
    pub(super) fn start_over(&mut self) -> Result<(), OpenError> {
        assert!(self.damaged, "only a damaged log is thrown away");
        if let Some(damaged) = self.log.take() {
            let log = Log::start_over(damaged.into_disk(), self.settings)?;
            *self = Self::new(log, self.settings, false);
        }
        Ok(())
    }

    pub(super) const fn busy_since(&self) -> Option<Time> {
        self.busy_since
    }

    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn log_bytes(&self) -> u64 {
        self.log().bytes()
    }

    pub(super) fn syncs(&self) -> u64 {
        self.log().syncs()
    }

    fn append(&mut self, group: GroupId, body: Body) -> BatchId {
        assert!(!self.damaged, "a damaged log is never appended to");
        const RECORD_HEAD: u64 = 32;
        self.written += RECORD_HEAD;
        if let Body::Entry { payload, .. } = &body {
            self.written += payload.len() as u64;
        }
        self.log_mut().append(Record { group, body })
    }

    fn log(&self) -> &Log<D> {
        self.log.as_ref().expect("taken and put back within one call, or the process stops")
    }

    fn log_mut(&mut self) -> &mut Log<D> {
        self.log.as_mut().expect("taken and put back within one call, or the process stops")
    }
}

/// Entries as they were persisted.
///
/// # Errors
/// A sentence for what cannot be read or was not written by this program.
pub(super) fn read<D: Disk>(
    log: &Log<D>,
    group: GroupId,
    from: LogIndex,
    bytes_max: usize,
) -> Result<Vec<Entry>, String> {
    let entries = log.read(group, from, bytes_max).map_err(|error| describe(&error))?;
    entries
        .into_iter()
        .map(|(position, kind, payload)| {
            let payload = decode(kind, payload)
                .map_err(|what| format!("{group}: entry {} {what}", position.index))?;
            Ok(Entry { position, payload })
        })
        .collect()
}

/// What a shard without a leader made durable at once.
pub(super) enum ShardEntry {
    Cells(Vec<(CellKey, Cell)>),
    Role(Role),
}

/// What a shard without a leader persisted, entry by entry.
///
/// # Errors
/// A sentence for what cannot be read or was not written by this program.
pub(super) fn read_shard<D: Disk>(
    log: &Log<D>,
    group: GroupId,
    from: LogIndex,
    bytes_max: usize,
) -> Result<Vec<(LogIndex, ShardEntry)>, String> {
    let entries = log.read(group, from, bytes_max).map_err(|error| describe(&error))?;
    let entry = |(position, kind, payload): log::Entry| {
        let index = position.index;
        let entry = match kind {
            CELLS => rows::decode(&payload).map(ShardEntry::Cells),
            ROLE => rows::decode(&payload).map(ShardEntry::Role),
            EntryKind(kind) => Err(format!("is of kind {kind}")),
        };
        let entry = entry.map_err(|what| format!("{group}: entry {index} {what}"))?;
        Ok((index, entry))
    };
    entries.into_iter().map(entry).collect()
}

/// An error with its causes, in one line: it leaves the process as text.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn encode(payload: Payload) -> (EntryKind, Bytes) {
    match payload {
        Payload::Empty => (EMPTY, Bytes::new()),
        Payload::Configuration(configuration) => (CONFIGURATION, rows::encode(&configuration)),
        Payload::Command(command) => (COMMAND, command),
    }
}

fn decode(kind: EntryKind, payload: Bytes) -> Result<Payload, String> {
    match kind {
        EMPTY => Ok(Payload::Empty),
        CONFIGURATION => rows::decode(&payload).map(Payload::Configuration),
        COMMAND => Ok(Payload::Command(payload)),
        EntryKind(kind) => Err(format!("is of kind {kind}, which this node does not know")),
    }
}

/// The term in which a replica that lost its votes may have voted: it votes for nobody else in it.
pub(super) const fn term_at_least(hard_state: HardState, floor: Term) -> HardState {
    if hard_state.term.0 < floor.0 { HardState { term: floor, vote: None } } else { hard_state }
}
