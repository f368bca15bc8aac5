//! What the cells that come back are answered as.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_model::{ConflictPolicy, WallTime};
use quorate_replication::causal::Cell;
use quorate_replication::leaderless::CellKey;

use super::context;
use super::layout::Named;
use super::shown::{Shown, lives, shown, values};
use crate::keyspace::{
    Answer, Field, Random, check_elements, digest, encoding, integer_of, matches, part,
    time_to_live,
};
use crate::{Combination, KeyType, Part, TtlUnit, Value, ValueError};

/// How many cells that live tell all of a key but what takes them all: more than [`encoding`] looks at.
pub(super) const KEY_CELLS_MAX: usize = 1_000;

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Finish {
    // Of the cell of a string or a field.
    Text,
    Range {
        start: i64,
        end: i64,
    },
    Length,
    Digest,
    Versions {
        key: Bytes,
    },
    Number,
    FieldNumber,
    // Of strings, or of fields, by their names.
    Texts(Vec<Bytes>),
    Has {
        fields: Vec<Bytes>,
        many: bool,
    },
    // Of all cells of keys.
    Existing(Vec<Bytes>),
    Type,
    TimeToLive(TtlUnit),
    Encoding,
    MemoryUsage,
    /// Of keys of which only the first cells were asked for, since more are known to live there than decide the answer.
    Begun {
        keys: Vec<Bytes>,
        answer: Box<Self>,
    },
    // Of the cells of one collection.
    Fields(Part),
    Count,
    Picked(Picks),
    Scanned {
        next: u32,
        pattern: Option<Bytes>,
        part: Part,
    },
    // Of the cells of sets.
    Combined {
        keys: Vec<Bytes>,
        combination: Combination,
    },
    CountIntersection {
        keys: Vec<Bytes>,
        limit: u64,
    },
    Fixed(Value),
}

/// See `Read::RandomFields`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Picks {
    pub(super) count: Option<i64>,
    pub(super) part: Part,
    pub(super) seed: u64,
}

/// What came back, and how it is to be read.
struct Found<'a> {
    cells: &'a [(CellKey, Cell)],
    conflicts: ConflictPolicy,
    now: WallTime,
}

impl Finish {
    /// What stands, as the operation's answer.
    pub(crate) fn finish(
        self,
        cells: &[(CellKey, Cell)],
        conflicts: ConflictPolicy,
        now: WallTime,
    ) -> Value {
        self.value(&Found { cells, conflicts, now }).unwrap_or_else(Value::Error)
    }

    fn value(self, found: &Found<'_>) -> Result<Value, ValueError> {
        let text = || Ok(found.one()?.map(|shown| shown.text));
        Ok(match self {
            Self::Fixed(value) => value,
            Self::Text => text()?.map_or(Value::Nil, Value::Bulk),
            Self::Range { start, end } => {
                Value::Bulk(part(&text()?.unwrap_or_default(), start, end))
            }
            Self::Length => integer(text()?.map_or(0, |text| text.len())),
            Self::Digest => text()?
                .map_or(Value::Nil, |text| Value::Bulk(digest::text(digest::digest(&text)).into())),
            Self::Number => Value::Integer(text()?.map_or(Ok(0), |text| number(&text))?),
            Self::FieldNumber => Value::Integer(text()?.map_or(Ok(0), |text| field_number(&text))?),
            Self::Versions { key } => found.versions(&key),
            Self::Texts(names) => found.texts(&names)?,
            Self::Has { fields, many } => found.has(&fields, many),
            Self::Existing(keys) => {
                let live: BTreeSet<Bytes> = found.live().map(|(named, _)| named.key).collect();
                integer(keys.iter().filter(|key| live.contains(*key)).count())
            }
            Self::Type => Value::Status(
                match found.live().next().map(|(named, _)| named.kind) {
                    None => "none",
                    Some(KeyType::String) => "string",
                    Some(KeyType::Hash) => "hash",
                    Some(KeyType::Set) => "set",
                }
                .to_owned(),
            ),
            Self::TimeToLive(unit) => found.time_to_live(unit)?,
            Self::Begun { keys, answer } => {
                // All of those are gone elsewhere, and nobody said what comes behind them.
                let live: BTreeSet<Bytes> = found.live().map(|(named, _)| named.key).collect();
                if keys.iter().any(|key| !live.contains(key)) {
                    return Err(ValueError::TooManyElements(KEY_CELLS_MAX as u64));
                }
                answer.value(found)?
            }
            Self::Encoding => found.encoding()?,
            Self::MemoryUsage => found.memory_usage(),
            Self::Fields(part) => list(found.fields(part), part)?,
            Self::Count => integer(found.live().count()),
            Self::Picked(picks) => found.picked(&picks)?,
            Self::Scanned { next, pattern, part } => {
                let fields = found.fields(part).filter(|field| match (field, &pattern) {
                    (Ok(field), Some(pattern)) => matches(pattern, &field.name),
                    (Ok(_), None) | (Err(_), _) => true,
                });
                Value::List(vec![Value::Integer(i64::from(next)), list(fields, part)?])
            }
            Self::Combined { keys, combination } => {
                let mut answer = Answer::default();
                for member in found.combined(&keys, combination) {
                    answer.push(member)?;
                }
                Value::List(answer.values)
            }
            Self::CountIntersection { keys, limit } => {
                let count = found.combined(&keys, Combination::Intersection).len();
                let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0);
                integer(limit.map_or(count, |limit| limit.min(count)))
            }
        })
    }
}

// One cell, and cells by name.

impl Found<'_> {
    fn one(&self) -> Result<Option<Shown>, ValueError> {
        match self.cells.first() {
            None => Ok(None),
            Some((key, cell)) => self.shown(Named::of(key).map(|named| named.kind), cell),
        }
    }

    fn shown(&self, kind: Option<KeyType>, cell: &Cell) -> Result<Option<Shown>, ValueError> {
        let shown = shown(cell, self.conflicts, self.now);
        if kind == Some(KeyType::Hash) { shown.map_err(of_field) } else { shown }
    }

    fn versions(&self, key: &Bytes) -> Value {
        let nothing = Cell::default();
        let cell = self.cells.first().map_or(&nothing, |(_, cell)| cell);
        let context = Value::Bulk(context::encode(key, &cell.context()));
        let values = values(cell, self.now).into_iter().map(Value::Bulk);
        Value::List([context].into_iter().chain(values).collect())
    }

    fn texts(&self, names: &[Bytes]) -> Result<Value, ValueError> {
        let by_name: BTreeMap<Bytes, (KeyType, &Cell)> = self
            .named()
            .map(|(Named { key, kind, field }, cell)| match kind {
                KeyType::String => (key, (kind, cell)),
                KeyType::Hash | KeyType::Set => (field, (kind, cell)),
            })
            .collect();
        let mut answer = Answer::default();
        for name in names {
            let shown = match by_name.get(name) {
                Some((kind, cell)) => self.shown(Some(*kind), cell)?,
                None => None,
            };
            match shown {
                Some(shown) => answer.push(shown.text)?,
                None => answer.values.push(Value::Nil),
            }
        }
        Ok(Value::List(answer.values))
    }

    fn has(&self, fields: &[Bytes], many: bool) -> Value {
        let live: BTreeSet<Bytes> = self.live().map(|(named, _)| named.field).collect();
        let mut has = fields.iter().map(|field| Value::Integer(i64::from(live.contains(field))));
        if many { Value::List(has.collect()) } else { has.next().unwrap_or(Value::Integer(0)) }
    }
}

// Keys of any type.

impl Found<'_> {
    fn time_to_live(&self, unit: TtlUnit) -> Result<Value, ValueError> {
        let Some((named, cell)) = self.live().next() else { return Ok(Value::Integer(-2)) };
        let expiry = match named.kind {
            KeyType::String => self.shown(Some(named.kind), cell)?.and_then(|shown| shown.expiry),
            KeyType::Hash | KeyType::Set => None,
        };
        Ok(Value::Integer(expiry.map_or(-1, |at| time_to_live(at, self.now, unit))))
    }

    fn encoding(&self) -> Result<Value, ValueError> {
        let Some((first, cell)) = self.live().next() else { return Ok(Value::Nil) };
        let of_kind = || self.live().filter(|(named, _)| named.kind == first.kind);
        let count = of_kind().count() as u64;
        let name = match first.kind {
            KeyType::String => {
                let shown = self.shown(Some(first.kind), cell)?;
                encoding::of_string(&shown.map_or_else(Bytes::new, |shown| shown.text))
            }
            KeyType::Hash => {
                let fields = of_kind().take(encoding::LISTED_FIELDS_MAX);
                let fields = fields.map(|(named, cell)| self.field(named, cell, Part::Both));
                encoding::of_hash(count, &fields.collect::<Result<Vec<_>, _>>()?)
            }
            KeyType::Set => {
                let members = of_kind().take(encoding::INTEGERS_MAX);
                let members = members.map(|(named, cell)| self.field(named, cell, Part::Fields));
                encoding::of_set(count, &members.collect::<Result<Vec<_>, _>>()?)
            }
        };
        Ok(Value::Bulk(Bytes::from_static(name.as_bytes())))
    }

    /// All that the key takes, what was removed included.
    fn memory_usage(&self) -> Value {
        if self.live().next().is_none() {
            return Value::Nil;
        }
        integer(self.cells.iter().map(|(key, cell)| key.bytes().len() + cell.bytes()).sum())
    }
}

// Collections.

impl<'a> Found<'a> {
    fn named(&self) -> impl Iterator<Item = (Named, &'a Cell)> + use<'a> {
        self.cells.iter().filter_map(|(key, cell)| Some((Named::of(key)?, cell)))
    }

    fn live(&self) -> impl Iterator<Item = (Named, &'a Cell)> + use<'a> {
        let (conflicts, now) = (self.conflicts, self.now);
        self.named().filter(move |(_, cell)| lives(cell, conflicts, now))
    }

    /// Values only where they are wanted: several of one field are an error.
    fn fields(&self, part: Part) -> impl Iterator<Item = Result<Field, ValueError>> {
        self.live().map(move |(named, cell)| self.field(named, cell, part))
    }

    fn field(&self, named: Named, cell: &Cell, part: Part) -> Result<Field, ValueError> {
        let value = match (named.kind, part) {
            (KeyType::Set, _) | (_, Part::Fields) => Bytes::new(),
            (kind, Part::Values | Part::Both) => {
                self.shown(Some(kind), cell)?.map(|shown| shown.text).unwrap_or_default()
            }
        };
        Ok(Field { name: named.field, value })
    }

    fn picked(&self, Picks { count, part, seed }: &Picks) -> Result<Value, ValueError> {
        let mut random = Random::new(*seed);
        let fields: Vec<Field> = self.fields(*part).collect::<Result<_, _>>()?;
        let Some(count) = *count else {
            let one = random.choose(fields, 1).pop();
            return Ok(one.map_or(Value::Nil, |field| Value::Bulk(field.name)));
        };
        check_elements(count.unsigned_abs())?;
        let wanted = usize::try_from(count.unsigned_abs()).expect("bounded by ELEMENTS_MAX");
        if count >= 0 || fields.is_empty() {
            return list(random.choose(fields, wanted).into_iter().map(Ok), *part);
        }
        list((0..wanted).map(|_| Ok(fields[random.below(fields.len())].clone())), *part)
    }

    fn combined(&self, keys: &[Bytes], combination: Combination) -> Vec<Bytes> {
        let mut sets: BTreeMap<Bytes, BTreeSet<Bytes>> = BTreeMap::new();
        for (Named { key, field, .. }, _) in self.live() {
            sets.entry(key).or_default().insert(field);
        }
        let has =
            |key: &Bytes, member: &Bytes| sets.get(key).is_some_and(|set| set.contains(member));
        let Some((first, others)) = keys.split_first() else { return Vec::new() };
        let of_first = sets.get(first).into_iter().flatten().cloned();
        match combination {
            Combination::Intersection => {
                of_first.filter(|member| others.iter().all(|key| has(key, member))).collect()
            }
            Combination::Difference => {
                of_first.filter(|member| !others.iter().any(|key| has(key, member))).collect()
            }
            Combination::Union => {
                let members: BTreeSet<&Bytes> = sets.values().flatten().collect();
                members.into_iter().cloned().collect()
            }
        }
    }
}

fn list(
    fields: impl Iterator<Item = Result<Field, ValueError>>,
    part: Part,
) -> Result<Value, ValueError> {
    let mut answer = Answer::default();
    for field in fields {
        answer.push_part(field?, part)?;
    }
    Ok(Value::List(answer.values))
}

fn integer(number: usize) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

/// What is wrong with a field, whose siblings nobody reads by VGET.
pub(super) fn of_field(error: ValueError) -> ValueError {
    if let ValueError::Siblings(count) = error { ValueError::FieldSiblings(count) } else { error }
}

pub(super) fn number(text: &[u8]) -> Result<i64, ValueError> {
    integer_of(text).ok_or(ValueError::NotInteger)
}

pub(super) fn field_number(text: &[u8]) -> Result<i64, ValueError> {
    integer_of(text).ok_or(ValueError::FieldNotInteger)
}
