//! The state store: ordered rows below the log. It has no log of its own; after a crash it stands at its last
//! flush, and the log is replayed from there.
//!
//! Two engines: the LSM tree of the node and a model for the simulation with the same flush semantics.

use std::fmt::Debug;

use bytes::Bytes;

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
    /// Every row from `from` on and below `to`. For ranges that nobody reads any more; may be carried out lazily, but
    /// never touches a row that is put after it.
    DeleteRange {
        from: Bytes,
        to: Bytes,
    },
}

/// A flush that was asked for: everything applied before the call is in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FlushId(pub u64);

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

    /// Visible at once, durable with a later flush. Never blocks on the disk but for back-pressure of the engine.
    fn apply(&self, batch: Batch);

    /// The rows as they are now, unchanged by later batches for as long as the view is held.
    fn view(&self) -> Self::View;

    /// Asks for a flush in the background. Flushes complete in order.
    fn start_flush(&self) -> FlushId;

    /// The newest flush that is complete, if any.
    ///
    /// # Errors
    /// [`StateError::Flush`]: the process must stop.
    fn flushed(&self) -> Result<Option<FlushId>, StateError>;

    /// Roughly how many bytes were applied since the last flush was asked for.
    fn unflushed_bytes(&self) -> u64;
}
