//! What a client is answered: typed, free of any client protocol.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::nesting;

/// An answer. The session renders it in the client's protocol.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Value {
    Ok,
    Nil,
    Integer(i64),
    Bulk(Bytes),
    Status(String),
    List(#[serde(deserialize_with = "nesting::deserialize")] Vec<Self>),
    Error(ValueError),
}

/// What is wrong with an operation as far as the data is concerned. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum ValueError {
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    #[error("ERR value is not a valid float")]
    NotFloat,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    #[error("ERR increment would produce NaN or Infinity")]
    NotFinite,
    #[error("ERR invalid expire time in '{0}' command")]
    ExpireTime(String),
    #[error("ERR key exceeds maximum allowed size ({0} bytes)")]
    KeyTooLong(u64),
    #[error("ERR string exceeds maximum allowed size ({0} bytes)")]
    TooLong(u64),
    #[error("ERR more than {0} keys match, use SCAN")]
    TooManyKeys(u32),
    #[error("ERR hash value is not an integer")]
    FieldNotInteger,
    #[error("ERR hash value is not a float")]
    FieldNotFloat,
    #[error("ERR field or member exceeds maximum allowed size ({0} bytes)")]
    FieldTooLong(u64),
    #[error("ERR the command would look at more than {0} elements, use HSCAN or SSCAN")]
    TooManyElements(u64),
    #[error("ERR the answer would exceed {0} bytes, use HSCAN or SSCAN")]
    AnswerTooLong(u64),
    #[error("ERR no such key")]
    NoSuchKey,
    #[error("ERR a transaction cannot be within a transaction")]
    Nested,
    #[error("ERR a token has 1 to {0} bytes")]
    TokenLength(u64),
    #[error("TOKENUSED the token was used for another command")]
    TokenUsed,
    #[error("ERR ONCE keeps answers up to {0} bytes; nothing was changed")]
    AnswerNotKept(u64),
    /// Without a leader: plain commands see one value.
    #[error("SIBLINGS the key has {0} concurrent values, read them with VGET")]
    Siblings(u64),
    #[error(
        "TOOMANYSIBLINGS the key would have more than {0} concurrent values: write with a context that covers them"
    )]
    TooManySiblings(u64),
    #[error("ERR the context is none that this store gave out for this key")]
    UnknownContext,
    #[error(
        "ERR this command decides by what a key holds, which no replica knows for certain in a leaderless store"
    )]
    NeedsLeader,
    #[error("ERR this command is not offered in a leaderless store yet")]
    NotOffered,
    #[error("ERR VGET, VSET and VDEL are for leaderless stores and those with several leaders")]
    NeedsNoLeader,
    #[error("SIBLINGS the field has {0} concurrent values, HSET and HDEL end that")]
    FieldSiblings(u64),
    #[error(
        "ERR LINEARIZABLE is for strings, one key at a time, where the last writer wins and datacenters are `Global`"
    )]
    NotLinearizable,
    #[error("ERR the expiry of a hash or a set is not offered where there are several leaders yet")]
    NotAmongLeaders,
    #[error("ERR HOME is for stores with several leaders")]
    NeedsLeaders,
    #[error("NOHOME no home is declared for a pattern that the key matches")]
    NoHome,
    #[error("ERR the store has no datacenter '{0}'")]
    NoDatacenter(String),
    #[error("HOMES the keys have different homes; nothing was changed")]
    HomesApart,
    #[error("HOMES the key is written in '{0}': WATCH and EXEC it there; nothing was changed")]
    WatchedAway(String),
    #[error(
        "HOMES keys of this store are written elsewhere: remove keys by their names; nothing was changed"
    )]
    NotWithHomes,
}

impl Value {
    /// About how many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        /// What a value takes beside its bytes.
        const OVERHEAD_BYTES: u64 = 16;
        OVERHEAD_BYTES
            + match self {
                Self::Ok | Self::Nil | Self::Integer(_) | Self::Error(_) => 0,
                Self::Bulk(bytes) => bytes.len() as u64,
                Self::Status(text) => text.len() as u64,
                Self::List(values) => values.iter().map(Self::bytes).sum(),
            }
    }
}
