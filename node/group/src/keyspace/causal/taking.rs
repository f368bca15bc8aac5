//! What other datacenters wrote, as row images.

use std::collections::BTreeSet;

use quorate_model::planted::{self, Bug};
use quorate_replication::multi_leader::{Change, Turn};
use quorate_storage::state::{Rows, StateError};

use super::conflicts::{self, Conflict};
use super::homes::is_home;
use super::{Known, Leaders};
use crate::KeyType;
use crate::cells::Named;
use crate::keyspace::editor::{Editor, Stop};
use crate::keyspace::{Context, Effects, View};

/// What changes come to.
#[derive(Clone, PartialEq, Debug)]
pub struct Taken {
    pub effects: Effects,
    /// Those that were taken: the others were known.
    pub changes: Vec<Change>,
    /// Values that are no longer read.
    pub conflicts: Vec<Conflict>,
}

/// Carries out changes, each in its turn, on what stands before them; not those that are out of it, and what follows.
///
/// # Errors
/// [`StateError::Read`], and where one has what no version wrote.
pub fn take<R: Rows>(
    changes: Vec<Change>,
    context: Context,
    leaders: &Leaders,
    view: &View<'_, R>,
) -> Result<Taken, StateError> {
    let context = Context { now: context.now.max(view.time_floor()), ..context };
    let mut known = Known::of(view)?;
    let mut editor = Editor::showing(view, context);
    let (mut taken, mut found, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for change in changes {
        match change.turn(&known.vector) {
            Turn::Known => continue,
            Turn::Next => {}
            // Its giver is asked again.
            Turn::Behind(_) => break,
        }
        match take_one(&mut editor, &change, &known, leaders, &mut found) {
            Ok(()) => {}
            Err(Stop::State(error)) => return Err(error),
            Err(Stop::Value(_)) => return Err(super::damaged("a change")),
        }
        known.follow(&change);
        taken.push(change);
    }
    known.catch_up();
    // Of one cell the last.
    let newest = found.into_iter().rev().filter(|one: &Conflict| seen.insert(one.cell()));
    let mut found: Vec<Conflict> = newest.collect();
    found.reverse();
    conflicts::note(&mut editor, &found)?;
    let mut effects = editor.finish();
    effects.changes.push(known.row());
    Ok(Taken { effects, changes: taken, conflicts: found })
}

fn take_one<R: Rows>(
    editor: &mut Editor<'_, R>,
    change: &Change,
    known: &Known,
    leaders: &Leaders,
    found: &mut Vec<Conflict>,
) -> Result<(), Stop> {
    for (dot, key, write) in change.each() {
        // It is filled with it.
        let filled = known.is_ahead() && known.at(key.bytes()).covers(dot);
        if filled && !planted::is(Bug::TakeWhatIsFilled) {
            continue;
        }
        if planted::is(Bug::HalfAChange) && dot.counter > change.first {
            continue;
        }
        if is_home(key) {
            let mut cell = editor.cell(key, None)?;
            cell.apply(dot, change.at, write, &change.before(dot));
            editor.put_cell(key, &cell, false);
            continue;
        }
        let named = Named::of(key).ok_or_else(|| super::damaged("a change's key"))?;
        let string = named.kind == KeyType::String;
        let header = if string { editor.stored(&named.key)? } else { None };
        let mut cell = editor.cell(key, header.as_ref())?;
        cell.apply(dot, change.at, write, &change.before(dot));
        found.extend(Conflict::of(&named, &cell, dot, editor.now(), leaders));
        if string {
            editor.show_string(&named.key, key, cell)?;
        } else {
            editor.show_field(&named, key, &cell)?;
        }
    }
    Ok(())
}
