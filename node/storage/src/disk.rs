//! The disk as the log sees it: writes and syncs are submitted and complete later; reads are answered at once.
//!
//! Reads happen at start (recovery) and when a follower is behind the cache. Operations complete in the order
//! in which they were submitted. After a crash, what was not covered by a completed `Sync` of its file may be there,
//! not be there, or be there in part, in units of 512 bytes, in any combination.

use std::io;

use bytes::Bytes;

/// A file in the log's directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileName(pub String);

/// Numbers a disk's operations, in the order of submission.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OperationId(pub u64);

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Creates an empty file with `bytes` preallocated (length stays 0 to readers until written) and makes its name durable.
    Create { file: FileName, bytes: u64 },
    /// Writes the parts one after the other, from `offset` on.
    Write { file: FileName, offset: u64, parts: Vec<Bytes> },
    /// Makes everything written to the file durable (fdatasync).
    Sync { file: FileName },
    /// Removes the file and makes its absence durable.
    Remove { file: FileName },
    /// Cuts the file to `bytes` and makes that durable.
    Truncate { file: FileName, bytes: u64 },
}

#[derive(Debug)]
pub struct Completion {
    pub id: OperationId,
    pub result: io::Result<()>,
}

pub trait Disk {
    /// Never blocks on the disk.
    fn submit(&mut self, id: OperationId, operation: Operation);

    /// The files there are, in order of their names.
    ///
    /// # Errors
    /// What the operating system says.
    fn list(&self) -> io::Result<Vec<FileName>>;

    /// Up to `bytes_max` bytes from `offset` on; fewer only at the file's end.
    ///
    /// # Errors
    /// What the operating system says.
    fn read(&self, file: &FileName, offset: u64, bytes_max: usize) -> io::Result<Bytes>;
}
