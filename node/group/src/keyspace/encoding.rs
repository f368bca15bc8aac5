//! OBJECT ENCODING: the names of the encodings that Redis would choose.

use super::decimal::integer_of;
use super::fields::Field;

/// Redis embeds strings up to this length in the object.
const EMBEDDED_BYTES_MAX: usize = 44;
/// Up to so many fields, none longer than that, Redis keeps a hash as one list.
pub(crate) const LISTED_FIELDS_MAX: usize = 128;
const LISTED_BYTES_MAX: usize = 64;
/// Up to so many members, all of them integers, Redis keeps a set as an array of integers.
pub(crate) const INTEGERS_MAX: usize = 512;

pub(crate) fn of_string(value: &[u8]) -> &'static str {
    match value {
        number if integer_of(number).is_some() => "int",
        short if short.len() <= EMBEDDED_BYTES_MAX => "embstr",
        _ => "raw",
    }
}

/// Of a hash of so many fields, by the first [`LISTED_FIELDS_MAX`].
pub(crate) fn of_hash(count: u64, first: &[Field]) -> &'static str {
    let short = |field: &Field| {
        field.name.len() <= LISTED_BYTES_MAX && field.value.len() <= LISTED_BYTES_MAX
    };
    let listed = count <= LISTED_FIELDS_MAX as u64 && first.iter().all(short);
    if listed { "listpack" } else { "hashtable" }
}

/// Of a set of so many members, by the first [`INTEGERS_MAX`].
pub(crate) fn of_set(count: u64, first: &[Field]) -> &'static str {
    let is_integer = |field: &Field| integer_of(&field.name).is_some();
    let integers = count <= INTEGERS_MAX as u64 && first.iter().all(is_integer);
    if integers { "intset" } else { "hashtable" }
}
