//! Deleting ranges in the background.
//!
//! Nothing is deleted before a flush made the batch durable that asked for it: dropping a table cannot be undone, and a
//! store that goes back to its last flush must find there what the log's replay from that flush will read.
//!
//! What is to be deleted stands in a row of the engine's own from the batch that asked for it until it is done, so that a
//! restart goes on with it. A row is deleted when the batch that put it is older than the one that asked; that is
//! checked under the writer's lock, so that no row put meanwhile is touched.
//!
//! Tables that lie wholly in the range and hold nothing newer are dropped at once, the rest row by row.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use lsm_tree::{AbstractTree, AnyTree, Guard, SeqNo, Slice};

use super::super::{FlushId, RESERVED, below_reserved};
use super::memtable::Row;
use super::version::Version;
use super::{Reader, Shared, lock};

/// How many rows are deleted under one hold of the writer's lock.
const ROWS_PER_STEP: usize = 128;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Deletion {
    /// The batch that asked for it: rows that older ones put go.
    before: SeqNo,
    /// Its place in that batch.
    number: u32,
    from: Bytes,
    to: Bytes,
    /// The flush that makes it durable; `None` when it came from the disk.
    durable_with: Option<FlushId>,
}

/// What asks for a deletion: a batch, and which of its changes.
pub(super) struct Origin {
    pub(super) batch: SeqNo,
    pub(super) number: usize,
    /// The flush that the batch will be in.
    pub(super) flush: FlushId,
}

impl Deletion {
    pub(super) fn new(origin: &Origin, from: &[u8], to: &[u8]) -> Self {
        Self {
            before: origin.batch,
            number: u32::try_from(origin.number).expect("a batch has fewer changes"),
            from: Bytes::copy_from_slice(from),
            to: Bytes::copy_from_slice(below_reserved(to)),
            durable_with: Some(origin.flush),
        }
    }

    /// Whether it may begin.
    pub(super) fn is_durable(&self, flushed: Option<FlushId>) -> bool {
        self.durable_with.is_none_or(|needed| flushed >= Some(needed))
    }

    /// Writes down what is to be done, with the batch that asks for it.
    pub(super) fn note(&self) -> (Slice, Option<Slice>) {
        let mut value = BytesMut::with_capacity(4 + self.from.len() + self.to.len());
        value.put_u32(u32::try_from(self.from.len()).expect("a row is short"));
        value.extend_from_slice(&self.from);
        value.extend_from_slice(&self.to);
        (self.row(), Some(Slice::from(value.freeze())))
    }

    fn row(&self) -> Slice {
        let mut row = BytesMut::with_capacity(13);
        row.put_u8(RESERVED);
        row.put_u64(self.before);
        row.put_u32(self.number);
        Slice::from(row.freeze())
    }

    /// `None` for a row that nobody wrote.
    fn read(row: &[u8], value: &Slice) -> Option<Self> {
        let mut row = row.strip_prefix(&[RESERVED])?;
        let mut value = Bytes::from(value.clone());
        let (before, number) = (row.try_get_u64().ok()?, row.try_get_u32().ok()?);
        let from_bytes = usize::try_from(value.try_get_u32().ok()?).ok()?;
        if from_bytes > value.len() {
            return None;
        }
        let from = value.split_to(from_bytes);
        Some(Self { before, number, from, to: value, durable_with: None })
    }
}

/// What was asked for and is not done, oldest first.
pub(super) fn pending(tree: &AnyTree, visible: SeqNo) -> lsm_tree::Result<VecDeque<Deletion>> {
    let mut found = VecDeque::new();
    for item in tree.prefix([RESERVED], visible, None) {
        let (row, value) = item.into_inner()?;
        let deletion = Deletion::read(&row, &value).ok_or(lsm_tree::Error::Unrecoverable)?;
        found.push_back(deletion);
    }
    Ok(found)
}

/// Deletes the rows and then the note. Stops in between when the store is closed: the note goes on.
pub(super) fn carry_out(shared: &Shared, deletion: &Deletion) -> lsm_tree::Result<()> {
    if deletion.from < deletion.to {
        drop_tables(shared, deletion)?;
        let mut from = deletion.from.clone();
        while let Some(next) = delete_some(shared, deletion, &from)? {
            if lock(&shared.work).ending {
                return Ok(());
            }
            from = next;
        }
    }
    let writer = lock(&shared.writer);
    shared.change(&writer, shared.seqno.next(), vec![(deletion.row(), None)]);
    drop(writer);
    let mut work = lock(&shared.work);
    assert_eq!(
        work.deletions.front(),
        Some(deletion),
        "ranges are deleted in order, by one thread"
    );
    work.deletions.pop_front();
    work.compaction_due = true;
    Ok(())
}

/// This thread is the only one that compacts, and no flush adds a table while its lock is held.
fn drop_tables(shared: &Shared, deletion: &Deletion) -> lsm_tree::Result<()> {
    let flushing = lock(&shared.flushing);
    let version = shared.tree.current_version();
    let mut inside = version
        .iter_tables()
        .filter(|table| {
            let range = &table.metadata.key_range;
            range.min() >= &deletion.from && range.max() < &deletion.to
        })
        .peekable();
    if inside.peek().is_some() && inside.all(|table| table.get_highest_seqno() < deletion.before) {
        shared.tree.drop_range(deletion.from.as_ref()..deletion.to.as_ref())?;
    }
    let tables = Version::newest(&shared.tree);
    let writer = lock(&shared.writer);
    let replaced = shared.publish_rows(&writer, tables);
    drop((writer, flushing));
    drop(replaced);
    Ok(())
}

/// Looks at the next few rows from `from` on. Answers where to go on.
fn delete_some(
    shared: &Shared,
    deletion: &Deletion,
    from: &Bytes,
) -> lsm_tree::Result<Option<Bytes>> {
    // Read before the lock is taken, so that the blocks are in memory when it is held.
    let rows = {
        let _reader = Reader::new(shared);
        let now = shared.now().clone();
        now.rows(from, &deletion.to)
            .take(ROWS_PER_STEP)
            .map(|item| item.map(|(row, _)| row))
            .collect::<lsm_tree::Result<Vec<Slice>>>()?
    };
    let Some(last) = rows.last() else { return Ok(None) };
    let mut next = BytesMut::with_capacity(last.len() + 1);
    next.extend_from_slice(last);
    next.put_u8(0);
    let mut writer = lock(&shared.writer);
    let mut old = Vec::new();
    for row in rows {
        if newest(shared, &row)?.is_some_and(|at| at < deletion.before) {
            writer.unflushed_bytes += row.len() as u64;
            old.push((row, None));
        }
    }
    shared.change(&writer, shared.seqno.next(), old);
    drop(writer);
    Ok(Some(next.freeze()))
}

/// When the row was changed last.
fn newest(shared: &Shared, row: &Slice) -> lsm_tree::Result<Option<SeqNo>> {
    let now = shared.now().clone();
    let at = now.memtables.newest(&Row::new(row.clone())).map(|newest| newest.at);
    if at.is_some() {
        return Ok(at);
    }
    let entry = now.tables.find(row, SeqNo::MAX)?;
    Ok(entry.map(|entry| entry.key.seqno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_begins_when_the_flush_with_its_batch_is_complete() {
        let origin = Origin { batch: 7, number: 0, flush: FlushId(1) };
        let deletion = Deletion::new(&origin, b"a", b"b");
        assert!(!deletion.is_durable(None) && !deletion.is_durable(Some(FlushId(0))));
        assert!(deletion.is_durable(Some(FlushId(1))));
        let value = Slice::from([0, 0, 0, 1, b'a', b'b']);
        let read = Deletion::read(&deletion.row(), &value).unwrap();
        assert!(read.is_durable(None), "what is found at start was flushed");
    }
}
