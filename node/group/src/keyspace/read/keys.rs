//! Reads of keys of any type: what WATCH, OBJECT ENCODING and MEMORY USAGE ask.

use bytes::Bytes;
use quorate_storage::state::Rows;

use super::{Reader, integer};
use crate::Value;
use crate::keyspace::decimal::integer_of;
use crate::keyspace::editor::Stop;
use crate::keyspace::fields::{self, Field};
use crate::keyspace::layout::{Body, Collection};

/// Redis embeds strings up to this length in the object.
const EMBEDDED_BYTES_MAX: usize = 44;
/// Up to so many fields, none longer than that, Redis keeps a hash as one list.
const LISTED_FIELDS_MAX: usize = 128;
const LISTED_BYTES_MAX: usize = 64;
/// Up to so many members, all of them integers, Redis keeps a set as an array of integers.
const INTEGERS_MAX: usize = 512;
/// About what a key takes beside its name and its value, and an element beside its bytes.
const OVERHEAD_BYTES: u64 = 48;
/// From how many fields the size of all is guessed.
const SAMPLED_MAX: usize = 16;

impl<R: Rows> Reader<'_, R> {
    pub(super) fn encoding(&mut self, key: &Bytes) -> Result<Value, Stop> {
        let Some(header) = self.live(key)? else { return Ok(Value::Nil) };
        let name = match header.body {
            Body::String(value) if integer_of(&value).is_some() => "int",
            Body::String(value) if value.len() <= EMBEDDED_BYTES_MAX => "embstr",
            Body::String(_) => "raw",
            Body::Hash(hash) => {
                let short = |field: &Field| {
                    field.name.len() <= LISTED_BYTES_MAX && field.value.len() <= LISTED_BYTES_MAX
                };
                if self.all_of(hash, LISTED_FIELDS_MAX, short)? { "listpack" } else { "hashtable" }
            }
            Body::Set(set) => {
                let is_integer = |field: &Field| integer_of(&field.name).is_some();
                if self.all_of(set, INTEGERS_MAX, is_integer)? { "intset" } else { "hashtable" }
            }
        };
        Ok(Value::Bulk(Bytes::from_static(name.as_bytes())))
    }

    pub(super) fn memory_usage(&mut self, key: &Bytes) -> Result<Value, Stop> {
        let Some(header) = self.live(key)? else { return Ok(Value::Nil) };
        let body = match header.body {
            Body::String(value) => value.len() as u64,
            Body::Hash(collection) | Body::Set(collection) => {
                let sample = fields::sample(self.view, collection.fields, SAMPLED_MAX)?;
                let bytes: u64 = sample
                    .iter()
                    .map(|field| (field.name.len() + field.value.len()) as u64 + OVERHEAD_BYTES)
                    .sum();
                bytes / (sample.len() as u64).max(1) * collection.count
            }
        };
        Ok(integer(body + OVERHEAD_BYTES))
    }

    /// WATCH.
    pub(super) fn versions(&mut self, keys: &[Bytes]) -> Result<Value, Stop> {
        let mut versions = Vec::with_capacity(keys.len());
        for key in keys {
            let version = match self.live(key)? {
                Some(header) => header.version,
                None => self.view.removal_version(key)?,
            };
            versions.push(Value::Integer(version.0.cast_signed()));
        }
        Ok(Value::List(versions))
    }

    /// Whether the collection is no larger than this and every field is so.
    fn all_of(
        &self,
        collection: Collection,
        count_max: usize,
        holds: impl Fn(&Field) -> bool,
    ) -> Result<bool, Stop> {
        Ok(collection.count <= count_max as u64
            && fields::sample(self.view, collection.fields, count_max)?.iter().all(holds))
    }
}
