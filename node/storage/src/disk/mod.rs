//! The disk as the log sees it: writes and syncs are submitted and complete later; reads are answered at once.
//!
//! Reads happen at start (recovery) and when a follower is behind the cache. Operations on one file complete in the
//! order in which they were submitted; on different files they may overtake each other. After a crash, what was not
//! covered by a completed `Sync` of its file may be there, not be there, or be there in part, in units of 512 bytes,
//! in any combination.

pub mod files;
#[cfg(test)]
mod files_test;
pub mod simulated;
#[cfg(test)]
mod simulated_test;

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
    /// Creates a file with `bytes` preallocated, which read as zeros until written, and makes its name durable.
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

impl Operation {
    #[must_use]
    pub const fn file(&self) -> &FileName {
        match self {
            Self::Create { file, .. }
            | Self::Write { file, .. }
            | Self::Sync { file }
            | Self::Remove { file }
            | Self::Truncate { file, .. } => file,
        }
    }
}

impl std::fmt::Display for FileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug)]
pub struct Completion {
    pub id: OperationId,
    pub result: io::Result<()>,
}

pub trait Disk {
    /// Never blocks on the disk.
    fn submit(&mut self, id: OperationId, operation: Operation);

    /// Carries the operation out before it returns. Only for opening, while nothing is submitted.
    ///
    /// # Errors
    /// What the operating system says.
    fn perform(&mut self, operation: &Operation) -> io::Result<()>;

    /// The files there are, in order of their names.
    ///
    /// # Errors
    /// What the operating system says.
    fn list(&self) -> io::Result<Vec<FileName>>;

    /// How long the file is, preallocated zeros included.
    ///
    /// # Errors
    /// What the operating system says.
    fn length(&self, file: &FileName) -> io::Result<u64>;

    /// Up to `bytes_max` bytes from `offset` on; fewer only at the file's end. Sees every completed write.
    ///
    /// # Errors
    /// What the operating system says.
    fn read(&self, file: &FileName, offset: u64, bytes_max: usize) -> io::Result<Bytes>;
}
