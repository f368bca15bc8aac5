//! What a client is told of what it has read, and gives back with its write: text that only the store that gave it out, for this key,
//! understands.

use std::fmt::Write as _;

use bytes::Bytes;
use quorate_replication::causal::Context;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ValueError;

const VERSION: u8 = 1;
const CHECK_BYTES: usize = 4;

/// Hexadecimal digits: version(1) check(4) of the key and the rest, then the context.
pub(crate) fn encode(key: &[u8], context: &Context) -> Bytes {
    let body = postcard::to_stdvec(context).expect("it always serializes to memory");
    let mut bytes = vec![VERSION];
    bytes.extend(check(key, &body));
    bytes.extend(body);
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
    }
    Bytes::from(text)
}

/// # Errors
/// [`ValueError::UnknownContext`]: what would cover writes that nobody has read is never taken.
pub(crate) fn decode(key: &[u8], text: &[u8]) -> Result<Context, ValueError> {
    decoded(key, text).ok_or(ValueError::UnknownContext)
}

fn decoded(key: &[u8], text: &[u8]) -> Option<Context> {
    let text = str::from_utf8(text).ok().filter(|text| text.is_ascii())?;
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let pairs = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16));
    let bytes: Vec<u8> = pairs.collect::<Result<_, _>>().ok()?;
    let (version, rest) = bytes.split_first()?;
    let (checked, body) = rest.split_at_checked(CHECK_BYTES)?;
    if *version != VERSION || checked != check(key, body) {
        return None;
    }
    let context: Context = postcard::from_bytes(body).ok()?;
    context.known.is_well_formed().then_some(context)
}

fn check(key: &[u8], body: &[u8]) -> [u8; CHECK_BYTES] {
    let hash = xxh3_64_with_seed(body, xxh3_64_with_seed(key, 0)).to_be_bytes();
    [hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
mod tests {
    use quorate_model::{ActorId, Dot, Hlc};

    use super::*;

    #[test]
    fn a_context_is_read_back_for_its_key_alone() {
        let known = [Dot { actor: ActorId(u64::MAX), counter: 7 }].into_iter().collect();
        let context = Context { known, newest: Hlc(99) };
        let text = encode(b"key", &context);
        assert_eq!(decode(b"key", &text), Ok(context));
        assert_eq!(decode(b"other", &text), Err(ValueError::UnknownContext));
        let mut flipped = text.to_vec();
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        for wrong in [&flipped[..], &text[..last], &text[..2], b"", b"zz", "\u{e9}".as_bytes()] {
            assert_eq!(decode(b"key", wrong), Err(ValueError::UnknownContext));
        }
    }
}
