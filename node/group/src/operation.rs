//! What a client can ask of the keyspace, and what it is answered: typed, free of any client protocol.
//!
//! Every operation touches keys of one slot, except those that name no key and are asked shard by shard.

use bytes::Bytes;
use quorate_model::{Slot, WallTime};
use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Operation {
    Read(Read),
    Write(Write),
}

/// Changes nothing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Read {
    /// GET: `Value::Bulk` or `Value::Nil`.
    Get {
        key: Bytes,
    },
    /// MGET: a list with a `Bulk` or `Nil` per key (`Nil` also where the key holds another type).
    GetMany {
        keys: Vec<Bytes>,
    },
    /// GETRANGE, with Redis' negative offsets from the end.
    GetRange {
        key: Bytes,
        start: i64,
        end: i64,
    },
    StringLength {
        key: Bytes,
    },
    /// EXISTS, TOUCH: how many of the keys exist, repeated ones counted each time.
    CountExisting {
        keys: Vec<Bytes>,
    },
    /// TYPE: `Value::Status` of the type's name, or `none`.
    Type {
        key: Bytes,
    },
    /// TTL, PTTL, EXPIRETIME, PEXPIRETIME: -2 without the key, -1 without an expiry.
    TimeToLive {
        key: Bytes,
        unit: TtlUnit,
    },
    /// One step of SCAN over this shard. Answer: a list of the next cursor (`Integer`, 0 at the end of the shard) and the
    /// list of keys. The cursor names a slot of the whole keyspace ([`ScanCursor::slot`]), below 2^46; the session goes
    /// on with the next shard at [`ScanCursor::at`] its first slot.
    Scan {
        cursor: ScanCursor,
        pattern: Option<Bytes>,
        count: u32,
        type_only: Option<KeyType>,
    },
    /// DBSIZE of this shard.
    CountKeys,
    CountKeysInSlot {
        slot: Slot,
    },
    /// CLUSTER GETKEYSINSLOT.
    KeysInSlot {
        slot: Slot,
        count: u32,
    },
    /// RANDOMKEY is not offered; KEYS: every key of the shard that matches, bounded by `count_max` (an error beyond it).
    Keys {
        pattern: Bytes,
        count_max: u32,
    },
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Write {
    /// SET with all its options. `Value::Ok`, or `Nil` when the condition does not hold; with `get` the old value.
    Set {
        key: Bytes,
        value: Bytes,
        condition: SetCondition,
        expiry: Expiry,
        get: bool,
    },
    /// MSET (`only_if_none` false: `Ok`) and MSETNX (true: `Integer` 1 or 0).
    SetMany {
        pairs: Vec<(Bytes, Bytes)>,
        only_if_none: bool,
    },
    GetDelete {
        key: Bytes,
    },
    /// GETEX with an option that writes; `Expiry::Keep` never occurs here.
    GetExpire {
        key: Bytes,
        expiry: Expiry,
    },
    Append {
        key: Bytes,
        suffix: Bytes,
    },
    SetRange {
        key: Bytes,
        offset: u32,
        bytes: Bytes,
    },
    /// INCR, DECR, INCRBY, DECRBY.
    Increment {
        key: Bytes,
        by: i64,
    },
    IncrementFloat {
        key: Bytes,
        by: FloatText,
    },
    /// DEL, UNLINK: how many were there.
    Delete {
        keys: Vec<Bytes>,
    },
    /// EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT: `Integer` 1 or 0. A time in the past deletes the key.
    Expire {
        key: Bytes,
        expiry: Expiry,
        comparison: Comparison,
    },
    /// PERSIST: `Integer` 1 or 0.
    Persist {
        key: Bytes,
    },
    /// FLUSHALL, FLUSHDB of this shard.
    Flush,
    /// Removes keys whose time has come: proposed by the leader itself, never by a client.
    RemoveExpired {
        count_max: u32,
    },
    /// Removes those of the keys whose time has come: proposed for a linearizable read that found them.
    RemoveIfExpired {
        keys: Vec<Bytes>,
    },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SetCondition {
    Always,
    IfAbsent,
    IfPresent,
    /// SET IFEQ.
    IfEqual(Bytes),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Expiry {
    /// No expiry from now on.
    Never,
    /// Whatever it was (KEEPTTL).
    Keep,
    /// Milliseconds from the moment at which the leader evaluates.
    In {
        ms: i64,
    },
    At(WallTime),
}

/// EXPIRE's NX, XX, GT, LT.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Comparison {
    Always,
    IfNone,
    IfAny,
    IfGreater,
    IfLess,
    /// XX and LT together: a key without an expiry, which counts as living for ever, does not pass.
    IfAnyAndLess,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TtlUnit {
    Seconds,
    Milliseconds,
    AtSeconds,
    AtMilliseconds,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KeyType {
    String,
}

/// A finite decimal number as the client wrote it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FloatText(pub String);

/// Where a scan of one shard goes on: 0 at its begin. Opaque to the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ScanCursor(pub u64);

/// An answer. The session renders it in the client's protocol.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Value {
    Ok,
    Nil,
    Integer(i64),
    Bulk(Bytes),
    Status(String),
    List(Vec<Self>),
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
}

impl Operation {
    /// The keys that it names, in the client's order.
    #[must_use]
    pub fn keys(&self) -> Vec<&Bytes> {
        match self {
            Self::Read(read) => read.keys(),
            Self::Write(write) => write.keys(),
        }
    }
}

impl Read {
    /// The keys that it names, in the client's order.
    #[must_use]
    pub fn keys(&self) -> Vec<&Bytes> {
        match self {
            Self::Get { key }
            | Self::GetRange { key, .. }
            | Self::StringLength { key }
            | Self::Type { key }
            | Self::TimeToLive { key, .. } => vec![key],
            Self::GetMany { keys } | Self::CountExisting { keys } => keys.iter().collect(),
            Self::Scan { .. }
            | Self::CountKeys
            | Self::CountKeysInSlot { .. }
            | Self::KeysInSlot { .. }
            | Self::Keys { .. } => Vec::new(),
        }
    }
}

impl Write {
    fn keys(&self) -> Vec<&Bytes> {
        match self {
            Self::Set { key, .. }
            | Self::GetDelete { key }
            | Self::GetExpire { key, .. }
            | Self::Append { key, .. }
            | Self::SetRange { key, .. }
            | Self::Increment { key, .. }
            | Self::IncrementFloat { key, .. }
            | Self::Expire { key, .. }
            | Self::Persist { key } => vec![key],
            Self::SetMany { pairs, .. } => pairs.iter().map(|(key, _)| key).collect(),
            Self::Delete { keys } | Self::RemoveIfExpired { keys } => keys.iter().collect(),
            Self::Flush | Self::RemoveExpired { .. } => Vec::new(),
        }
    }
}
