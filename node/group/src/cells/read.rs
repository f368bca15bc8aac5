//! Reads: which cells they are of.

use bytes::Bytes;
use quorate_replication::leaderless::Asked;

use super::finish::{Finish, KEY_CELLS_MAX, Picks};
use super::layout::{
    Bounds, Named, cells_of, field_cell, field_hash, fields_from, fields_of, string_cell,
};
use super::{Begun, Local, listing};
use crate::{CollectionKind, KeyType, Read, Value, ValueError};

/// The most fields that one step of a scan looks at, whatever COUNT says.
const STEP_MAX: u32 = 10_000;

pub(super) fn begin(operation: &Read, local: &Local<'_>) -> Result<Begun, ValueError> {
    match operation {
        Read::Get { key } => local.string(key, Finish::Text),
        Read::StringLength { key } => local.string(key, Finish::Length),
        Read::GetRange { key, start, end } => {
            local.string(key, Finish::Range { start: *start, end: *end })
        }
        Read::Digest { key } => local.string(key, Finish::Digest),
        Read::Siblings { key } => local.string(key, Finish::Versions { key: key.clone() }),
        Read::Conflicts { .. } | Read::Home { .. } => Err(ValueError::NotOffered),
        Read::GetMany { keys } => {
            let cells = keys.iter().map(|key| string_cell(key).map(Asked::Cell));
            ask(cells, Finish::Texts(keys.clone()))
        }
        Read::Type { key } => local.keys(std::slice::from_ref(key), Finish::Type),
        Read::TimeToLive { key, unit } => {
            local.keys(std::slice::from_ref(key), Finish::TimeToLive(*unit))
        }
        Read::Encoding { key } => local.keys(std::slice::from_ref(key), Finish::Encoding),
        Read::MemoryUsage { key } => ask([cells_of(key).map(Asked::from)], Finish::MemoryUsage),
        Read::CountExisting { keys } => local.keys(keys, Finish::Existing(keys.clone())),
        Read::Field { key, field } => local.field(key, field, Finish::Text),
        Read::FieldLength { key, field } => local.field(key, field, Finish::Length),
        Read::FieldsNamed { key, fields } => {
            local.fields(key, CollectionKind::Hash, fields, Finish::Texts(fields.clone()))
        }
        Read::HasFields { key, kind, fields, many } => {
            let finish = Finish::Has { fields: fields.clone(), many: *many };
            local.fields(key, *kind, fields, finish)
        }
        Read::AllFields { key, kind, part } => local.collection(key, *kind, Finish::Fields(*part)),
        Read::CountFields { key, kind } => local.collection(key, *kind, Finish::Count),
        Read::RandomFields { key, kind, count, part } => {
            let picks = Picks { count: *count, part: *part, seed: local.seed };
            local.collection(key, *kind, Finish::Picked(picks))
        }
        Read::ScanFields { key, kind, cursor, pattern, count, part } => {
            local.check_type(key, (*kind).into())?;
            let (bounds, next) = local.step(key, *kind, *cursor, *count)?;
            let finish = Finish::Scanned { next, pattern: pattern.clone(), part: *part };
            ask([Ok(bounds.into())], finish)
        }
        Read::CombineSets { keys, combination } => {
            let finish = Finish::Combined { keys: keys.clone(), combination: *combination };
            local.sets(keys, finish)
        }
        Read::CountIntersection { keys, limit } => {
            let finish = Finish::CountIntersection { keys: keys.clone(), limit: *limit };
            local.sets(keys, finish)
        }
        Read::Scan { cursor, pattern, count, type_only } => {
            listing::step(local, *cursor, pattern.as_deref(), *count, *type_only)
                .map(Begun::Answered)
        }
        Read::CountKeys => listing::count(local).map(Begun::Answered),
        Read::CountKeysInSlot { slot } => listing::count_in_slot(local, *slot).map(Begun::Answered),
        Read::KeysInSlot { slot, count } => {
            listing::keys_in_slot(local, *slot, *count as usize).map(Begun::Answered)
        }
        Read::Keys { pattern, count_max } => {
            listing::all_matching(local, pattern, *count_max).map(Begun::Answered)
        }
        Read::RandomKey { slots } => listing::random_key(local, *slots).map(Begun::Answered),
        Read::Versions { .. } => Err(ValueError::NeedsLeader),
    }
}

impl Local<'_> {
    fn string(&self, key: &Bytes, finish: Finish) -> Result<Begun, ValueError> {
        self.check_type(key, KeyType::String)?;
        ask([string_cell(key).map(Asked::Cell)], finish)
    }

    fn field(&self, key: &Bytes, field: &Bytes, finish: Finish) -> Result<Begun, ValueError> {
        self.fields(key, CollectionKind::Hash, std::slice::from_ref(field), finish)
    }

    fn fields(
        &self,
        key: &Bytes,
        kind: CollectionKind,
        fields: &[Bytes],
        finish: Finish,
    ) -> Result<Begun, ValueError> {
        self.check_type(key, kind.into())?;
        ask(fields.iter().map(|field| field_cell(key, kind, field).map(Asked::Cell)), finish)
    }

    fn collection(
        &self,
        key: &Bytes,
        kind: CollectionKind,
        finish: Finish,
    ) -> Result<Begun, ValueError> {
        self.check_type(key, kind.into())?;
        ask([fields_of(key, kind).map(Asked::from)], finish)
    }

    /// All cells of these keys, but of a large collection no more than decide the answer.
    fn keys(&self, keys: &[Bytes], finish: Finish) -> Result<Begun, ValueError> {
        const PAGE: usize = 16;
        let (mut asked, mut begun) = (Vec::with_capacity(keys.len()), Vec::new());
        for key in keys {
            let mut bounds = cells_of(key)?;
            let (mut live, mut end) = (0, None);
            self.visit(bounds.clone(), PAGE, |cell_key, cell| {
                live += usize::from(self.lives(cell));
                end = (live >= KEY_CELLS_MAX).then(|| cell_key.next());
                end.is_none()
            });
            if let Some(end) = end {
                bounds.to = end;
                begun.push(key.clone());
            }
            asked.push(Ok(bounds.into()));
        }
        if begun.is_empty() {
            return ask(asked, finish);
        }
        ask(asked, Finish::Begun { keys: begun, answer: Box::new(finish) })
    }

    fn sets(&self, keys: &[Bytes], finish: Finish) -> Result<Begun, ValueError> {
        for key in keys {
            self.check_type(key, KeyType::Set)?;
        }
        let sets = keys.iter().map(|key| fields_of(key, CollectionKind::Set).map(Asked::from));
        ask(sets, finish)
    }

    /// The part of a collection that one step of a scan is of, and where the next step begins, 0 at the end. How large the part
    /// is the coordinator can only tell by what it knows; a part has all fields of the hashes that lie in it.
    fn step(
        &self,
        key: &Bytes,
        kind: CollectionKind,
        cursor: u32,
        count: u32,
    ) -> Result<(Bounds, u32), ValueError> {
        let wanted = count.clamp(1, STEP_MAX) as usize;
        let bounds = fields_from(key, kind, cursor)?;
        let (mut looked, mut last) = (0, None);
        let mut next = 0;
        self.visit(bounds.clone(), wanted + 1, |cell_key, _| {
            let Some(named) = Named::of(cell_key) else { return true };
            let hash = field_hash(&named.field);
            if looked >= wanted && last != Some(hash) {
                next = hash;
                return false;
            }
            (looked, last) = (looked + 1, Some(hash));
            true
        });
        if next == 0 {
            return Ok((bounds, 0));
        }
        let Bounds { from: to, .. } = fields_from(key, kind, next)?;
        Ok((Bounds { to, ..bounds }, next))
    }
}

fn ask(
    asked: impl IntoIterator<Item = Result<Asked, ValueError>>,
    finish: Finish,
) -> Result<Begun, ValueError> {
    let asked: Vec<Asked> = asked.into_iter().collect::<Result<_, _>>()?;
    // A read of nothing, which no client's parser lets pass.
    if asked.is_empty() {
        return Ok(Begun::Answered(Value::List(Vec::new())));
    }
    Ok(Begun::Read { asked, finish })
}
