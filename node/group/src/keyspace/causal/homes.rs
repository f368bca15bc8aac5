//! Homes of keys: the one datacenter that writes them, so that no two do at once.
//!
//! A home is a cell, of a pattern or of one key, that holds a datacenter's name. Only whoever it names writes it, and so hands the home
//! over: what it wrote of the keys before comes before that in its changes, so whoever takes the cell has all of it, and
//! nobody else has the home. INV-112. What is declared says where homes are to be; who has them is what the cells say.
//!
//! A home whose datacenter is gone is where it is declared.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::planted::{self, Bug};
use quorate_model::{Datacenter, KeyHome, SLOTS};
use quorate_replication::causal::{CellKey, Content};
use quorate_replication::multi_leader::{self, Change};
use quorate_storage::state::{Rows, StateError};

use super::custom::Policy;
use super::reading::{Reads, reads};
use super::{CELLS, Known, Leaders, cell_row, decode};
use crate::keyspace::View;
use crate::keyspace::editor::{Editor, Stop};
use crate::keyspace::glob::matches;
use crate::keyspace::layout::KEY_BYTES_MAX;
use crate::keyspace::scan::walk;
use crate::keyspace::view::damaged;
use crate::{HomeOf, Operation, Value, ValueError, Write};

/// Behind the cells of all keys: slot(2) 0(4), then what it is of.
pub(super) const PLACE: [u8; 6] = {
    let [high, low] = SLOTS.to_be_bytes();
    [high, low, 0, 0, 0, 0]
};
const OF_KEY: u8 = b'k';
const OF_PATTERN: u8 = b'p';
/// Cells that one look goes over, and how many homes of keys it hands over.
const LOOK_MAX: usize = 1_000;
const HANDED_MAX: usize = 64;

/// Why a write is not for this leader.
#[derive(Clone, PartialEq, Debug)]
pub enum Away {
    Home(Datacenter),
    Refused(ValueError),
}

/// What one look at the homes that are here came to.
#[derive(Debug, Default)]
pub struct HandOver {
    pub writes: Vec<Write>,
    /// Where the next look goes on.
    pub next: Option<Bytes>,
}

impl Leaders {
    /// Some keys are written in one datacenter alone.
    #[must_use]
    pub fn has_homes(&self) -> bool {
        !self.homes.keys.is_empty()
    }

    fn declared_home(&self, key: &[u8]) -> Option<&KeyHome> {
        self.homes.keys.iter().find(|one| matches(one.pattern.as_bytes(), key))
    }

    fn place(&self, name: &[u8]) -> Option<&Datacenter> {
        self.places.iter().find(|place| place.as_str().as_bytes() == name)
    }

    /// Where it is to be, if that is not here.
    fn to_be(&self, home: &Datacenter) -> Option<&Datacenter> {
        let home = self.homes.instead(home);
        self.place(home.as_str().as_bytes()).filter(|place| **place != self.here)
    }
}

/// Whether it says where something has its home.
pub(super) fn is_home(key: &CellKey) -> bool {
    key.bytes().starts_with(&PLACE)
}

/// Where the key is written; anywhere without one.
///
/// # Errors
/// [`StateError::Read`].
pub(in super::super) fn home<'a, R: Rows>(
    view: &View<'_, R>,
    key: &Bytes,
    leaders: &'a Leaders,
) -> Result<Option<&'a Datacenter>, StateError> {
    let Some(declared) = leaders.declared_home(key).filter(|_| key.len() <= KEY_BYTES_MAX) else {
        return Ok(None);
    };
    if let Some(name) = holder(view, &HomeOf::Key(key.clone()))?
        && let Some(place) = leaders.place(&name)
    {
        return Ok(Some(place));
    }
    of_pattern(view, declared, leaders).map(Some)
}

fn of_pattern<'a, R: Rows>(
    view: &View<'_, R>,
    declared: &'a KeyHome,
    leaders: &'a Leaders,
) -> Result<&'a Datacenter, StateError> {
    if planted::is(Bug::HomeAsDeclared) {
        return Ok(leaders.homes.instead(&declared.home));
    }
    let holder = match holder(view, &HomeOf::pattern(declared))? {
        Some(name) => leaders.place(&name),
        None => leaders.place(declared.first().as_str().as_bytes()),
    };
    Ok(holder.unwrap_or_else(|| leaders.homes.instead(&declared.home)))
}

/// Whether everything is known that was written before the key's home came here: what a snapshot says of homes goes further.
fn is_settled<R: Rows>(
    view: &View<'_, R>,
    key: &Bytes,
    leaders: &Leaders,
) -> Result<bool, StateError> {
    let known = Known::of(view)?;
    let declared = leaders.declared_home(key).filter(|_| known.is_ahead());
    let Some(declared) = declared else { return Ok(true) };
    for of in [HomeOf::Key(key.clone()), HomeOf::pattern(declared)] {
        let cell = cell_key(&of);
        let settled = match view.row(&cell_row(&cell))? {
            Some(bytes) => {
                let cell = decode(&bytes, None)?;
                cell.siblings().iter().all(|sibling| known.vector.covers(sibling.dot))
            }
            None => known.vector.covers_all(&known.at(cell.bytes())),
        };
        if !settled {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the homes of patterns that are here are so for good, and no more on their way.
///
/// # Errors
/// [`StateError::Read`].
pub fn are_settled<R: Rows>(view: &View<'_, R>) -> Result<bool, StateError> {
    let known = Known::of(view)?;
    let mut homes = known.ahead.iter().filter(|ahead| ahead.reaches(&PLACE));
    Ok(homes.all(|ahead| known.vector.covers_all(ahead.vector())))
}

/// Whether the change moves a home.
#[must_use]
pub fn hands_over(change: &Change) -> bool {
    change.writes.iter().any(|(key, _)| is_home(key))
}

/// Whether the write is to be done elsewhere.
///
/// # Errors
/// [`StateError::Read`].
pub fn away<R: Rows>(
    write: &Write,
    leaders: &Leaders,
    view: &View<'_, R>,
) -> Result<Option<Away>, StateError> {
    if !leaders.has_homes() || is_the_leaders(write) {
        return Ok(None);
    }
    let moves = matches!(write, Write::SetHome { .. });
    if planted::is(if moves { Bug::MoveUnfenced } else { Bug::WriteAway }) {
        return Ok(None);
    }
    if flushes(write) {
        return Ok(Some(Away::Refused(ValueError::NotWithHomes)));
    }
    let (mut at, mut settled) = (None, true);
    for key in write.keys() {
        let Some(home) = home(view, key, leaders)? else { continue };
        if at.is_some_and(|at| at != home) {
            return Ok(Some(Away::Refused(ValueError::HomesApart)));
        }
        at = Some(home);
        settled &= *home != leaders.here || is_settled(view, key, leaders)?;
    }
    if !settled {
        // It is on its way here.
        return Ok(Some(Away::Home(leaders.here.clone())));
    }
    let away = at.filter(|at| **at != leaders.here);
    // Versions of keys are a datacenter's own.
    let watches = matches!(write, Write::Transaction { watched, .. } if !watched.is_empty());
    Ok(away.map(|at| match watches {
        true => Away::Refused(ValueError::WatchedAway(at.to_string())),
        false => Away::Home(at.clone()),
    }))
}

/// Proposed by a leader, and no write of its datacenter.
const fn is_the_leaders(write: &Write) -> bool {
    matches!(
        write,
        Write::RemoveExpired { .. }
            | Write::RemoveIfExpired { .. }
            | Write::SetHome { of: HomeOf::Pattern { .. }, .. }
    )
}

fn flushes(write: &Write) -> bool {
    if let Write::Once { write, .. } = write {
        return flushes(write);
    }
    if let Write::Transaction { operations, .. } = write {
        return operations
            .iter()
            .any(|one| matches!(one, Operation::Write(write) if flushes(write)));
    }
    matches!(write, Write::Flush)
}

/// HOME of a key.
pub(in super::super) fn read_home<R: Rows>(view: &View<'_, R>, key: &Bytes) -> Result<Value, Stop> {
    let leaders = view.leaders().ok_or(ValueError::NeedsLeaders)?;
    let home = home(view, key, leaders)?;
    Ok(home
        .map_or(Value::Nil, |home| Value::Bulk(Bytes::copy_from_slice(home.as_str().as_bytes()))))
}

/// WATCH of keys that are written elsewhere would see versions of this datacenter's own.
pub(in super::super) fn check_watched<R: Rows>(
    view: &View<'_, R>,
    keys: &[Bytes],
) -> Result<(), Stop> {
    let Some(leaders) = view.leaders() else { return Ok(()) };
    for key in keys {
        let home = home(view, key, leaders)?;
        if let Some(home) = home.filter(|home| **home != leaders.here) {
            return Err(ValueError::WatchedAway(home.to_string()).into());
        }
    }
    Ok(())
}

/// Hands a home over, or lets a key's be its pattern's again.
pub(in super::super) fn set_home<R: Rows>(
    editor: &mut Editor<'_, R>,
    of: &HomeOf,
    to: Option<&Bytes>,
) -> Result<Value, Stop> {
    let leaders = editor.view().leaders().ok_or(ValueError::NeedsLeaders)?;
    if let HomeOf::Key(key) = of
        && leaders.declared_home(key).is_none()
    {
        return Err(ValueError::NoHome.into());
    }
    let to = match to {
        Some(name) => {
            let unknown = || ValueError::NoDatacenter(String::from_utf8_lossy(name).into_owned());
            Some(leaders.homes.instead(leaders.place(name).ok_or_else(unknown)?))
        }
        None => None,
    };
    let to = to.map(|place| Bytes::copy_from_slice(place.as_str().as_bytes()));
    if holder(editor.view(), of)? == to {
        return Ok(Value::Ok);
    }
    let key = cell_key(of);
    let cell = editor.cell(&key, None)?;
    let cell = editor.write(&key, cell, |_, _, over| {
        Ok(match to {
            Some(value) => {
                multi_leader::Write::Put { content: Content::Value { value, expiry: None }, over }
            }
            None => multi_leader::Write::Remove { over },
        })
    })?;
    editor.put_cell(&key, &cell, false);
    Ok(Value::Ok)
}

/// What is to be handed over by whoever has it here: homes of patterns, and of keys where this datacenter is evacuated.
///
/// # Errors
/// [`StateError::Read`].
pub fn hand_over<R: Rows>(
    view: &View<'_, R>,
    leaders: &Leaders,
    from: Option<&Bytes>,
) -> Result<HandOver, StateError> {
    let mut found = HandOver::default();
    for declared in &leaders.homes.keys {
        if let Some(to) = leaders.to_be(&declared.home)
            && *of_pattern(view, declared, leaders)? == leaders.here
        {
            found.writes.push(handed(HomeOf::pattern(declared), to));
        }
    }
    let Some(to) = leaders.homes.evacuated.get(&leaders.here).and_then(|to| leaders.to_be(to))
    else {
        return Ok(found);
    };
    let begin = Bytes::from([&[CELLS], &PLACE[..], &[OF_KEY]].concat());
    let end = Bytes::from([&[CELLS], &PLACE[..], &[OF_KEY + 1]].concat());
    let mut rows = Vec::new();
    walk(view, (from.cloned().unwrap_or(begin), end), |row, bytes| {
        rows.push((row.clone(), bytes.clone()));
        rows.len() < LOOK_MAX
    })?;
    let more = rows.len() == LOOK_MAX;
    for (row, bytes) in rows {
        if found.writes.len() == HANDED_MAX {
            found.next = Some(row);
            return Ok(found);
        }
        let key = row.slice(1 + PLACE.len() + 1..);
        if value_of(&bytes)?.is_some_and(|name| name == leaders.here.as_str()) {
            found.writes.push(handed(HomeOf::Key(key), to));
        }
        found.next = more.then(|| [&row[..], &[0]].concat().into());
    }
    Ok(found)
}

fn handed(of: HomeOf, to: &Datacenter) -> Write {
    Write::SetHome { of, home: Some(Bytes::copy_from_slice(to.as_str().as_bytes())) }
}

impl HomeOf {
    fn pattern(declared: &KeyHome) -> Self {
        let pattern = Bytes::copy_from_slice(declared.pattern.as_bytes());
        Self::Pattern { pattern, since: declared.since }
    }
}

fn cell_key(of: &HomeOf) -> CellKey {
    let mut bytes = BytesMut::from(&PLACE[..]);
    match of {
        HomeOf::Key(key) => {
            bytes.put_u8(OF_KEY);
            bytes.put_slice(key);
        }
        HomeOf::Pattern { pattern, since } => {
            bytes.put_u8(OF_PATTERN);
            bytes.put_u64(*since);
            bytes.put_slice(pattern);
        }
    }
    CellKey::new(bytes.freeze()).expect("it says where it stands")
}

fn holder<R: Rows>(view: &View<'_, R>, of: &HomeOf) -> Result<Option<Bytes>, StateError> {
    match view.row(&cell_row(&cell_key(of)))? {
        Some(bytes) => value_of(&bytes),
        None => Ok(None),
    }
}

fn value_of(bytes: &[u8]) -> Result<Option<Bytes>, StateError> {
    match reads(&decode(bytes, None)?, Policy::new(&[], None)) {
        Reads::Value { value, .. } => Ok(Some(value)),
        Reads::Nothing => Ok(None),
        Reads::Member | Reads::Siblings { .. } => Err(damaged("a home")),
    }
}
