//! A snapshot stands for committed entries that its sender has applied. INV-32, INV-33.
//!
//! That a receiver's state never goes back is watched by `state_machine_safety`, that rows are the same by `liveness`.

use quorate_group::host::PeerMessage;

use super::{Ledger, Sight};

pub(crate) fn sent(at: Sight<'_>, message: &PeerMessage, ledger: &Ledger) -> Result<(), String> {
    let PeerMessage::SnapshotChunk { position, .. } = message else { return Ok(()) };
    if position.index > at.replica.applied() {
        return Err(format!(
            "{}: {} sends a snapshot at {position:?} that it has not applied",
            at.group, at.node
        ));
    }
    match ledger.get(&(at.group, position.index)) {
        Some(term) if *term != position.term => Err(format!(
            "{}: {} sends a snapshot at {position:?}, committed was term {term}",
            at.group, at.node
        )),
        Some(_) | None => Ok(()),
    }
}
