//! What the coordinator's replica knows: what is decided without asking anybody.

use bytes::Bytes;
use quorate_model::{ConflictPolicy, WallTime};
use quorate_replication::causal::{Cell, Change, Content, Context};
use quorate_replication::leaderless::CellKey;

use super::layout::{Bounds, Named, cells_of, fields_of, string_cell};
use super::shown::{Shown, lives, shown};
use crate::{CollectionKind, Expiry, KeyType, ValueError};

/// How many cells are looked at for one that lives, before a key counts as one of another type.
const LOOKED_MAX: usize = 1_024;
/// How many cells one look brings.
pub(super) const PAGE_MAX: usize = 1_024;
/// Cells that one operation removes, and bytes of their keys.
const REMOVED_MAX: usize = 50_000;
const REMOVED_BYTES_MAX: usize = 8 << 20;

type Range<'a> = dyn Fn(&Bytes, &Bytes, usize) -> Vec<(CellKey, Cell)> + 'a;

/// What the coordinator's replica knows, and when.
pub(crate) struct Local<'a> {
    pub(crate) cell: &'a dyn Fn(&CellKey) -> Cell,
    /// From the first on, before the second, at most so many.
    pub(crate) range: &'a Range<'a>,
    pub(crate) conflicts: ConflictPolicy,
    pub(crate) now: WallTime,
    /// Where random picks come from: new for each operation.
    pub(crate) seed: u64,
}

/// What takes a key away.
#[derive(Debug, Default)]
pub(super) struct Removal {
    pub(super) changes: Vec<(CellKey, Change)>,
    /// Whether there was anything to read.
    pub(super) lived: bool,
}

impl Local<'_> {
    pub(super) fn cell(&self, key: &CellKey) -> Cell {
        (self.cell)(key)
    }

    pub(super) fn shown(&self, key: &CellKey) -> Result<Option<Shown>, ValueError> {
        shown(&self.cell(key), self.conflicts, self.now)
    }

    pub(super) fn lives(&self, cell: &Cell) -> bool {
        lives(cell, self.conflicts, self.now)
    }

    /// As Redis, whose keys are of one type. Here concurrent writes may give a key several: then it is of each of them.
    ///
    /// # Errors
    /// [`ValueError::WrongType`] where the key is of another type only.
    pub(super) fn check_type(&self, key: &Bytes, wanted: KeyType) -> Result<(), ValueError> {
        let own = match wanted {
            KeyType::String => self.lives(&self.cell(&string_cell(key)?)),
            KeyType::Hash => self.any_lives(fields_of(key, CollectionKind::Hash)?),
            KeyType::Set => self.any_lives(fields_of(key, CollectionKind::Set)?),
        };
        if own || !self.any_lives(cells_of(key)?) { Ok(()) } else { Err(ValueError::WrongType) }
    }

    /// Whether the first cells hold one that lives.
    pub(super) fn any_lives(&self, bounds: Bounds) -> bool {
        const PAGE: usize = 8;
        let mut found = false;
        let mut looked = 0;
        self.visit(bounds, PAGE, |_, cell| {
            looked += 1;
            found = self.lives(cell);
            !found && looked < LOOKED_MAX
        });
        found
    }

    /// Gives every cell to `visit`, until it answers `false`. The first page is as large as is said, the next ones larger.
    pub(super) fn visit(
        &self,
        Bounds { mut from, to }: Bounds,
        mut page: usize,
        mut visit: impl FnMut(&CellKey, &Cell) -> bool,
    ) {
        loop {
            let cells = (self.range)(&from, &to, page);
            for (key, cell) in &cells {
                if !visit(key, cell) {
                    return;
                }
            }
            match cells.last() {
                Some((last, _)) if cells.len() == page => from = last.next(),
                Some(_) | None => return,
            }
            page = PAGE_MAX.min(4 * page);
        }
    }

    /// All that this replica knows of these cells goes.
    ///
    /// # Errors
    /// [`ValueError::TooManyElements`]: a removal is one entry of the log.
    pub(super) fn removal_of(&self, bounds: Bounds) -> Result<Removal, ValueError> {
        const PAGE: usize = 16;
        let mut removal = Removal::default();
        let mut bytes = 0;
        self.visit(bounds, PAGE, |key, cell| {
            if let Some(named) = Named::of(key).filter(|_| !cell.is_tombstone()) {
                removal.lived |= self.lives(cell);
                bytes += key.bytes().len();
                removal.changes.push((key.clone(), self.removal(named.kind, None)));
            }
            removal.changes.len() <= REMOVED_MAX && bytes <= REMOVED_BYTES_MAX
        });
        if removal.changes.len() > REMOVED_MAX || bytes > REMOVED_BYTES_MAX {
            return Err(ValueError::TooManyElements(REMOVED_MAX as u64));
        }
        Ok(removal)
    }

    /// Where the last writer wins, a removal must have a time to win by. A member goes by observation alone.
    pub(super) fn removal(&self, kind: KeyType, context: Option<Context>) -> Change {
        match (kind, self.conflicts) {
            (KeyType::String | KeyType::Hash, ConflictPolicy::LastWriterWins) => {
                Change::Put { content: Content::Removed, context }
            }
            (KeyType::Set, _) | (_, ConflictPolicy::Merge | ConflictPolicy::Siblings) => {
                Change::Remove { context }
            }
        }
    }

    pub(super) fn time(&self, expiry: Expiry) -> Option<WallTime> {
        match expiry {
            Expiry::Never | Expiry::Keep => None,
            Expiry::At(at) => Some(at),
            Expiry::In { ms } => Some(WallTime(self.now.0.saturating_add_signed(ms))),
        }
    }
}
