//! Of several leaders: what one or several datacenters wrote, as they told it, and as row images.
//!
//! The changes go on to other datacenters; the replicas of this one need the rows alone, which the leader computed. So
//! neither part is read for the other: a length(4) and the changes, then the row images.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_model::VersionVector;
use quorate_replication::multi_leader::Change;
use serde::{Deserialize, Serialize};

use super::{CHANGES, CommandError};
use crate::keyspace::Effects;

/// How many bytes stand before the changes.
const HEAD_BYTES: usize = 1 + 4;

#[derive(Clone, PartialEq, Debug)]
pub struct Changes {
    /// [`Told`].
    told: Bytes,
    pub effects: Effects,
}

/// What goes to other datacenters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Told {
    /// Written here; otherwise taken from others.
    pub own: bool,
    pub changes: Vec<Change>,
    /// Everything that another datacenter had applied is merged with it: what was known before, and what is now.
    pub filled: Option<(VersionVector, VersionVector)>,
}

impl Changes {
    /// As [`Self::encode`] of both.
    #[must_use]
    pub fn encoded(told: &Told, effects: &Effects) -> Bytes {
        let bytes: usize = told.changes.iter().map(Change::bytes).sum();
        let told = postcard::to_extend(told, Vec::with_capacity(bytes));
        join(&told.expect("these types serialize to memory"), &effects.encode())
    }

    #[must_use]
    pub fn encode(&self) -> Bytes {
        join(&self.told, &self.effects.encode())
    }

    /// # Errors
    /// [`CommandError`].
    pub(super) fn decode(mut command: Bytes) -> Result<Self, CommandError> {
        let wrong = CommandError::Malformed(CHANGES);
        if command.len() < HEAD_BYTES {
            return Err(wrong);
        }
        command.advance(1);
        let length = command.get_u32() as usize;
        if command.len() < length {
            return Err(wrong);
        }
        let told = command.split_to(length);
        Ok(Self { told, effects: Effects::decode(command)? })
    }

    /// [`Told::own`], without reading the rest.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.told.first() == Some(&1)
    }

    /// # Errors
    /// [`CommandError`].
    pub fn told(&self) -> Result<Told, CommandError> {
        match postcard::take_from_bytes::<Told>(&self.told) {
            Ok((told, [])) if told.changes.iter().all(Change::is_well_formed) => Ok(told),
            Ok(_) | Err(_) => Err(CommandError::Malformed(CHANGES)),
        }
    }
}

fn join(told: &[u8], effects: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD_BYTES + told.len() + effects.len());
    out.put_u8(CHANGES);
    out.put_u32(u32::try_from(told.len()).expect("a command is below 4 GiB"));
    out.put_slice(told);
    out.put_slice(effects);
    out.freeze()
}
