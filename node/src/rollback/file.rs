//! One rollback file: `QRB1`, length of the head(4), the head as JSON, the entries (postcard), CRC-32C of all before(4).

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use quorate_group::host::Rollback;
use quorate_model::LogIndex;
use quorate_model::admin::RollbackFile;
use quorate_replication::single_leader::Payload;
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 4] = b"QRB1";

/// A whole file.
#[derive(Clone, PartialEq, Debug)]
pub struct Contents {
    pub head: RollbackFile,
    pub lost: Vec<Lost>,
}

/// A write as it stood in the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lost {
    pub index: LogIndex,
    pub command: Bytes,
}

impl Contents {
    /// The bytes of a file.
    ///
    /// # Errors
    /// When there are more than a file can hold.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let head = serde_json::to_vec(&self.head)?;
        let length = u32::try_from(head.len()).map_err(io::Error::other)?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend(length.to_be_bytes());
        bytes.extend(head);
        let mut bytes = postcard::to_extend(&self.lost, bytes).map_err(io::Error::other)?;
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend(checksum.to_be_bytes());
        Ok(bytes)
    }

    /// `None` for what is not a whole file.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, checksum) = bytes.split_last_chunk::<4>()?;
        // INV-44.
        if crc32c::crc32c(body) != u32::from_be_bytes(*checksum) {
            return None;
        }
        let (length, rest) = body.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (head, lost) = (rest.get(..length)?, rest.get(length..)?);
        let head = serde_json::from_slice(head).ok()?;
        let lost = postcard::from_bytes(lost).ok()?;
        Some(Self { head, lost })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read rollback files")]
    Io(#[source] io::Error),
    #[error("{0} is not a whole rollback file")]
    Damaged(PathBuf),
}

/// Writes it durably but for its directory's entry.
pub(super) fn write(path: &Path, name: String, rollback: &Rollback) -> io::Result<RollbackFile> {
    let commands = rollback.entries.iter().filter_map(|entry| match &entry.payload {
        Payload::Command(command) => Some(Lost { index: entry.index(), command: command.clone() }),
        Payload::Empty | Payload::Configuration(_) => None,
    });
    let lost: Vec<Lost> = commands.collect();
    let head = RollbackFile {
        name,
        group: rollback.group,
        term: rollback.term,
        first: rollback.first(),
        last: rollback.last(),
        writes: lost.len() as u64,
        bytes: lost.iter().map(|one| one.command.len() as u64).sum(),
        saved_at: rollback.at,
        led: rollback.led,
    };
    let contents = Contents { head, lost };
    let bytes = contents.encode()?;

    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    Ok(contents.head)
}

pub(super) fn read(path: &Path) -> Result<Contents, ReadError> {
    let bytes = std::fs::read(path).map_err(ReadError::Io)?;
    Contents::decode(&bytes).ok_or_else(|| ReadError::Damaged(path.to_owned()))
}
