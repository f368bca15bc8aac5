//! Where an operation runs: a pure function of the routing, the port and the connection's READONLY.

use bytes::Bytes;
use quorate_group::Operation;
use quorate_group::host::ReadLevel;
use quorate_model::{Demand, NodeId, ShardId, Slot};

use super::{Execute, Port, Reach, Routing, host_and_port};
use crate::resp::commands::Data;

/// What a connection has asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Replicas {
    /// Reads go to leaders.
    #[default]
    Never,
    /// READONLY: reads may be answered by this node's replica, which may lag.
    Allowed,
}

/// Display is the answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("CROSSSLOT Keys in request don't hash to the same slot")]
    CrossSlot,
    #[error("CLUSTERDOWN Hash slot not served: this node does not belong to a store yet")]
    NotBootstrapped,
    #[error("CLUSTERDOWN shard {0} has no leader")]
    NoLeader(ShardId),
    #[error("MOVED {slot} {address}")]
    Moved { slot: Slot, address: String },
}

/// The slot of an operation.
///
/// # Errors
/// [`Refusal::CrossSlot`] when its keys are in several.
///
/// # Panics
/// When neither a key nor the command names a slot: every [`Data`] has one.
pub(super) fn slot_of(data: &Data) -> Result<Slot, Refusal> {
    if let Some(slot) = data.slot {
        return Ok(slot);
    }
    let keys = data.operation.keys();
    let mut slots = keys.iter().map(|key: &&Bytes| Slot::of_key(key));
    let first = slots.next().expect("an operation without a key has its slot beside it");
    if slots.all(|slot| slot == first) { Ok(first) } else { Err(Refusal::CrossSlot) }
}

/// Where to run an operation on this slot.
///
/// # Errors
/// The answer, where the operation cannot run or the client has to go elsewhere.
pub(super) fn route(
    routing: &Routing,
    port: Port,
    replicas: Replicas,
    slot: Slot,
    operation: Operation,
) -> Result<Execute, Refusal> {
    let shard = routing.shard_of(slot).ok_or(Refusal::NotBootstrapped)?;
    let hosted = routing.shard(shard).is_some_and(|route| route.hosted);
    let local = replicas == Replicas::Allowed
        && hosted
        && !routing.leads(shard)
        && matches!(operation, Operation::Read(_));
    // What names no key is asked for by tools that count: they get their answer wherever they ask.
    let anywhere = port == Port::Plain || operation.keys().is_empty();
    let (level, reach) = match (local, anywhere) {
        (true, _) => (ReadLevel::Local, Reach::Here),
        (false, true) => (ReadLevel::Linearizable, Reach::Anywhere),
        (false, false) if routing.leads(shard) => (ReadLevel::Linearizable, Reach::Here),
        (false, false) => return Err(elsewhere(routing, shard, slot, None)),
    };
    Ok(Execute {
        shard,
        operation,
        level,
        reach,
        demand: Demand::Declared,
        seen: None,
        promised: false,
    })
}

/// Whether this port takes writes to this slot.
///
/// # Errors
/// As [`route`].
pub(super) fn led(routing: &Routing, port: Port, slot: Slot) -> Result<(), Refusal> {
    let shard = routing.shard_of(slot).ok_or(Refusal::NotBootstrapped)?;
    match port {
        Port::Plain => Ok(()),
        Port::Cluster if routing.leads(shard) => Ok(()),
        Port::Cluster => Err(elsewhere(routing, shard, slot, None)),
    }
}

/// Where a client of the cluster port has to go. `leader`: who is known to lead, where something newer than the
/// routing said so.
pub(super) fn elsewhere(
    routing: &Routing,
    shard: ShardId,
    slot: Slot,
    leader: Option<NodeId>,
) -> Refusal {
    let leader = leader.or_else(|| routing.elsewhere(shard));
    let address = leader
        .filter(|leader| *leader != routing.node)
        .and_then(|leader| routing.members.get(&leader))
        .and_then(|member| host_and_port(&member.addresses.cluster));
    match address {
        Some((host, port)) => Refusal::Moved { slot, address: format!("{host}:{port}") },
        None => Refusal::NoLeader(shard),
    }
}
