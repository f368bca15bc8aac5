//! How deep operations and answers may be nested where bytes are read: reading is recursive, so that depth is stack.

use std::cell::Cell;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Far above what there is: a token around a transaction, an answer with lists of lists.
const DEPTH_MAX: u32 = 16;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// One level, while it lives.
struct Level;

impl Level {
    fn enter() -> Option<Self> {
        DEPTH.with(|depth| {
            (depth.get() < DEPTH_MAX).then(|| {
                depth.set(depth.get() + 1);
                Self
            })
        })
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

/// For `#[serde(deserialize_with)]` on a field that may hold its own type again.
///
/// # Errors
/// Beyond the bound, and what reading a `T` meets.
pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    let _level = Level::enter().ok_or_else(|| D::Error::custom("nested too deeply"))?;
    T::deserialize(from)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::{Value, Write};

    fn lists(depth: u32) -> Value {
        (0..depth).fold(Value::Integer(1), |value, _| Value::List(vec![value]))
    }

    #[test]
    fn what_is_nested_beyond_the_bound_is_refused_and_leaves_nothing_behind() {
        for _ in 0..3 {
            let bytes = postcard::to_allocvec(&lists(super::DEPTH_MAX)).unwrap();
            assert!(postcard::from_bytes::<Value>(&bytes).is_ok());
            let deeper = postcard::to_allocvec(&lists(super::DEPTH_MAX + 1)).unwrap();
            assert!(postcard::from_bytes::<Value>(&deeper).is_err());
        }
    }

    #[test]
    fn a_message_of_nothing_but_nesting_takes_no_stack() {
        let once = Write::Once {
            token: Bytes::new(),
            fingerprint: 0,
            write: Box::new(Write::Flush),
            answer: None,
        };
        let bytes = postcard::to_allocvec(&once).unwrap();
        let level = bytes.split(|byte| *byte == 11).next().unwrap();
        assert!(level.len() >= 3, "the variant, the token, the fingerprint");
        assert!(postcard::from_bytes::<Write>(&level.repeat(1 << 20)).is_err());
    }
}
