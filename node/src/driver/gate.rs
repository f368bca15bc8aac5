//! Keeps writes of one source in their order when some are refused.
//!
//! A source sends writes of a group one after the other without waiting. When one is refused (no leader here), those
//! behind it must be refused too, even if the node has become the leader in between: else the refused one, sent
//! again, would overtake them. So a refusal closes the stream's generation, and the source goes on with the next.

use std::collections::BTreeMap;

use quorate_model::GroupId;

/// The writes of one source for one group, since the source last began anew.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stream {
    pub source: u64,
    pub group: GroupId,
    /// Raised by the source when everything of the last one is answered or given up.
    pub generation: u64,
}

/// The source of everything that begins on this node.
pub const SOURCE_HERE: u64 = 0;

#[derive(Debug, Default)]
pub(super) struct Gate {
    /// The highest generation that was closed.
    closed: BTreeMap<(u64, GroupId), u64>,
}

impl Gate {
    /// Whether a write of this stream may go on to the host.
    #[must_use]
    pub(super) fn admits(&self, stream: Stream) -> bool {
        self.closed
            .get(&(stream.source, stream.group))
            .is_none_or(|closed| stream.generation > *closed)
    }

    /// A write of this stream was refused.
    pub(super) fn close(&mut self, stream: Stream) {
        let closed = self.closed.entry((stream.source, stream.group)).or_insert(0);
        *closed = stream.generation.max(*closed);
    }

    /// The source never sends again.
    pub(super) fn forget(&mut self, source: u64) {
        self.closed.retain(|(of, _), _| *of != source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_closes_its_generation_and_only_that_stream() {
        let mut gate = Gate::default();
        let first = Stream { source: 1, group: GroupId::Meta, generation: 1 };
        assert!(gate.admits(first));
        gate.close(first);
        assert!(!gate.admits(first));
        assert!(gate.admits(Stream { generation: 2, ..first }));
        assert!(gate.admits(Stream { source: 2, ..first }));
        gate.forget(1);
        assert!(gate.admits(first));
    }
}
