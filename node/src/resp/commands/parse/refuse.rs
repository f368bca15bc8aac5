//! Commands that are refused, with the reason and what to do instead.

use super::Parsed;
use crate::resp::commands::{Arguments, CommandError};

pub(in super::super) fn topology(_: &Arguments<'_>) -> Parsed {
    refuse("the topology belongs to the operator: change the ReplicatedStore resource instead")
}

pub(in super::super) fn failover(_: &Arguments<'_>) -> Parsed {
    refuse("leadership belongs to the operator: use kubectl quorate or the admin API's handover")
}

pub(in super::super) fn replication(_: &Arguments<'_>) -> Parsed {
    refuse("replicas are placed by the operator: change the ReplicatedStore resource instead")
}

pub(in super::super) fn saving(_: &Arguments<'_>) -> Parsed {
    refuse("there is nothing to save: every acknowledged write is on the disk already")
}

pub(in super::super) fn debugging(_: &Arguments<'_>) -> Parsed {
    refuse("DEBUG command not allowed")
}

pub(in super::super) fn shutdown(_: &Arguments<'_>) -> Parsed {
    refuse("SHUTDOWN is not allowed: nodes are stopped by the operator or by their process manager")
}

pub(in super::super) fn configuration(_: &Arguments<'_>) -> Parsed {
    refuse("settings belong to the operator: change the ReplicatedStore resource instead")
}

pub(in super::super) fn tracking(_: &Arguments<'_>) -> Parsed {
    refuse("client-side caching is not supported yet")
}

fn refuse(why: &str) -> Parsed {
    Err(CommandError::Other(format!("ERR {why}")))
}
