//! What other coordinators ask of this replica.

use quorate_model::NodeId;

use super::kernel::Kernel;
use super::{CellKey, Cells, Found, Message};
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
        && kernel.counts_for_quorums()
    {
        kernel.send_when(until, from, Message::Stored { number });
    }
}

pub(super) fn fetch(
    kernel: &mut Kernel,
    cells: &dyn Cells,
    from: NodeId,
    number: u64,
    asked: &[(CellKey, CellDigest)],
) {
    if !kernel.counts_for_quorums() {
        return;
    }
    let found = asked.iter().map(|(key, digest)| {
        let cell = kernel.cell(cells, key).unwrap_or_default();
        if cell.digest() == *digest { Found::Same } else { Found::Other(cell) }
    });
    let found = found.collect();
    let until = kernel.durable_through(asked.iter().map(|(key, _)| key));
    kernel.send_when(until, from, Message::Fetched { number, cells: found });
}
