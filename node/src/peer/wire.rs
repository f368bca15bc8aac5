//! What nodes say to each other beside the groups' own messages: the handshake, who leads, forwarded requests.
//!
//! Plain data. The encoding is positional: fields and variants are only ever added at the end.

use bytes::Bytes;
use quorate_group::host::{Failure, Floor, ReadLevel, Reply, Request};
use quorate_group::{Operation, Read};
use quorate_model::{
    Addresses, Demand, Epoch, GroupId, LogIndex, NodeId, Position, ShardId, StoreId, Term,
    Topology, VersionVector,
};
use quorate_replication::leaderless::Seen;
use serde::{Deserialize, Serialize};

/// What a connection is for. Each has a connection of its own, so that none waits behind another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Lane {
    /// Replication: votes, appends, heartbeats, in their order.
    Replication,
    /// Snapshots.
    Bulk,
    /// Requests forwarded to a leader, and their answers.
    Requests,
}

/// The first frame on a connection, from the side that dials.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    pub store: StoreId,
    pub from: NodeId,
    /// Whom the dialler means to reach; `None` when it knows an address only.
    pub to: Option<NodeId>,
    pub addresses: Addresses,
    pub lane: Lane,
    /// Drawn at every start of the process.
    pub boot: u64,
}

/// The answer to a [`Hello`] that is accepted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Welcome {
    pub node: NodeId,
    pub addresses: Addresses,
    pub boot: u64,
}

/// The answer to a [`Hello`] that is not accepted; the connection is closed after it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("it belongs to another store")]
    OtherStore,
    #[error("another node is there: {actual}")]
    OtherNode { actual: NodeId },
    #[error("this node dialled itself")]
    Yourself,
    #[error("it has too many connections")]
    TooMany,
}

/// What a node itself leads, and where it found others. Hints: the truth is the group's answer, and who answers there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Leaders {
    pub leads: Vec<(GroupId, Term)>,
    /// Members that are reached elsewhere than the topology says.
    pub moved: Vec<(NodeId, Addresses)>,
}

/// A request for the leader of a group, sent on by a node that is not.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Forwarded {
    /// Unique on its connection; the answer carries it.
    pub number: u64,
    /// Set for writes that must not overtake one another: see `driver::gate`.
    pub generation: Option<u64>,
    pub request: Remote,
}

/// The requests that may be forwarded.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Remote {
    Execute {
        shard: ShardId,
        operation: Operation,
        level: ReadLevel,
    },
    Wait {
        shard: ShardId,
        position: Position,
        replicas: u32,
        timeout_ms: u64,
    },
    ProposeTopology {
        expected: Epoch,
        topology: Topology,
    },
    ReadTopology,
    ReadIndex {
        shard: ShardId,
    },
    AwaitApplied {
        shard: ShardId,
        index: LogIndex,
    },
    ReadAt {
        shard: ShardId,
        read: Read,
        floor: Floor,
        wait_ms: u64,
    },
    /// Without a leader: any replica of the shard may coordinate it.
    Coordinate {
        shard: ShardId,
        operation: Operation,
        demand: Demand,
        seen: Option<Seen>,
    },
    /// Of several leaders.
    ReadKnown {
        shard: ShardId,
    },
    AwaitKnown {
        shard: ShardId,
        floor: VersionVector,
        wait_ms: u64,
    },
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Answer {
    pub number: u64,
    pub result: Result<Reply, Failure>,
}

impl From<Remote> for Request {
    fn from(remote: Remote) -> Self {
        match remote {
            Remote::Execute { shard, operation, level } => {
                Self::Execute { shard, operation, level }
            }
            Remote::Wait { shard, position, replicas, timeout_ms } => {
                Self::Wait { shard, position, replicas, timeout_ms }
            }
            Remote::ProposeTopology { expected, topology } => {
                Self::ProposeTopology { expected, topology: Box::new(topology) }
            }
            Remote::ReadTopology => Self::ReadTopology,
            Remote::ReadIndex { shard } => Self::ReadIndex { shard },
            Remote::AwaitApplied { shard, index } => Self::AwaitApplied { shard, index },
            Remote::ReadAt { shard, read, floor, wait_ms } => {
                Self::ReadAt { shard, read, floor, wait_ms }
            }
            Remote::Coordinate { shard, operation, demand, seen } => {
                Self::Coordinate { shard, operation, demand, seen }
            }
            Remote::ReadKnown { shard } => Self::ReadKnown { shard },
            Remote::AwaitKnown { shard, floor, wait_ms } => {
                Self::AwaitKnown { shard, floor, wait_ms }
            }
        }
    }
}

impl Remote {
    /// The group that the request is for.
    #[must_use]
    pub const fn group(&self) -> GroupId {
        match self {
            Self::Execute { shard, .. }
            | Self::Wait { shard, .. }
            | Self::ReadIndex { shard }
            | Self::ReadAt { shard, .. }
            | Self::Coordinate { shard, .. }
            | Self::ReadKnown { shard }
            | Self::AwaitKnown { shard, .. }
            | Self::AwaitApplied { shard, .. } => GroupId::Shard(*shard),
            Self::ProposeTopology { .. } | Self::ReadTopology => GroupId::Meta,
        }
    }

    /// Whether it can change something: such a request is never sent twice once it may have been received.
    #[must_use]
    pub const fn writes(&self) -> bool {
        match self {
            Self::Execute { operation, .. } | Self::Coordinate { operation, .. } => {
                matches!(operation, Operation::Write(_))
            }
            Self::ProposeTopology { .. } => true,
            Self::Wait { .. }
            | Self::ReadTopology
            | Self::ReadIndex { .. }
            | Self::ReadAt { .. }
            | Self::ReadKnown { .. }
            | Self::AwaitKnown { .. }
            | Self::AwaitApplied { .. } => false,
        }
    }

    /// Roughly what it takes in memory and on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Execute { operation, .. } => 64 + operation_bytes(operation),
            Self::Coordinate { operation, seen, .. } => {
                let seen = seen.iter().flat_map(|seen| &seen.cells);
                let seen: usize =
                    seen.map(|(key, known)| 32 + key.bytes().len() + 16 * known.len()).sum();
                64 + operation_bytes(operation) + seen
            }
            Self::ReadAt { read, .. } => 128 + keys_bytes(&read.keys()),
            Self::ProposeTopology { topology, .. } => {
                256 * topology.members.len() + 64 * topology.shards.len()
            }
            Self::AwaitKnown { floor, .. } => 64 + 16 * floor.len(),
            Self::Wait { .. }
            | Self::ReadTopology
            | Self::ReadIndex { .. }
            | Self::ReadKnown { .. }
            | Self::AwaitApplied { .. } => 64,
        }
    }
}

fn operation_bytes(operation: &Operation) -> usize {
    let keys = keys_bytes(&operation.keys());
    match operation {
        Operation::Read(read) => keys + read_bytes(read),
        Operation::Write(write) => keys + write_bytes(write),
    }
}

/// Without its keys.
fn read_bytes(read: &Read) -> usize {
    match read {
        Read::FieldsNamed { fields, .. } | Read::HasFields { fields, .. } => {
            fields.iter().map(|field| 8 + field.len()).sum()
        }
        Read::Field { field, .. } | Read::FieldLength { field, .. } => field.len(),
        Read::Get { .. }
        | Read::GetMany { .. }
        | Read::GetRange { .. }
        | Read::StringLength { .. }
        | Read::CountExisting { .. }
        | Read::Type { .. }
        | Read::TimeToLive { .. }
        | Read::Scan { .. }
        | Read::CountKeys
        | Read::CountKeysInSlot { .. }
        | Read::KeysInSlot { .. }
        | Read::Keys { .. }
        | Read::AllFields { .. }
        | Read::CountFields { .. }
        | Read::RandomFields { .. }
        | Read::ScanFields { .. }
        | Read::CombineSets { .. }
        | Read::CountIntersection { .. }
        | Read::Encoding { .. }
        | Read::MemoryUsage { .. }
        | Read::RandomKey { .. }
        | Read::Digest { .. }
        | Read::Siblings { .. }
        | Read::Conflicts { .. }
        | Read::Home { .. }
        | Read::Versions { .. } => 0,
    }
}

/// Without its keys, except those of a transaction's operations, which count with each of them.
fn write_bytes(write: &quorate_group::Write) -> usize {
    use quorate_group::{DeleteCondition, Write};
    let pairs_bytes = |pairs: &[(Bytes, Bytes)]| -> usize {
        pairs.iter().map(|(field, value)| 16 + field.len() + value.len()).sum()
    };
    match write {
        Write::Set { value, .. } => value.len(),
        Write::SetSibling { value, context, .. } => {
            value.len() + context.as_ref().map_or(0, Bytes::len)
        }
        Write::DeleteSiblings { context, .. } => context.len(),
        Write::SetHome { home, .. } => home.as_ref().map_or(0, Bytes::len),
        Write::SetMany { pairs, .. } => pairs.iter().map(|(_, value)| 8 + value.len()).sum(),
        Write::Append { suffix, .. } => suffix.len(),
        Write::SetRange { bytes, .. } => bytes.len(),
        Write::SetFields { pairs, .. } => pairs_bytes(pairs),
        Write::SetFieldIfNone { field, value, .. } => field.len() + value.len(),
        Write::RemoveFields { fields: elements, .. }
        | Write::AddMembers { members: elements, .. } => {
            elements.iter().map(|element| 8 + element.len()).sum()
        }
        Write::IncrementField { field, .. } | Write::IncrementFieldFloat { field, .. } => {
            field.len()
        }
        Write::MoveMember { member, .. } => member.len(),
        Write::DeleteIf { condition: DeleteCondition::Value { value, .. }, .. } => value.len(),
        Write::Transaction { watched, operations } => {
            16 * watched.len()
                + operations.iter().map(|one| 32 + operation_bytes(one)).sum::<usize>()
        }
        Write::Once { token, write, answer, .. } => {
            let answer = answer.as_ref().map_or(0, quorate_group::Value::bytes);
            token.len() + write_bytes(write) + usize::try_from(answer).unwrap_or(usize::MAX)
        }
        Write::IncrementFloat { .. }
        | Write::GetDelete { .. }
        | Write::GetExpire { .. }
        | Write::Increment { .. }
        | Write::Delete { .. }
        | Write::DeleteIf { condition: DeleteCondition::Digest { .. }, .. }
        | Write::RemoveIfExpired { .. }
        | Write::Expire { .. }
        | Write::Persist { .. }
        | Write::Flush
        | Write::PopMembers { .. }
        | Write::StoreSets { .. }
        | Write::Rename { .. }
        | Write::Copy { .. }
        | Write::RemoveExpired { .. } => 0,
    }
}

fn keys_bytes(keys: &[&Bytes]) -> usize {
    keys.iter().map(|key| 8 + key.len()).sum()
}
