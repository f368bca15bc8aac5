//! What may be written as a string or as a whole number, and is held as the string: Kubernetes' int-or-string.

use std::fmt;

use serde::{Deserializer, de};

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
    expected: &'static str,
) -> Result<String, D::Error> {
    struct Visitor(&'static str);
    impl de::Visitor<'_> for Visitor {
        type Value = String;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
        fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
            Ok(number.to_string())
        }
        fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }
    }
    from.deserialize_any(Visitor(expected))
}
