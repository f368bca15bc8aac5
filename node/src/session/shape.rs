//! The keyspace's answer as the command's.

use quorate_group::{Value, ValueError};

use crate::resp::commands::Shape;
use crate::resp::{Reply, parse_integer};

/// Redis embeds strings up to this length in the object.
const EMBEDDED_BYTES_MAX: usize = 44;
/// About what a key takes beside its name and its value.
const OVERHEAD_BYTES: usize = 48;

/// `command` is the command's name, for errors that name it.
pub(super) fn shape(shape: Shape, command: &str, value: Value) -> Reply {
    if let Value::Error(error) = value {
        return Reply::Error(error_text(&error, command));
    }
    match shape {
        Shape::AsIs => Reply::Value(value),
        Shape::WasSet => Reply::Integer(i64::from(value == Value::Ok)),
        Shape::Encoding => with_bulk(value, |bytes| {
            Reply::text(match bytes.len() {
                _ if parse_integer(bytes).is_some() => "int",
                ..=EMBEDDED_BYTES_MAX => "embstr",
                _ => "raw",
            })
        }),
        Shape::MemoryUsage => {
            with_bulk(value, |bytes| Reply::count((bytes.len() + OVERHEAD_BYTES) as u64))
        }
        Shape::IfExists(number) => {
            if value == Value::Integer(0) {
                Reply::Nil
            } else {
                Reply::Integer(number)
            }
        }
    }
}

fn with_bulk(value: Value, reply: impl FnOnce(&[u8]) -> Reply) -> Reply {
    if let Value::Bulk(bytes) = value { reply(&bytes) } else { Reply::Value(value) }
}

fn error_text(error: &ValueError, command: &str) -> String {
    match error {
        ValueError::ExpireTime(_) => format!("ERR invalid expire time in '{command}' command"),
        ValueError::WrongType
        | ValueError::NotInteger
        | ValueError::NotFloat
        | ValueError::Overflow
        | ValueError::NotFinite
        | ValueError::KeyTooLong(_)
        | ValueError::TooLong(_)
        | ValueError::TooManyKeys(_)
        | ValueError::FieldNotInteger
        | ValueError::FieldNotFloat
        | ValueError::FieldTooLong(_)
        | ValueError::TooManyElements(_)
        | ValueError::AnswerTooLong(_)
        | ValueError::NoSuchKey
        | ValueError::Nested => error.to_string(),
    }
}
