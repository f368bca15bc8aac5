//! The folder that holds everything the local cluster writes, and the lock that guards it.
//!
//! Nothing of a cluster lies elsewhere, except what other programs insist on (namespaces, control
//! groups, a few fixed folders of theirs), which `down` removes by name.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::super::progress::{Probe, Progress};

const ROOT: &str = "/var/lib/quorate-local";
/// Beside the root, so that `down` can hold it while it removes the root.
const LOCK: &str = "/var/lib/quorate-local.lock";
const LOCK_WAIT: std::time::Duration = std::time::Duration::from_secs(600);

#[derive(Debug, Clone)]
pub(super) struct State {
    root: PathBuf,
}

/// Held while a cluster is brought up or down: two at a time would undo each other.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Default for State {
    fn default() -> Self {
        Self { root: PathBuf::from(ROOT) }
    }
}

impl State {
    pub(super) fn lock(&self, progress: &Progress) -> Result<Lock> {
        progress.wait("another run of this command", LOCK_WAIT, || {
            let file = File::create(LOCK)
                .with_context(|| format!("cannot write {LOCK}: the local cluster needs root"))?;
            match file.try_lock() {
                Ok(()) if is_at(&file, Path::new(LOCK)) => Ok(Probe::Ready(Lock { _file: file })),
                // A `down` that just ended removed the file that we opened.
                Ok(()) | Err(fs::TryLockError::WouldBlock) => {
                    Ok(Probe::Waiting("it holds the lock".to_owned()))
                }
                Err(fs::TryLockError::Error(error)) => Err(error.into()),
            }
        })
    }

    /// Removes the lock's file: the last act of `down`.
    pub(super) fn remove_lock(&self) -> Result<()> {
        Ok(fs::remove_file(LOCK)?)
    }

    pub(super) fn exists(&self) -> bool {
        self.root.exists()
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The folder of one Kubernetes node.
    pub(super) fn node(&self, name: &str) -> PathBuf {
        self.root.join("nodes").join(name)
    }

    /// For people and their programs, on this machine.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    pub(super) fn pki(&self, file: &str) -> PathBuf {
        self.root.join("pki").join(file)
    }

    pub(super) fn log(&self, component: &str) -> PathBuf {
        self.root.join("log").join(format!("{component}.log"))
    }

    pub(super) fn make_folders(&self) -> Result<()> {
        for folder in ["pki", "log", "run", "nodes", "etcd", "images"] {
            let folder = self.root.join(folder);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(())
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), path.metadata()) else { return false };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

/// Writes a file whole or not at all, and only when its content differs.
pub(super) fn write_file(path: &Path, content: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|current| current == content) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let partial = path.with_extension("partial");
    fs::write(&partial, content).with_context(|| format!("cannot write {}", partial.display()))?;
    Ok(fs::rename(&partial, path)?)
}
