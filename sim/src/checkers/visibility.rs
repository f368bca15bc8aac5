//! No reader sees a write before the rule holds by which it is acknowledged. INV-65.
//!
//! Every value that clients write is unique, so that a value that is read names its entry.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_model::{GroupId, LogIndex, NodeId, Position};
use quorate_replication::single_leader::{Message, Payload, Replica, Rule};

use super::Sight;
use crate::workload::VALUE_BYTES;

#[derive(Default)]
pub(crate) struct Visibility {
    known: BTreeSet<(GroupId, Position)>,
    /// Where entries with a value stand: a call that was tried again may have several.
    written: BTreeMap<(GroupId, Bytes), Vec<Position>>,
}

impl Visibility {
    pub(crate) fn sent(&mut self, at: Sight<'_>, message: &Message) {
        let Message::Append { entries, .. } = message else { return };
        for entry in entries {
            if !self.known.insert((at.group, entry.position)) {
                continue;
            }
            if let Payload::Command(command) = &entry.payload {
                for value in values(command) {
                    let key = (at.group, value);
                    self.written.entry(key).or_default().push(entry.position);
                }
            }
        }
    }

    /// A replica whose rows are those at `rows` answered a client with this value.
    pub(crate) fn read(
        &self,
        node: NodeId,
        group: GroupId,
        replica: &Replica,
        value: &Bytes,
        rows: impl FnOnce() -> LogIndex,
    ) -> Result<(), String> {
        // Where its newest entry was never seen, another one may hold the value.
        if !self.known.contains(&(group, replica.last())) {
            return Ok(());
        }
        let Some(positions) = self.written.get(&(group, value.clone())) else { return Ok(()) };
        // A rule that is being given up let pass what it let pass.
        let mut indexes = replica.committed().0..=replica.last().index.0;
        let alone = indexes.any(|index| {
            index >= replica.base().index.0
                && replica.configuration_at(LogIndex(index)).rule == Rule::Async
        });
        let holds = |position: &&Position| {
            let index = position.index;
            index <= replica.base().index
                || replica.position_at(index) == Some(**position)
                    && (index <= replica.committed() || alone && index <= replica.durable())
        };
        if positions.iter().any(|position| holds(&position)) {
            return Ok(());
        }
        // A snapshot's rows are there before the log begins anew behind them. They are of what its source had applied.
        let rows = rows();
        if rows > replica.applied() && positions.iter().any(|position| position.index <= rows) {
            return Ok(());
        }
        Err(format!(
            "{group}: {node} shows {value:?} of {positions:?}, committed {}, durable {}",
            replica.committed(),
            replica.durable()
        ))
    }
}

/// What in a command looks like a client's value.
fn values(command: &Bytes) -> impl Iterator<Item = Bytes> + '_ {
    let is_value = |text: &[u8]| text[0] == b'v' && text[1..].iter().all(u8::is_ascii_digit);
    let starts = command.windows(VALUE_BYTES).enumerate();
    starts
        .filter(move |(_, text)| is_value(text))
        .map(|(from, _)| command.slice(from..from + VALUE_BYTES))
}
