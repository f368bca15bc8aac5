//! Commands as types.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_group::{KeyType, Operation};
use quorate_model::{Level, ReadPreference, ReadYourWrites, Slot};
use serde::{Deserialize, Serialize};

use super::CommandQuery;
use crate::resp::{Protocol, Reply};

#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// On the keys of one slot.
    Data(Data),
    /// On every shard.
    Keyspace(KeyspaceCommand),
    Wait(Wait),
    Session(SessionCommand),
    Quorum(QuorumCommand),
    Transaction(TransactionCommand),
    Connection(ConnectionCommand),
    Client(ClientCommand),
    Server(ServerCommand),
    Cluster(ClusterCommand),
    /// The words alone decide the answer.
    Fixed(Reply),
}

#[derive(Clone, PartialEq, Debug)]
pub struct Data {
    pub operation: Operation,
    /// The slot, where no key names it.
    pub slot: Option<Slot>,
    pub shape: Shape,
}

/// How the keyspace's answer becomes the command's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    AsIs,
    /// Whether something was written, as 1 or 0.
    WasSet,
    /// OK, whatever it was.
    Done,
    /// Names and values in turn: a map where the protocol has one.
    Map,
    /// A set where the protocol has one.
    Set,
    /// Names and values in turn: a list of pairs in RESP3.
    Pairs,
    /// A cursor and what was found.
    Scanned,
    /// This number where the key exists, else nil.
    IfExists(i64),
}

#[derive(Clone, PartialEq, Debug)]
pub enum KeyspaceCommand {
    Scan {
        cursor: u64,
        pattern: Option<Bytes>,
        count: u32,
        types: TypeFilter,
    },
    Count,
    Keys {
        pattern: Bytes,
    },
    RandomKey,
    Flush,
    /// The last ones over all shards.
    Conflicts {
        count: u32,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TypeFilter {
    Any,
    Only(KeyType),
    /// A type of which there are no keys.
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// WAIT: answers with the number of replicas.
    Replicas { replicas: u32, timeout_ms: u64 },
    /// WAITAOF: answers with this node's durability and the number of replicas.
    Durable { replicas: u32, timeout_ms: u64 },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionCommand {
    Set(Vec<SessionOption>),
    Get,
    Token,
    Resume(Bytes),
    Reset,
}

/// How many replicas must answer the connection, in a store without leaders.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QuorumCommand {
    Get,
    Set { read: Level, write: Level },
    Linearizable,
    Reset,
}

/// One guarantee that a connection asks for. Units are milliseconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionOption {
    Reads(ReadPreference),
    ReadYourWrites(ReadYourWrites),
    Monotonic(bool),
    Prefix(bool),
    Staleness(Option<u64>),
    Wait(u64),
    Durability(DurabilityOption),
    DurabilityTimeout(u64),
    User(String),
}

/// How durable a connection's writes are before they are answered, beyond what the store asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum DurabilityOption {
    #[default]
    Store,
    Quorum,
    Sync,
    Followers(u32),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransactionCommand {
    Multi,
    Exec {
        /// ONCE.
        token: Option<Bytes>,
    },
    Discard,
    Watch {
        keys: Vec<Bytes>,
    },
    Unwatch,
}

#[derive(Clone, PartialEq, Debug)]
pub enum ConnectionCommand {
    Hello(HelloOptions),
    Auth { user: Option<Bytes>, password: Bytes },
    Ping(Option<Bytes>),
    Select(i64),
    Quit,
    Reset,
    ReadOnly,
    ReadWrite,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HelloOptions {
    pub protocol: Option<Protocol>,
    pub auth: Option<(Bytes, Bytes)>,
    pub name: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientCommand {
    Id,
    Name,
    SetName(String),
    SetLibraryName(String),
    SetLibraryVersion(String),
    Info,
    List(ClientFilter),
    Kill { filter: ClientFilter, skip_me: bool, old_style: bool },
    Reply(ReplyMode),
}

/// Which connections: those that satisfy all that is set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClientFilter {
    pub ids: Option<BTreeSet<u64>>,
    pub peer: Option<String>,
    pub local: Option<String>,
    pub user: Option<String>,
    /// `Some(false)`: none, since only normal clients exist (TYPE replica, pubsub, master).
    pub normal: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyMode {
    On,
    Off,
    Skip,
}

#[derive(Clone, PartialEq, Debug)]
pub enum ServerCommand {
    Table(CommandQuery),
    /// The sections, in lower case; none for the default ones.
    Info(Vec<String>),
    ConfigGet(Vec<Bytes>),
    ConfigSet(Vec<(Bytes, Bytes)>),
    ConfigResetStatistics,
    Role,
    Time,
    LastSave,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClusterCommand {
    Slots,
    Shards,
    Nodes,
    Info,
    MyId,
    MyShardId,
    Replicas { node: Bytes },
    FailureReports { node: Bytes },
}
