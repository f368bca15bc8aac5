//! The state store: ordered rows below the log. It has no log of its own; after a crash it stands at its last
//! flush, and the log is replayed from there.
//!
//! Two engines: the LSM tree of the node and a model for the simulation with the same flush semantics. One suite of tests
//! holds for both.

pub mod bulk;
pub mod lsm;
pub mod model;
pub mod wire;

#[cfg(test)]
mod conformance_test;

use std::fmt::Debug;

use bytes::Bytes;

use bulk::{Export, Ingest};
pub use wire::FORMAT_VERSION;

/// Row changes that become visible together and are flushed together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    pub changes: Vec<Change>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    Put {
        row: Bytes,
        value: Bytes,
    },
    Delete {
        row: Bytes,
    },
    /// Every row from `from` on and below `to` that was there before this batch. For ranges that nobody reads any more: it is
    /// carried out in the background after the next flush, and until then the rows may still be read. A row that this batch or a later one puts
    /// stays. What was begun goes on after a restart, once it was flushed; giving it again does no harm.
    DeleteRange {
        from: Bytes,
        to: Bytes,
    },
}

/// A flush that was asked for: everything applied before the call is in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FlushId(pub u64);

/// Rows are not empty, not longer than this, and do not begin with [`RESERVED`].
pub const ROW_BYTES_MAX: usize = 65_535;
/// Rows that begin with this byte are an engine's own: no range shows them.
pub const RESERVED: u8 = 0xff;

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot open the state store in {directory}")]
    Open {
        directory: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot read the state store")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot flush the state store")]
    Flush(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A consistent state of all rows: of the moment (the store itself) or of a past one (a view).
pub trait Rows {
    /// # Errors
    /// [`StateError::Read`].
    fn row(&self, row: &[u8]) -> Result<Option<Bytes>, StateError>;

    /// Rows from `from` (included) to `to` (excluded) in order, at most `count_max` of them.
    ///
    /// # Errors
    /// [`StateError::Read`].
    fn range(
        &self,
        from: &[u8],
        to: &[u8],
        count_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StateError>;
}

/// An engine. Clones are handles to the same state; reads may run on any thread beside the one writer.
pub trait StateStore: Rows + Clone {
    type View: Rows;
    type Export: Export + 'static;
    type Ingest: Ingest + 'static;

    /// Visible at once, durable with a later flush. When a batch names a row more than once, the last change counts. Never blocks on the disk but for back-pressure of the engine.
    fn apply(&self, batch: Batch);

    /// The rows as they are now, unchanged by later batches for as long as the view is held.
    fn view(&self) -> Self::View;

    /// The view's rows from `from` (included) to `to` (excluded), without their first `cut` bytes, as pages of about
    /// `page_bytes`.
    fn export(
        &self,
        view: Self::View,
        from: Bytes,
        to: Bytes,
        cut: usize,
        page_bytes: usize,
    ) -> Self::Export;

    /// Takes rows in bulk, each behind `prefix`; `end` is the first row after all that begin so.
    fn ingest(&self, prefix: Bytes, end: Bytes) -> Self::Ingest;

    /// Asks for a flush in the background. Flushes complete in order.
    ///
    /// The caller asks only when its log holds everything durably that was applied: the store on the disk is never ahead
    /// of the log on the disk.
    fn start_flush(&self) -> FlushId;

    /// The newest flush that is complete, if any.
    ///
    /// # Errors
    /// [`StateError::Flush`]: the process must stop.
    fn flushed(&self) -> Result<Option<FlushId>, StateError>;

    /// Roughly how many bytes were applied since the last flush was asked for.
    fn unflushed_bytes(&self) -> u64;
}

impl Batch {
    /// # Panics
    /// When a row is not one (see [`ROW_BYTES_MAX`]): the caller bounds keys.
    fn check(&self) {
        for change in &self.changes {
            let row = match change {
                Change::Put { row, .. } | Change::Delete { row } => row,
                Change::DeleteRange { .. } => continue,
            };
            assert!((1..=ROW_BYTES_MAX).contains(&row.len()), "a row has 1 to 65535 bytes");
            assert_ne!(row[0], RESERVED, "rows that begin with 0xff are the engine's own");
        }
    }

    /// What it adds to the unflushed bytes.
    fn bytes(&self) -> u64 {
        /// What an engine holds for a row beside its bytes, roughly.
        const OVERHEAD_BYTES: usize = 64;
        let bytes: usize = self
            .changes
            .iter()
            .map(|change| match change {
                Change::Put { row, value } => row.len() + value.len() + OVERHEAD_BYTES,
                Change::Delete { row } => row.len() + OVERHEAD_BYTES,
                Change::DeleteRange { from, to } => from.len() + to.len() + OVERHEAD_BYTES,
            })
            .sum();
        bytes as u64
    }
}

/// `to`, or the first reserved row when that is before it.
fn below_reserved(to: &[u8]) -> &[u8] {
    const FIRST_RESERVED: &[u8] = &[RESERVED];
    to.min(FIRST_RESERVED)
}
