//! A session as a string, for another connection to go on with. Opaque to clients, and no secret: it gives no rights.
//!
//! `qs` and the version, a dot, then hexadecimal digits: postcard of [`Content`] and its CRC-32C, big-endian. At most
//! one entry per shard. In the second version, which stores without leaders give out, [`Seen`] follows the content; in the third,
//! of those with several leaders, [`Crossing`].

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use quorate_group::session::{Exported, Told};
use quorate_model::{Datacenter, ShardId, StoreId, VersionVector};
use quorate_replication::leaderless::{CellKey, Seen};
use serde::{Deserialize, Serialize};

use super::options::Options;

const PREFIX: &str = "qs";
const VERSION: u32 = 1;
/// With version vectors.
const VERSION_OF_VECTORS: u32 = 2;
const VERSION_OF_LEADERS: u32 = 3;
/// Every shard of the largest store, with room to spare.
const BYTES_MAX: usize = 2 << 20;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    pub(super) store: StoreId,
    pub(super) knowledge: Exported,
    pub(super) options: Options,
    /// Nothing where there are leaders.
    pub(super) seen: Seen,
    /// Of several leaders.
    pub(super) crossing: Option<Crossing>,
}

/// What it takes to go on in another datacenter than the one whose positions a token has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Crossing {
    pub(super) from: Datacenter,
    /// What that datacenter has: all that the session wrote and saw there.
    pub(super) known: Vec<(ShardId, VersionVector)>,
    /// What the session brought there, and has not found there yet.
    pub(super) floors: Vec<(ShardId, VersionVector)>,
}

#[derive(Serialize, Deserialize)]
struct Content {
    store: StoreId,
    shards: Vec<(ShardId, Told)>,
    more: bool,
    wrote_ago_ms: Option<u64>,
    options: Options,
}

/// Display is the answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    #[error("BADTOKEN this is no token of a session")]
    NoToken,
    #[error(
        "BADTOKEN the token has version {0}, this node knows {VERSION} to {VERSION_OF_LEADERS}"
    )]
    Version(u32),
    #[error("BADTOKEN the token is damaged")]
    Damaged,
    #[error("BADTOKEN the token is of another store")]
    OtherStore,
    #[error("BADTOKEN the token is of a store of another mode")]
    OtherMode,
    #[error("BADTOKEN the token says more than a session remembers")]
    TooMuch,
    #[error("BADTOKEN the token names {0}, which this store does not have")]
    Shard(ShardId),
}

impl Token {
    /// `None` when it would be longer than a token may be.
    #[must_use]
    pub fn encode(self) -> Option<String> {
        let Self { store, knowledge, options, seen, crossing } = self;
        let Exported { shards, more, wrote_ago } = knowledge;
        let content = Content {
            store,
            shards: shards.into_iter().collect(),
            more,
            wrote_ago_ms: wrote_ago.map(|ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
            options,
        };
        let (version, bytes) = match crossing {
            Some(crossing) => (VERSION_OF_LEADERS, postcard::to_allocvec(&(content, crossing))),
            None if seen == Seen::default() => (VERSION, postcard::to_allocvec(&content)),
            None => (VERSION_OF_VECTORS, postcard::to_allocvec(&(content, seen))),
        };
        let mut bytes = bytes.expect("these types always serialize to memory");
        bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
        let mut text = format!("{PREFIX}{version}.");
        for byte in bytes {
            write!(text, "{byte:02x}").expect("writing to a string does not fail");
        }
        (text.len() <= BYTES_MAX).then_some(text)
    }

    /// # Errors
    /// [`Refusal`], for a token that is damaged, or not of this store with so many shards.
    pub fn decode(text: &[u8], store: StoreId, shards: usize) -> Result<Self, Refusal> {
        if text.len() > BYTES_MAX {
            return Err(Refusal::NoToken);
        }
        let text = str::from_utf8(text).map_err(|_| Refusal::NoToken)?;
        let (version, digits) = text
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('.'))
            .ok_or(Refusal::NoToken)?;
        let version = match version.parse() {
            Ok(version @ (VERSION | VERSION_OF_VECTORS | VERSION_OF_LEADERS)) => version,
            Ok(version) => return Err(Refusal::Version(version)),
            Err(_) => return Err(Refusal::NoToken),
        };
        let bytes = from_digits(digits).ok_or(Refusal::Damaged)?;
        let (content, sum) = bytes.split_last_chunk::<4>().ok_or(Refusal::Damaged)?;
        // INV-44.
        if u32::from_be_bytes(*sum) != crc32c::crc32c(content) {
            return Err(Refusal::Damaged);
        }
        let nothing = Seen::default;
        let parsed: Result<(Content, Seen, Option<Crossing>), _> = match version {
            VERSION => postcard::from_bytes(content).map(|content| (content, nothing(), None)),
            VERSION_OF_VECTORS => {
                postcard::from_bytes(content).map(|(content, seen)| (content, seen, None))
            }
            _ => postcard::from_bytes(content)
                .map(|(content, crossing)| (content, nothing(), Some(crossing))),
        };
        let (content, seen, crossing) = parsed.map_err(|_| Refusal::Damaged)?;
        let right = |(key, known): &(CellKey, VersionVector)| {
            CellKey::new(key.bytes().clone()).is_some() && known.is_well_formed()
        };
        if !seen.cells.iter().all(right) {
            return Err(Refusal::Damaged);
        }
        let vectors = crossing.iter().flat_map(|one| one.known.iter().chain(&one.floors));
        if !vectors.clone().all(|(_, vector)| vector.is_well_formed()) {
            return Err(Refusal::Damaged);
        }
        if content.store != store {
            return Err(Refusal::OtherStore);
        }
        if let Some((shard, _)) = vectors.clone().find(|(shard, _)| usize::from(shard.0) >= shards)
        {
            return Err(Refusal::Shard(*shard));
        }
        let mut known = BTreeMap::new();
        for (shard, told) in content.shards {
            if usize::from(shard.0) >= shards {
                return Err(Refusal::Shard(shard));
            }
            known.insert(shard, told);
        }
        let knowledge = Exported {
            shards: known,
            more: content.more,
            wrote_ago: content.wrote_ago_ms.map(Duration::from_millis),
        };
        Ok(Self { store, knowledge, options: content.options, seen, crossing })
    }
}

fn from_digits(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16);
    digits
        .chunks_exact(2)
        .map(|pair| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_model::{ActorId, Dot, LogIndex, Position, Term};

    use super::*;

    const STORE: StoreId = StoreId(7);

    fn token() -> Token {
        let written = Position { term: Term(3), index: LogIndex(70_000) };
        let told = Told { written, kept: LogIndex(5), seen: LogIndex(9) };
        let shards = BTreeMap::from([(ShardId(1), told)]);
        let knowledge = Exported { shards, more: true, wrote_ago: Some(Duration::from_millis(12)) };
        let (options, seen) = (Options::default(), Seen::default());
        Token { store: STORE, knowledge, options, seen, crossing: None }
    }

    fn with_vectors() -> Token {
        let key = CellKey::new(Bytes::from_static(b"\0\0hash-and-key")).unwrap();
        let known = VersionVector::from_iter([Dot { actor: ActorId(7), counter: 9 }]);
        let seen = Seen { cells: vec![(key, known)], more: true };
        Token { seen, ..token() }
    }

    fn of_leaders(shard: u16) -> Token {
        let known = VersionVector::from_iter([Dot { actor: ActorId(7), counter: 9 }]);
        let known = vec![(ShardId(shard), known)];
        let from = Datacenter::new("dc-a").unwrap();
        let crossing = Some(Crossing { from, floors: known.clone(), known });
        Token { crossing, ..token() }
    }

    #[test]
    fn a_token_survives_its_text() {
        for (token, version) in
            [(token(), "qs1."), (with_vectors(), "qs2."), (of_leaders(1), "qs3.")]
        {
            let text = token.clone().encode().unwrap();
            assert!(text.starts_with(version), "{text}");
            assert_eq!(Token::decode(text.as_bytes(), STORE, 2), Ok(token));
        }
    }

    #[test]
    fn a_token_that_nobody_would_take_is_not_given() {
        let mut token = of_leaders(1);
        let many = (0..50_000).map(|actor| Dot { actor: ActorId(u64::MAX - actor), counter: 1 });
        token.crossing.as_mut().unwrap().known[0].1 = many.collect();
        assert_eq!(token.clone().encode().map(|text| text.len() <= BYTES_MAX), Some(true));
        token.crossing.as_mut().unwrap().floors = token.crossing.as_ref().unwrap().known.clone();
        assert_eq!(token.encode(), None);
    }

    #[test]
    fn every_flipped_digit_is_noticed() {
        for token in [with_vectors(), of_leaders(1)] {
            every_flipped_digit_of(token);
        }
    }

    fn every_flipped_digit_of(token: Token) {
        let text = token.encode().unwrap().into_bytes();
        for place in 4..text.len() {
            let mut damaged = text.clone();
            damaged[place] = if damaged[place] == b'0' { b'1' } else { b'0' };
            assert_eq!(Token::decode(&damaged, STORE, 2), Err(Refusal::Damaged), "{place}");
        }
        assert_eq!(Token::decode(&text[..text.len() - 2], STORE, 2), Err(Refusal::Damaged));
    }

    #[test]
    fn foreign_and_unknown_tokens_are_refused_each_with_its_reason() {
        let text = of_leaders(1).encode().unwrap();
        assert_eq!(Token::decode(text.as_bytes(), STORE, 1), Err(Refusal::Shard(ShardId(1))));
        let text = token().encode().unwrap();
        assert_eq!(Token::decode(text.as_bytes(), StoreId(8), 2), Err(Refusal::OtherStore));
        assert_eq!(Token::decode(text.as_bytes(), STORE, 1), Err(Refusal::Shard(ShardId(1))));
        let newer = text.replacen("qs1.", "qs4.", 1);
        assert_eq!(Token::decode(newer.as_bytes(), STORE, 2), Err(Refusal::Version(4)));
        for none in ["", "qs", "qs1", "qsx.00", "token", "\u{fffd}"] {
            assert_eq!(Token::decode(none.as_bytes(), STORE, 2), Err(Refusal::NoToken), "{none}");
        }
    }
}
