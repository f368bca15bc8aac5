//! A node's directory: who it is, its log, its state.
//!
//! ```text
//! <directory>/lock            held while a process uses the directory
//! <directory>/identity.json   written once, before anything else
//! <directory>/log/            segments
//! <directory>/state/          the tree
//! <directory>/rollback/       writes that failovers took back
//! ```
//! An identity is never written beside data: a directory that has data and no identity is refused (INV-11).

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use quorate_model::{NodeId, StoreId};
use serde::{Deserialize, Serialize};

use crate::disk::files::sync_directory;

/// The version of the layout written here. A newer one is refused.
pub const FORMAT_VERSION: u32 = 1;

const IDENTITY: &str = "identity.json";
const IDENTITY_TEMPORARY: &str = "identity.json.new";
const LOCK: &str = "lock";
const LOG: &str = "log";
const STATE: &str = "state";
const ROLLBACK: &str = "rollback";

/// Whose data a directory holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// Of the layout and of everything in the directory.
    pub format: u32,
    pub node: NodeId,
    pub store: StoreId,
}

/// A directory that this process has to itself while it holds this.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    identity: Identity,
    is_new: bool,
    /// Unlocked when it is closed.
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub enum DataDirectoryError {
    #[error("cannot {what} {path}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    #[error(
        "{path} belongs to the store {found}, not to {expected}: give this node an empty directory"
    )]
    OtherStore { path: PathBuf, found: StoreId, expected: StoreId },
    #[error(
        "{path} has format version {found}, this program knows versions up to {known}: run a newer one"
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("{path} is not an identity: restore the file or give this node an empty directory")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error(
        "{0} holds data but no identity: restore identity.json or give this node an empty directory"
    )]
    NoIdentity(PathBuf),
}

/// What every version's identity begins with.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

impl Identity {
    /// What `file` holds.
    ///
    /// # Errors
    /// [`DataDirectoryError::Newer`], [`DataDirectoryError::Unreadable`].
    pub fn parse(text: &[u8], file: &Path) -> Result<Self, DataDirectoryError> {
        let unreadable = |source| DataDirectoryError::Unreadable { path: file.to_owned(), source };
        let Versioned { format } = serde_json::from_slice(text).map_err(unreadable)?;
        if format > FORMAT_VERSION {
            let known = FORMAT_VERSION;
            return Err(DataDirectoryError::Newer { path: file.to_owned(), found: format, known });
        }
        serde_json::from_slice(text).map_err(unreadable)
    }
}

impl DataDirectory {
    /// Takes the directory for this process. A directory that does not exist or is empty becomes that of a new node, whose id
    /// `draw` gives.
    ///
    /// # Errors
    /// [`DataDirectoryError`]: nothing was changed.
    pub fn open(
        path: impl Into<PathBuf>,
        store: StoreId,
        draw: impl FnOnce() -> NodeId,
    ) -> Result<Self, DataDirectoryError> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(failed("create", &path))?;
        let lock = lock(&path)?;
        let (identity, is_new) = match Self::identity_in(&path)? {
            Some(identity) => (identity, false),
            None => (first_identity(&path, store, draw)?, true),
        };
        if identity.store != store {
            let (found, expected) = (identity.store, store);
            return Err(DataDirectoryError::OtherStore { path, found, expected });
        }
        for directory in [path.join(LOG), path.join(STATE)] {
            fs::create_dir_all(&directory).map_err(failed("create", &directory))?;
        }
        sync_directory(&path).map_err(failed("sync", &path))?;
        Ok(Self { path, identity, is_new, _lock: lock })
    }

    /// Whose data the directory holds, if it holds any. Takes no lock.
    ///
    /// # Errors
    /// [`DataDirectoryError`].
    pub fn identity_in(path: &Path) -> Result<Option<Identity>, DataDirectoryError> {
        let file = path.join(IDENTITY);
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &file)(error)),
        };
        Identity::parse(&text, &file).map(Some)
    }

    #[must_use]
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether the identity was written just now.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For [`Files`](crate::disk::files::Files).
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// For [`Store`](crate::state::lsm::Store).
    #[must_use]
    pub fn state_path(&self) -> PathBuf {
        self.path.join(STATE)
    }

    /// For the node's rollback files; made by whoever opens it.
    #[must_use]
    pub fn rollback_path(&self) -> PathBuf {
        self.path.join(ROLLBACK)
    }
}

fn lock(path: &Path) -> Result<File, DataDirectoryError> {
    let file = path.join(LOCK);
    let lock = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&file)
        .map_err(failed("open", &file))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(DataDirectoryError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed("lock", &file)(source)),
    }
}

fn first_identity(
    path: &Path,
    store: StoreId,
    draw: impl FnOnce() -> NodeId,
) -> Result<Identity, DataDirectoryError> {
    for directory in [path.join(LOG), path.join(STATE)] {
        // Created only after the identity, so their existence alone says that there was one.
        if directory.try_exists().map_err(failed("look at", &directory))? {
            return Err(DataDirectoryError::NoIdentity(path.to_owned()));
        }
    }
    let identity = Identity { format: FORMAT_VERSION, node: draw(), store };
    let temporary = path.join(IDENTITY_TEMPORARY);
    let text = serde_json::to_vec_pretty(&identity).expect("three plain fields");
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(&text)?;
        file.sync_all()
    });
    written.map_err(failed("write", &temporary))?;
    let file = path.join(IDENTITY);
    fs::rename(&temporary, &file).map_err(failed("rename", &temporary))?;
    sync_directory(path).map_err(failed("sync", path))?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        // The directory itself may be new.
        sync_directory(parent).map_err(failed("sync", parent))?;
    }
    Ok(identity)
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirectoryError {
    let path = path.to_owned();
    move |source| DataDirectoryError::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: StoreId = StoreId(9);

    fn open(path: &Path, store: StoreId, node: u128) -> Result<DataDirectory, DataDirectoryError> {
        DataDirectory::open(path, store, || NodeId(node))
    }

    #[test]
    fn an_identity_is_drawn_once() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("new/data");
        let directory = open(&path, STORE, 1).unwrap();
        assert!(
            directory.is_new() && directory.log_path().is_dir() && directory.state_path().is_dir()
        );
        drop(directory);
        let directory = open(&path, STORE, 2).unwrap();
        assert!(!directory.is_new());
        assert_eq!(directory.identity(), Identity { format: 1, node: NodeId(1), store: STORE });
        assert_eq!(DataDirectory::identity_in(&path).unwrap(), Some(directory.identity()));
    }

    #[test]
    fn a_directory_has_one_user() {
        let path = tempfile::tempdir().unwrap();
        let first = open(path.path(), STORE, 1).unwrap();
        assert!(matches!(open(path.path(), STORE, 1), Err(DataDirectoryError::InUse(_))));
        drop(first);
        drop(open(path.path(), STORE, 1).unwrap());
    }

    #[test]
    fn another_store_is_refused() {
        let path = tempfile::tempdir().unwrap();
        drop(open(path.path(), STORE, 1).unwrap());
        let refused = open(path.path(), StoreId(8), 1).unwrap_err();
        assert!(
            matches!(refused, DataDirectoryError::OtherStore { found: STORE, .. }),
            "{refused}"
        );
    }

    #[test]
    fn a_newer_format_is_refused_whatever_else_it_says() {
        let path = tempfile::tempdir().unwrap();
        fs::write(path.path().join(IDENTITY), r#"{"format": 2, "nodes": []}"#).unwrap();
        let refused = open(path.path(), STORE, 1).unwrap_err();
        assert!(
            matches!(refused, DataDirectoryError::Newer { found: 2, known: 1, .. }),
            "{refused}"
        );
    }

    #[test]
    fn data_without_an_identity_is_refused() {
        let path = tempfile::tempdir().unwrap();
        drop(open(path.path(), STORE, 1).unwrap());
        fs::write(path.path().join(IDENTITY), "not json").unwrap();
        assert!(matches!(open(path.path(), STORE, 1), Err(DataDirectoryError::Unreadable { .. })));
        fs::remove_file(path.path().join(IDENTITY)).unwrap();
        assert!(matches!(open(path.path(), STORE, 1), Err(DataDirectoryError::NoIdentity(_))));
    }

    #[test]
    fn an_interrupted_first_start_is_begun_again() {
        let path = tempfile::tempdir().unwrap();
        fs::write(path.path().join(IDENTITY_TEMPORARY), "{").unwrap();
        assert_eq!(open(path.path(), STORE, 3).unwrap().identity().node, NodeId(3));
    }
}
