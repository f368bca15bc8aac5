//! What other coordinators ask of this replica.

use quorate_model::NodeId;

use super::asked::digest;
use super::kernel::Kernel;
use super::{Asked, CellKey, Cells, Found, Message};
use crate::causal::{Cell, CellDigest};

pub(super) fn store(
    kernel: &mut Kernel,
    cells: &dyn Cells,
    from: NodeId,
    number: u64,
    told: &[(CellKey, Cell)],
) {
    // What is not taken is not acknowledged; it comes again.
    if let Some(until) = kernel.merge(cells, told)
        && kernel.counts_for_writes()
    {
        kernel.send_when(until, from, Message::Stored { number });
    }
}

/// What was held for this replica. INV-104
pub(super) fn handoff(
    kernel: &mut Kernel,
    cells: &dyn Cells,
    from: NodeId,
    number: u64,
    told: &[(CellKey, Cell)],
) {
    if kernel.owners.holders().contains(&from) {
        store(kernel, cells, from, number, told);
    }
}

pub(super) fn fetch(
    kernel: &mut Kernel,
    cells: &dyn Cells,
    from: NodeId,
    number: u64,
    asked: &[(Asked, CellDigest)],
) {
    if !kernel.counts_for_reads() {
        return;
    }
    let Ok(known) = kernel.known(cells, asked.iter().map(|(asked, _)| asked)) else {
        return kernel.send(from, Message::TooMuch { number });
    };
    let until = kernel.durable_through(known.iter().flatten().map(|(key, _)| key));
    let found = known.into_iter().zip(asked).map(|(part, (_, theirs))| {
        let ours = digest(part.iter().map(|(key, cell)| (key, cell)));
        if ours == *theirs { Found::Same } else { Found::Other(part) }
    });
    let found = found.collect();
    kernel.send_when(until, from, Message::Fetched { number, found });
}
