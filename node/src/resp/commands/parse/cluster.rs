//! CLUSTER and the commands of cluster-aware connections.

use quorate_group::{Operation, Read};
use quorate_model::Slot;

use super::Parsed;
use crate::resp::Reply;
use crate::resp::commands::{
    Arguments, ClusterCommand, Command, CommandError, ConnectionCommand, Data, Shape,
};

pub(in super::super) fn slots(_: &Arguments<'_>) -> Parsed {
    cluster(ClusterCommand::Slots)
}

pub(in super::super) fn shards(_: &Arguments<'_>) -> Parsed {
    cluster(ClusterCommand::Shards)
}

pub(in super::super) fn nodes(_: &Arguments<'_>) -> Parsed {
    cluster(ClusterCommand::Nodes)
}

pub(in super::super) fn info(_: &Arguments<'_>) -> Parsed {
    cluster(ClusterCommand::Info)
}

pub(in super::super) fn myid(_: &Arguments<'_>) -> Parsed {
    cluster(ClusterCommand::MyId)
}

pub(in super::super) fn myshardid(_: &Arguments<'_>) -> Parsed {
    cluster(ClusterCommand::MyShardId)
}

pub(in super::super) fn replicas(arguments: &Arguments<'_>) -> Parsed {
    cluster(ClusterCommand::Replicas { node: arguments.owned(2) })
}

pub(in super::super) fn count_failure_reports(arguments: &Arguments<'_>) -> Parsed {
    cluster(ClusterCommand::FailureReports { node: arguments.owned(2) })
}

pub(in super::super) fn links(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Fixed(Reply::List(Vec::new())))
}

pub(in super::super) fn saveconfig(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Fixed(Reply::Ok))
}

pub(in super::super) fn keyslot(arguments: &Arguments<'_>) -> Parsed {
    let slot = Slot::of_key(arguments.at(2));
    Ok(Command::Fixed(Reply::Integer(i64::from(slot.number()))))
}

pub(in super::super) fn countkeysinslot(arguments: &Arguments<'_>) -> Parsed {
    let slot = slot(arguments, "ERR Invalid slot")?;
    Ok(in_slot(slot, Read::CountKeysInSlot { slot }))
}

pub(in super::super) fn getkeysinslot(arguments: &Arguments<'_>) -> Parsed {
    const WRONG: &str = "ERR Invalid slot or number of keys";
    let slot = slot(arguments, WRONG)?;
    let count = u32::try_from(arguments.integer(3)?).map_err(|_| CommandError::other(WRONG))?;
    Ok(in_slot(slot, Read::KeysInSlot { slot, count }))
}

pub(in super::super) fn readonly(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Connection(ConnectionCommand::ReadOnly))
}

pub(in super::super) fn readwrite(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Connection(ConnectionCommand::ReadWrite))
}

/// No slot is ever half moved, so nobody is ever asked to send this: it changes nothing.
pub(in super::super) fn asking(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Fixed(Reply::Ok))
}

const fn cluster(command: ClusterCommand) -> Parsed {
    Ok(Command::Cluster(command))
}

fn slot(arguments: &Arguments<'_>, wrong: &str) -> Result<Slot, CommandError> {
    let number = arguments.integer(2)?;
    u16::try_from(number).ok().and_then(Slot::new).ok_or_else(|| CommandError::other(wrong))
}

const fn in_slot(slot: Slot, read: Read) -> Command {
    Command::Data(Data { operation: Operation::Read(read), slot: Some(slot), shape: Shape::AsIs })
}
