//! Of several leaders: what stands behind the rows that commands read.
//!
//! Every string, field and member has a cell ([`multi_leader::Cell`]): all values that no known write has replaced. Rows show what a
//! cell reads as, so commands are evaluated as anywhere else, and what they put, add and remove becomes writes of cells.
//! What other datacenters wrote goes the other way: into the cells, and from there into the rows. All of it is row
//! images in one entry, computed by the leader alone; so how conflicts are resolved may be declared anew at any time.
//!
//! | row | value |
//! | --- | --- |
//! | `c` cell key | a cell: 0 actor(8) counter(8) time(8) of a string's value that stands alone, which the header holds; 1 and the cell |
//! | `m` | [`Known`] |
//! | `x`, `x` number(8) | conflicts that were resolved: see `conflicts` |
//!
//! A key may be of several types at once, of each some cells: it reads as a string before a hash, as a hash before a set. A local
//! write replaces all that its datacenter knows of the key, whatever the type.
//!
//! # Rooms
//! `writing` makes writes of what commands do, `taking` does what others wrote, `filling` takes over all that one of them has, `showing` puts into the rows what cells read as,
//! which `reading` decides, `custom` with a script, `siblings` has the commands that see all values, `homes` says where keys
//! are written.

mod conflicts;
mod custom;
mod filling;
mod homes;
mod reading;
mod showing;
mod siblings;
mod taking;
mod writing;

use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::{
    ActorId, Conflicts, Datacenter, Dot, Hlc, Homes, MultiLeaderPolicy, VersionVector,
};
use quorate_replication::causal::{CellKey, Content, Sibling};
use quorate_replication::multi_leader::{Cell, Change};
use quorate_storage::state::{Rows, StateError};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::glob::matches;
use super::layout::{Body, Header};
use super::view::damaged;
use super::{Effects, RowChange, View};
use crate::cells::Named;
use custom::{Policy, Scripts};

pub(super) use conflicts::read as read_conflicts;
pub use conflicts::{CONFLICTS_MAX, Conflict, Conflicting, last as last_conflicts};
pub use custom::check_scripts;
pub use filling::{Portion, Standing, filled, name_of, standing};
pub use homes::{Away, HandOver, are_settled, away, hand_over, hands_over};
pub(super) use homes::{check_watched, read_home, set_home};
pub(super) use siblings::{delete_siblings, read as read_siblings, set_sibling};
pub use taking::{Taken, take};
pub(super) use writing::Writing;

const CELLS: u8 = b'c';
const ALONE: u8 = 0;
const WHOLE: u8 = 1;
const KNOWN_ROW: &[u8] = b"m";

/// Who a leader is among several, and what is declared.
#[derive(Clone, Debug)]
pub struct Leaders {
    /// Whose its writes are.
    pub origin: ActorId,
    conflicts: Conflicts,
    scripts: Scripts,
    pub homes: Homes,
    /// Where it is.
    pub here: Datacenter,
    /// All datacenters.
    places: Vec<Datacenter>,
}

/// What a group has applied.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Known {
    pub vector: VersionVector,
    /// No write that is known is later.
    pub newest: Hlc,
    /// Whose its own writes are, and have been.
    pub own: Vec<ActorId>,
    /// What some cells are beyond that.
    ahead: Vec<filling::Ahead>,
}

impl Leaders {
    #[must_use]
    pub fn new(
        origin: ActorId,
        policy: &MultiLeaderPolicy,
        here: Datacenter,
        places: Vec<Datacenter>,
    ) -> Self {
        let MultiLeaderPolicy { conflicts, homes, .. } = policy.clone();
        Self { origin, scripts: Scripts::of(&conflicts), conflicts, homes, here, places }
    }

    /// The same one under another topology. Scripts that are the same are not read again.
    #[must_use]
    pub fn declared(
        self,
        policy: &MultiLeaderPolicy,
        here: Datacenter,
        places: Vec<Datacenter>,
    ) -> Self {
        if self.conflicts == policy.conflicts {
            return Self { homes: policy.homes.clone(), here, places, ..self };
        }
        Self::new(self.origin, policy, here, places)
    }

    /// An origin of this datacenter that nobody else is.
    #[must_use]
    pub fn origin(place: &Datacenter, number: u32) -> ActorId {
        ActorId(place_bits(place) << 32 | u64::from(number))
    }

    /// How several values of this key are read.
    fn policy<'a>(&'a self, key: &'a [u8]) -> Policy<'a> {
        let named = self.conflicts.keys.iter().find(|one| matches(one.pattern.as_bytes(), key));
        let declared = named.map_or(&self.conflicts.resolution, |one| &one.resolution);
        Policy::new(key, Some(self)).as_declared(declared)
    }

    /// Where an origin is; `None` where no datacenter is any more.
    pub(crate) fn whose(&self, origin: ActorId) -> Option<&Datacenter> {
        self.places.iter().find(|place| is_of(origin, place))
    }

    /// The same as text.
    fn place_of(&self, origin: ActorId) -> String {
        self.whose(origin).map_or_else(|| format!("{:016x}", origin.0), ToString::to_string)
    }

    /// What declares it.
    fn pattern(&self, key: &[u8]) -> &str {
        let named = self.conflicts.keys.iter().find(|one| matches(one.pattern.as_bytes(), key));
        named.map_or("*", |one| &one.pattern)
    }
}

/// Where an origin is.
fn is_of(origin: ActorId, place: &Datacenter) -> bool {
    origin.0 >> 32 == place_bits(place)
}

fn place_bits(place: &Datacenter) -> u64 {
    xxh3_64(place.as_str().as_bytes()) >> 32
}

impl Known {
    /// # Errors
    /// [`StateError::Read`].
    pub fn of<R: Rows>(view: &View<'_, R>) -> Result<Self, StateError> {
        match view.row(KNOWN_ROW)? {
            Some(bytes) => Self::decode(&bytes).ok_or_else(|| damaged("what is known")),
            None => Ok(Self::default()),
        }
    }

    /// Everything that commands may have been shown: of some cells more than `vector`.
    #[must_use]
    pub fn shown(&self) -> VersionVector {
        let mut shown = self.vector.clone();
        self.ahead.iter().for_each(|ahead| shown.join(ahead.vector()));
        shown
    }

    /// The time of what is written now.
    fn time(&self, now: quorate_model::WallTime) -> Hlc {
        Hlc::at(now).max(Hlc(self.newest.0.saturating_add(1)))
    }

    fn follow(&mut self, change: &Change) {
        self.vector.include(change.through());
        self.newest = self.newest.max(change.at);
    }

    fn row(&self) -> RowChange {
        let value = postcard::to_stdvec(self).expect("it always serializes to memory");
        RowChange { row: Bytes::from_static(KNOWN_ROW), value: Some(Bytes::from(value)) }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let known: Self = postcard::from_bytes(bytes).ok()?;
        known.vector.is_well_formed().then_some(known)
    }
}

/// What is known once these effects are applied, where they say.
#[must_use]
pub fn known_by(effects: &Effects) -> Option<Known> {
    let row = effects.changes.iter().rev().find(|change| change.row == KNOWN_ROW)?;
    Known::decode(row.value.as_ref()?)
}

/// What an evaluation's writes are to the others, and the effects with it.
///
/// # Errors
/// [`StateError::Read`].
pub fn change_of<R: Rows>(
    effects: &mut Effects,
    leaders: &Leaders,
    view: &View<'_, R>,
) -> Result<Option<Change>, StateError> {
    let writes = std::mem::take(&mut effects.writes);
    if writes.is_empty() {
        return Ok(None);
    }
    let origin = leaders.origin;
    let mut known = Known::of(view)?;
    let mut after = known.vector.clone();
    for (_, write) in writes.iter().filter(|_| !known.ahead.is_empty()) {
        // What it replaces is perhaps not known yet.
        write.replaces().into_iter().for_each(|dot| after.include(dot));
    }
    let after = after.dots().filter(|dot| dot.actor != origin).collect();
    let change = Change {
        origin,
        first: known.vector.counter(origin) + 1,
        after,
        at: known.time(effects.time),
        writes,
    };
    known.follow(&change);
    if !known.own.contains(&origin) {
        known.own.push(origin);
    }
    effects.changes.push(known.row());
    Ok(Some(change))
}

/// Whether this version has such cells. What comes from outside must be asked.
#[must_use]
pub fn is_a_cell(key: &CellKey) -> bool {
    homes::is_home(key) || Named::of(key).is_some()
}

fn cell_row(key: &CellKey) -> Bytes {
    let mut row = BytesMut::with_capacity(1 + key.bytes().len());
    row.put_u8(CELLS);
    row.put_slice(key.bytes());
    row.freeze()
}

/// `shown` where the header of a string holds its value.
fn encode(cell: &Cell, shown: bool) -> Option<Bytes> {
    if cell.is_empty() {
        return None;
    }
    match cell.alone().filter(|_| shown) {
        Some(Sibling { dot, at, .. }) => {
            let mut bytes = BytesMut::with_capacity(25);
            bytes.put_u8(ALONE);
            bytes.put_u64(dot.actor.0);
            bytes.put_u64(dot.counter);
            bytes.put_u64(at.0);
            Some(bytes.freeze())
        }
        None => {
            let bytes = postcard::to_extend(cell, vec![WHOLE]).expect("it serializes to memory");
            Some(Bytes::from(bytes))
        }
    }
}

/// `header` is that of the cell's key.
fn decode(bytes: &[u8], header: Option<&Header>) -> Result<Cell, StateError> {
    let wrong = || damaged("a cell");
    let (kind, body) = bytes.split_first().ok_or_else(wrong)?;
    if *kind == WHOLE {
        let cell: Cell = postcard::from_bytes(body).map_err(|_| wrong())?;
        return if cell.is_well_formed() { Ok(cell) } else { Err(wrong()) };
    }
    let number = |at: usize| {
        let bytes = body.get(at..at + 8)?;
        Some(u64::from_be_bytes(bytes.try_into().expect("eight bytes")))
    };
    let numbers = (number(0), number(8), number(16), body.len());
    match (*kind, numbers, header) {
        (
            ALONE,
            (Some(actor), Some(counter), Some(at), 24),
            Some(Header { body: Body::String(value), expiry, .. }),
        ) => Ok(Cell::of(Sibling {
            dot: Dot { actor: ActorId(actor), counter },
            at: Hlc(at),
            content: Content::Value { value: value.clone(), expiry: *expiry },
        })),
        _ => Err(wrong()),
    }
}
