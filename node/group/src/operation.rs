//! What a client can ask of the keyspace: typed, free of any client protocol.
//!
//! Every operation touches keys of one slot, except those that name no key and are asked shard by shard.

use bytes::Bytes;
use quorate_model::{Slot, SlotRange, WallTime};
use serde::{Deserialize, Serialize};

use crate::{Value, nesting};

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
    /// KEYS: every key of the shard that matches, bounded by `count_max` (an error beyond it).
    Keys {
        pattern: Bytes,
        count_max: u32,
    },
    /// HGET: `Bulk` or `Nil`.
    Field {
        key: Bytes,
        field: Bytes,
    },
    /// HMGET: a list with a `Bulk` or `Nil` per field.
    FieldsNamed {
        key: Bytes,
        fields: Vec<Bytes>,
    },
    /// HGETALL, HKEYS, HVALS, SMEMBERS: a list, field and value in turn where both are wanted.
    AllFields {
        key: Bytes,
        kind: CollectionKind,
        part: Part,
    },
    /// HLEN, SCARD.
    CountFields {
        key: Bytes,
        kind: CollectionKind,
    },
    /// HSTRLEN.
    FieldLength {
        key: Bytes,
        field: Bytes,
    },
    /// HEXISTS, SISMEMBER (one field, `Integer`), SMISMEMBER (a list of them).
    HasFields {
        key: Bytes,
        kind: CollectionKind,
        fields: Vec<Bytes>,
        many: bool,
    },
    /// HRANDFIELD, SRANDMEMBER. Without a count a `Bulk` or `Nil`; with one a list, of different fields, or where it is
    /// negative of so many picks, each among all.
    RandomFields {
        key: Bytes,
        kind: CollectionKind,
        count: Option<i64>,
        part: Part,
    },
    /// One step of HSCAN or SSCAN. Answer: a list of the next cursor (`Integer`, 0 at the end) and a list as of
    /// [`Read::AllFields`].
    ScanFields {
        key: Bytes,
        kind: CollectionKind,
        cursor: u32,
        pattern: Option<Bytes>,
        count: u32,
        part: Part,
    },
    /// SINTER, SUNION, SDIFF: a list.
    CombineSets {
        keys: Vec<Bytes>,
        combination: Combination,
    },
    /// SINTERCARD; a limit of 0 is none.
    CountIntersection {
        keys: Vec<Bytes>,
        limit: u64,
    },
    /// OBJECT ENCODING: `Nil`, or the name of the encoding that Redis would choose.
    Encoding {
        key: Bytes,
    },
    /// MEMORY USAGE: `Nil`, or about how many bytes the key takes.
    MemoryUsage {
        key: Bytes,
    },
    /// RANDOMKEY of this shard, whose slots these are: `Bulk`, or `Nil` when it is empty.
    RandomKey {
        slots: SlotRange,
    },
    /// DIGEST: `Nil`, or a `Bulk` with the XXH3 hash of the string in 16 hexadecimal digits.
    Digest {
        key: Bytes,
    },
    /// WATCH: a list with a [`Version`] for each key, as an `Integer` of the same bits.
    Versions {
        keys: Vec<Bytes>,
    },
    /// VGET, without a leader or with several: a list of the context (`Bulk`) and of every value that no known write has replaced.
    Siblings {
        key: Bytes,
    },
    /// CONFLICTS of this shard, where there are several leaders: a list of the last ones, each a list of names and values.
    Conflicts {
        count: u32,
    },
    /// HOME: the datacenter that writes the key (`Bulk`), or `Nil` where all do.
    Home {
        key: Bytes,
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
    /// HSET, HMSET: how many fields are new.
    SetFields {
        key: Bytes,
        pairs: Vec<(Bytes, Bytes)>,
    },
    /// HSETNX: `Integer` 1 or 0.
    SetFieldIfNone {
        key: Bytes,
        field: Bytes,
        value: Bytes,
    },
    /// HDEL, SREM: how many were there.
    RemoveFields {
        key: Bytes,
        kind: CollectionKind,
        fields: Vec<Bytes>,
    },
    /// HINCRBY.
    IncrementField {
        key: Bytes,
        field: Bytes,
        by: i64,
    },
    /// HINCRBYFLOAT.
    IncrementFieldFloat {
        key: Bytes,
        field: Bytes,
        by: FloatText,
    },
    /// SADD: how many are new.
    AddMembers {
        key: Bytes,
        members: Vec<Bytes>,
    },
    /// SPOP. Without a count a `Bulk` or `Nil`, with one a list.
    PopMembers {
        key: Bytes,
        count: Option<u64>,
    },
    /// SMOVE: `Integer` 1 or 0.
    MoveMember {
        from: Bytes,
        to: Bytes,
        member: Bytes,
    },
    /// SINTERSTORE, SUNIONSTORE, SDIFFSTORE: how many members `to` has.
    StoreSets {
        to: Bytes,
        keys: Vec<Bytes>,
        combination: Combination,
    },
    /// RENAME (`Ok`) and RENAMENX (`Integer` 1 or 0).
    Rename {
        from: Bytes,
        to: Bytes,
        only_if_none: bool,
    },
    /// COPY: `Integer` 1 or 0.
    Copy {
        from: Bytes,
        to: Bytes,
        replace: bool,
    },
    /// DELEX: `Integer` 1 or 0.
    DeleteIf {
        key: Bytes,
        condition: DeleteCondition,
    },
    /// EXEC: a list with each operation's answer, or `Nil` when a watched key has another version than when it was
    /// watched. None of the operations is a transaction.
    Transaction {
        watched: Vec<(Bytes, Version)>,
        #[serde(deserialize_with = "nesting::deserialize")]
        operations: Vec<Operation>,
    },
    /// ONCE: the write's answer, the first time that this token comes with this fingerprint; then the same answer again.
    Once {
        token: Bytes,
        /// Of the command as the client sent it: a token is not used for two.
        fingerprint: u64,
        #[serde(deserialize_with = "nesting::deserialize")]
        write: Box<Self>,
        /// What is kept, where the write in the log is no longer answered as the client's was.
        answer: Option<Value>,
    },
    /// VSET, without a leader: in place of what the context covers, concurrent with everything without one. As
    /// [`Read::Siblings`], after the write.
    SetSibling {
        key: Bytes,
        value: Bytes,
        context: Option<Bytes>,
    },
    /// VDEL, without a leader: without what the context covers. As [`Read::Siblings`], after the write.
    DeleteSiblings {
        key: Bytes,
        context: Bytes,
    },
    /// HOME, where there are several leaders: hands the home over; a key's without one is its pattern's. `Ok`.
    SetHome {
        of: HomeOf,
        home: Option<Bytes>,
    },
}

/// What has a home.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum HomeOf {
    Key(Bytes),
    /// All keys that match, but those that have another: handed over by leaders alone.
    Pattern {
        pattern: Bytes,
        /// The epoch since when it is declared.
        since: u64,
    },
}

/// What DELEX asks of the string that it is to delete.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DeleteCondition {
    /// IFEQ, and with `equal` false IFNE.
    Value { value: Bytes, equal: bool },
    /// IFDEQ and IFDNE: the value's DIGEST.
    Digest { digest: u64, equal: bool },
}

/// A type whose elements are rows of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CollectionKind {
    Hash,
    Set,
}

/// What of a field is wanted. A set's members are fields without a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Part {
    Fields,
    Values,
    Both,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Combination {
    Intersection,
    Union,
    /// The first without the others.
    Difference,
}

/// Tells two states of a key apart, also of one that does not exist: see `keyspace::layout`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Version(pub u64);

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SetCondition {
    Always,
    IfAbsent,
    IfPresent,
    /// SET IFEQ.
    IfEqual(Bytes),
    /// SET IFNE: also when there is none.
    IfNotEqual(Bytes),
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
    Hash,
    Set,
}

/// A finite decimal number as the client wrote it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FloatText(pub String);

/// Where a scan of one shard goes on: 0 at its begin. Opaque to the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ScanCursor(pub u64);

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
            | Self::TimeToLive { key, .. }
            | Self::Field { key, .. }
            | Self::FieldsNamed { key, .. }
            | Self::AllFields { key, .. }
            | Self::CountFields { key, .. }
            | Self::FieldLength { key, .. }
            | Self::HasFields { key, .. }
            | Self::RandomFields { key, .. }
            | Self::ScanFields { key, .. }
            | Self::Siblings { key }
            | Self::Home { key }
            | Self::Encoding { key }
            | Self::MemoryUsage { key }
            | Self::Digest { key } => vec![key],
            Self::GetMany { keys }
            | Self::CountExisting { keys }
            | Self::CombineSets { keys, .. }
            | Self::CountIntersection { keys, .. }
            | Self::Versions { keys } => keys.iter().collect(),
            Self::Scan { .. }
            | Self::CountKeys
            | Self::CountKeysInSlot { .. }
            | Self::KeysInSlot { .. }
            | Self::Keys { .. }
            | Self::Conflicts { .. }
            | Self::RandomKey { .. } => Vec::new(),
        }
    }
}

impl Write {
    /// The keys that it names, in the client's order.
    #[must_use]
    pub fn keys(&self) -> Vec<&Bytes> {
        match self {
            Self::Set { key, .. }
            | Self::GetDelete { key }
            | Self::GetExpire { key, .. }
            | Self::Append { key, .. }
            | Self::SetRange { key, .. }
            | Self::Increment { key, .. }
            | Self::IncrementFloat { key, .. }
            | Self::Expire { key, .. }
            | Self::Persist { key }
            | Self::SetFields { key, .. }
            | Self::SetFieldIfNone { key, .. }
            | Self::RemoveFields { key, .. }
            | Self::IncrementField { key, .. }
            | Self::IncrementFieldFloat { key, .. }
            | Self::AddMembers { key, .. }
            | Self::PopMembers { key, .. }
            | Self::SetSibling { key, .. }
            | Self::DeleteSiblings { key, .. }
            | Self::SetHome { of: HomeOf::Key(key), .. }
            | Self::DeleteIf { key, .. } => vec![key],
            Self::MoveMember { from, to, .. }
            | Self::Rename { from, to, .. }
            | Self::Copy { from, to, .. } => vec![from, to],
            Self::StoreSets { to, keys, .. } => std::iter::once(to).chain(keys).collect(),
            Self::Transaction { watched, operations } => {
                let operations = operations.iter().flat_map(Operation::keys);
                watched.iter().map(|(key, _)| key).chain(operations).collect()
            }
            Self::SetMany { pairs, .. } => pairs.iter().map(|(key, _)| key).collect(),
            Self::Delete { keys } | Self::RemoveIfExpired { keys } => keys.iter().collect(),
            Self::Once { write, .. } => write.keys(),
            Self::Flush
            | Self::RemoveExpired { .. }
            | Self::SetHome { of: HomeOf::Pattern { .. }, .. } => Vec::new(),
        }
    }
}
