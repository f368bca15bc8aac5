//! Rollback files: writes that an asynchronous leader acknowledged and a failover took back, kept on this node until somebody
//! has looked at them.
//!
//! A file is written and synced before the log loses what it holds (INV-66), so after a crash in between the log may hold it
//! still: such a file goes when the node starts. It never touches the log or the state itself; replaying is an ordinary
//! write by an ordinary client.

mod file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use parking_lot::Mutex;
use quorate_group::host::Rollback;
use quorate_model::admin::RollbackFile;
use quorate_model::{GroupId, Position};
use quorate_storage::disk::files::sync_directory;

pub use file::{Contents, Lost, ReadError};

const SUFFIX: &str = "rollback";

/// The rollback files of a node. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Rollbacks {
    directory: Arc<PathBuf>,
    files: Arc<Mutex<BTreeMap<String, RollbackFile>>>,
}

impl Rollbacks {
    /// Finds what is there. `holds` says whether the log of a group holds a position.
    ///
    /// # Errors
    /// When the directory cannot be made or read, or a file in it is not whole.
    pub fn open(
        directory: &Path,
        holds: impl Fn(GroupId, Position) -> bool,
    ) -> Result<Self, ReadError> {
        fs::create_dir_all(directory).map_err(ReadError::Io)?;
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(directory).map_err(ReadError::Io)? {
            let path = entry.map_err(ReadError::Io)?.path();
            if path.extension().is_none_or(|suffix| suffix != SUFFIX) {
                // A save that was cut short: the log holds everything still.
                fs::remove_file(&path).map_err(ReadError::Io)?;
                continue;
            }
            let head = file::read(&path)?.head;
            let last = Position { term: head.term, index: head.last };
            if holds(head.group, last) {
                fs::remove_file(&path).map_err(ReadError::Io)?;
            } else {
                files.insert(head.name.clone(), head);
            }
        }
        let directory = Arc::new(directory.to_owned());
        Ok(Self { directory, files: Arc::new(Mutex::new(files)) })
    }

    /// Makes it durable. Blocks.
    ///
    /// # Errors
    /// Whatever keeps it from being durable: the node must stop then.
    pub fn save(&self, rollback: &Rollback) -> io::Result<()> {
        let name = format!(
            "{}-term-{}-{}-{}",
            rollback.group,
            rollback.term,
            rollback.first(),
            rollback.last()
        );
        let head = file::write(&self.path(&name), name.clone(), rollback)?;
        sync_directory(&self.directory)?;
        self.files.lock().insert(name, head);
        Ok(())
    }

    #[must_use]
    pub fn list(&self) -> Vec<RollbackFile> {
        self.files.lock().values().cloned().collect()
    }

    /// `None` when there is no such file. Blocks.
    ///
    /// # Errors
    /// When it cannot be read or is not whole.
    pub fn read(&self, name: &str) -> Result<Option<Contents>, ReadError> {
        // Only names that were listed become paths.
        let known = self.files.lock().contains_key(name);
        known.then(|| file::read(&self.path(name))).transpose()
    }

    /// Answers whether there was such a file. Blocks.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn delete(&self, name: &str) -> io::Result<bool> {
        if !self.files.lock().contains_key(name) {
            return Ok(false);
        }
        fs::remove_file(self.path(name))?;
        sync_directory(&self.directory)?;
        self.files.lock().remove(name);
        Ok(true)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.{SUFFIX}"))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_model::{LogIndex, ShardId, Term, WallTime};
    use quorate_replication::single_leader::{Entry, Payload};

    use super::*;

    fn rollback() -> Rollback {
        let entry = |index| Entry {
            position: Position { term: Term(3), index: LogIndex(index) },
            payload: Payload::Command(Bytes::from(format!("command {index}"))),
        };
        Rollback {
            group: GroupId::Shard(ShardId(2)),
            term: Term(3),
            led: true,
            at: WallTime(1_000),
            entries: vec![entry(7), entry(8), entry(11)],
        }
    }

    #[test]
    fn what_was_saved_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let rollbacks = Rollbacks::open(directory.path(), |_, _| false).unwrap();
        rollbacks.save(&rollback()).unwrap();
        let again = Rollbacks::open(directory.path(), |_, _| false).unwrap();
        let files = again.list();
        assert_eq!(files.len(), 1);
        assert_eq!(
            (files[0].first, files[0].last, files[0].writes),
            (LogIndex(7), LogIndex(11), 3)
        );
        let contents = again.read("shard-2-term-3-7-11").unwrap().unwrap();
        assert_eq!(contents.lost[2].index, LogIndex(11));
        assert_eq!(contents.lost[2].command, Bytes::from("command 11"));
        assert!(again.delete("shard-2-term-3-7-11").unwrap());
        assert!(again.list().is_empty());
        assert!(!again.delete("../identity").unwrap());
    }

    #[test]
    fn a_file_of_which_the_log_lost_nothing_goes_at_start() {
        let directory = tempfile::tempdir().unwrap();
        let rollbacks = Rollbacks::open(directory.path(), |_, _| false).unwrap();
        rollbacks.save(&rollback()).unwrap();
        let last = Position { term: Term(3), index: LogIndex(11) };
        let again = Rollbacks::open(directory.path(), |_, position| position == last).unwrap();
        assert!(again.list().is_empty());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let rollbacks = Rollbacks::open(directory.path(), |_, _| false).unwrap();
        rollbacks.save(&rollback()).unwrap();
        let path = rollbacks.path("shard-2-term-3-7-11");
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            fs::write(&path, &bytes).unwrap();
            assert!(Rollbacks::open(directory.path(), |_, _| false).is_err(), "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(Rollbacks::open(directory.path(), |_, _| false).is_err(), "cut at {at}");
        }
    }
}
