//! What can be as one copy (INV-105): a string alone, where all its values are in one order.
//!
//! Amounts and members are not ordered: of two concurrent ones each may be seen without the other. What decides by what a key
//! holds, and what is of several keys, would take an agreement of replicas.

use quorate_model::LeaderlessPolicy;

use crate::{Expiry, Operation, Read, ValueError, Write};

/// # Errors
/// [`ValueError::NotLinearizable`]
pub(crate) fn check(operation: &Operation, policy: &LeaderlessPolicy) -> Result<(), ValueError> {
    // What names no key is of whole shards, and as its coordinator knows them at any level.
    if operation.keys().is_empty() || policy.keeps_registers() && is_of_a_register(operation) {
        Ok(())
    } else {
        Err(ValueError::NotLinearizable)
    }
}

const fn is_of_a_register(operation: &Operation) -> bool {
    match operation {
        Operation::Read(read) => matches!(
            read,
            Read::Get { .. }
                | Read::GetRange { .. }
                | Read::StringLength { .. }
                | Read::Digest { .. }
                | Read::Siblings { .. }
        ),
        // KEEPTTL takes over what the coordinator knew before.
        Operation::Write(Write::Set { expiry, .. }) => !matches!(expiry, Expiry::Keep),
        Operation::Write(Write::Delete { keys }) => keys.len() == 1,
        Operation::Write(write) => {
            matches!(write, Write::SetSibling { .. } | Write::DeleteSiblings { .. })
        }
    }
}
