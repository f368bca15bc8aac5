//! Reads of hashes and sets.

use bytes::Bytes;
use quorate_storage::state::Rows;

use super::{Reader, integer};
use crate::keyspace::combine;
use crate::keyspace::editor::Stop;
use crate::keyspace::fields::{self, Answer};
use crate::keyspace::layout::{Collection, FIELD_BYTES_MAX, value_of_cell};
use crate::{CollectionKind, Combination, Part, Value};

impl<R: Rows> Reader<'_, R> {
    pub(super) fn field(&mut self, key: &Bytes, field: &[u8]) -> Result<Option<Bytes>, Stop> {
        match self.collection(key, CollectionKind::Hash)? {
            None => Ok(None),
            Some(hash) => self.value_in(hash, field),
        }
    }

    pub(super) fn fields_named(&mut self, key: &Bytes, fields: &[Bytes]) -> Result<Value, Stop> {
        let hash = self.collection(key, CollectionKind::Hash)?;
        let mut answer = Answer::default();
        for field in fields {
            let value = match hash {
                Some(hash) => self.value_in(hash, field)?,
                None => None,
            };
            match value {
                Some(value) => answer.push(value)?,
                None => answer.values.push(Value::Nil),
            }
        }
        Ok(Value::List(answer.values))
    }

    pub(super) fn all_fields(
        &mut self,
        key: &Bytes,
        kind: CollectionKind,
        part: Part,
    ) -> Result<Value, Stop> {
        let mut answer = Answer::default();
        if let Some(collection) = self.collection(key, kind)? {
            fields::all(self.view, collection, |field| answer.push_part(field, part))?;
        }
        Ok(Value::List(answer.values))
    }

    pub(super) fn has_fields(
        &mut self,
        key: &Bytes,
        kind: CollectionKind,
        fields: &[Bytes],
        many: bool,
    ) -> Result<Value, Stop> {
        let collection = self.collection(key, kind)?;
        let mut found = Vec::with_capacity(fields.len());
        for field in fields {
            let has = match collection {
                Some(collection) => fields::has(self.view, collection.fields, field)?,
                None => false,
            };
            found.push(Value::Integer(i64::from(has)));
        }
        Ok(if many { Value::List(found) } else { found.pop().unwrap_or(Value::Integer(0)) })
    }

    pub(super) fn random_fields(
        &mut self,
        key: &Bytes,
        kind: CollectionKind,
        count: Option<i64>,
        part: Part,
    ) -> Result<Value, Stop> {
        let Some(collection) = self.collection(key, kind)? else {
            return Ok(count.map_or(Value::Nil, |_| Value::List(Vec::new())));
        };
        let (view, random) = (self.view, &mut self.random);
        let Some(count) = count else {
            let mut picked = fields::picks(view, collection, 1, part, random)?;
            return Ok(picked.pop().unwrap_or(Value::Nil));
        };
        let many = count.unsigned_abs();
        if count < 0 {
            return Ok(Value::List(fields::picks(view, collection, many, part, random)?));
        }
        let mut answer = Answer::default();
        for field in fields::distinct(view, collection, many, random)? {
            answer.push_part(field, part)?;
        }
        Ok(Value::List(answer.values))
    }

    pub(super) fn scan_fields(
        &mut self,
        key: &Bytes,
        kind: CollectionKind,
        cursor: u32,
        pattern: Option<&[u8]>,
        count: u32,
        part: Part,
    ) -> Result<Value, Stop> {
        let (next, found) = match self.collection(key, kind)? {
            None => (0, Vec::new()),
            Some(Collection { fields, .. }) => {
                fields::step(self.view, fields, cursor, count, pattern, part)?
            }
        };
        Ok(Value::List(vec![Value::Integer(i64::from(next)), Value::List(found)]))
    }

    pub(super) fn combine_sets(
        &mut self,
        keys: &[Bytes],
        combination: Combination,
    ) -> Result<Value, Stop> {
        let sets = self.sets(keys)?;
        let mut answer = Answer::default();
        for member in combine::members(self.view, &sets, combination)? {
            answer.push(member)?;
        }
        Ok(Value::List(answer.values))
    }

    pub(super) fn count_intersection(&mut self, keys: &[Bytes], limit: u64) -> Result<Value, Stop> {
        let sets = self.sets(keys)?;
        Ok(integer(combine::intersection(self.view, &sets, limit)?.len() as u64))
    }

    pub(super) fn collection(
        &mut self,
        key: &Bytes,
        kind: CollectionKind,
    ) -> Result<Option<Collection>, Stop> {
        match self.live(key)? {
            None => Ok(None),
            Some(header) => Ok(Some(header.collection_of(kind)?)),
        }
    }

    fn sets(&mut self, keys: &[Bytes]) -> Result<Vec<Option<Collection>>, Stop> {
        keys.iter().map(|key| self.collection(key, CollectionKind::Set)).collect()
    }

    fn value_in(&self, hash: Collection, field: &[u8]) -> Result<Option<Bytes>, Stop> {
        if field.len() > FIELD_BYTES_MAX {
            return Ok(None);
        }
        Ok(self.view.row(&hash.fields.row(field))?.as_ref().map(value_of_cell))
    }
}
