//! Reads of keys of any type: what WATCH, OBJECT ENCODING and MEMORY USAGE ask.

use bytes::Bytes;
use quorate_storage::state::Rows;

use super::{Reader, integer};
use crate::keyspace::editor::Stop;
use crate::keyspace::encoding::{self, INTEGERS_MAX, LISTED_FIELDS_MAX};
use crate::keyspace::fields;
use crate::keyspace::layout::Body;
use crate::{Value, ValueError};

/// About what a key takes beside its name and its value, and an element beside its bytes.
const OVERHEAD_BYTES: u64 = 48;
/// From how many fields the size of all is guessed.
const SAMPLED_MAX: usize = 16;

impl<R: Rows> Reader<'_, R> {
    pub(super) fn encoding(&mut self, key: &Bytes) -> Result<Value, Stop> {
        let Some(header) = self.live(key)? else { return Ok(Value::Nil) };
        let name = match header.body {
            Body::String(value) => encoding::of_string(&value),
            Body::Siblings(count) => return Err(ValueError::Siblings(count).into()),
            Body::Hash(hash) => {
                let first = fields::sample(self.view, hash.fields, LISTED_FIELDS_MAX)?;
                encoding::of_hash(hash.count, &first)
            }
            Body::Set(set) => {
                let first = fields::sample(self.view, set.fields, INTEGERS_MAX)?;
                encoding::of_set(set.count, &first)
            }
        };
        Ok(Value::Bulk(Bytes::from_static(name.as_bytes())))
    }

    pub(super) fn memory_usage(&mut self, key: &Bytes) -> Result<Value, Stop> {
        let Some(header) = self.live(key)? else { return Ok(Value::Nil) };
        let body = match header.body {
            Body::String(value) => value.len() as u64,
            Body::Siblings(count) => return Err(ValueError::Siblings(count).into()),
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
}
