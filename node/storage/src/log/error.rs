//! What can go wrong with a log, and what is wrong with a damaged one.

use std::io;

use super::SegmentNumber;
use crate::disk::FileName;

/// The log cannot be opened; nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot list the log's segments")]
    List(#[source] io::Error),
    #[error("cannot read {file}")]
    Read {
        file: FileName,
        #[source]
        source: io::Error,
    },
    #[error("cannot prepare {file} for writing")]
    Prepare {
        file: FileName,
        #[source]
        source: io::Error,
    },
    #[error("{file} has format version {found}, this program knows versions up to {known}")]
    Newer { file: FileName, found: u32, known: u32 },
}

/// The process must stop: what is durable stays so, what was not acknowledged never will be.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Never tried again: a failed sync may have dropped what it should have written. A full disk ends here too, and only when
    /// a segment is created: batches go where zeros were.
    #[error("cannot {what} {file}")]
    Disk {
        what: &'static str,
        file: FileName,
        #[source]
        source: io::Error,
    },
    #[error("cannot read {file}")]
    Read {
        file: FileName,
        #[source]
        source: io::Error,
    },
    #[error("{file} is damaged at byte {offset}: {reason}")]
    Damaged { file: FileName, offset: u64, reason: String },
    #[error("the log has stopped")]
    Stopped,
}

/// The log holds less than was once durable, or something else than was written. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("segment {segment} is damaged at byte {offset}: {kind}")]
pub struct Damage {
    pub segment: SegmentNumber,
    pub offset: u64,
    pub kind: DamageKind,
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DamageKind {
    #[error("the segment is missing")]
    MissingSegment,
    #[error("the segment's header is not what was written")]
    SegmentHeader,
    #[error("the segment does not follow the one before it")]
    Discontinuous,
    #[error("a batch's header is not what was written")]
    BatchHeader,
    #[error("a batch's content is not what was written")]
    BatchContent,
    #[error("a batch is missing, later ones are there")]
    Hole,
    #[error("{0}")]
    Record(String),
    #[error("entries of {0} are missing")]
    MissingEntries(String),
}
