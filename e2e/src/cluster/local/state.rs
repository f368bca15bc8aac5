//! The folder that holds everything the local cluster writes, and the lock that guards it.
//!
//! Nothing of a cluster lies elsewhere, except what other programs insist on (namespaces, control
//! groups, a few fixed folders of theirs), which `down` removes by name.

use std::fs::{self, File};
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
        let file = File::create(LOCK)
            .with_context(|| format!("cannot write {LOCK}: the local cluster needs root"))?;
        progress.wait("another run of this command", LOCK_WAIT, || match file.try_lock() {
            Ok(()) => Ok(Probe::Ready(())),
            Err(fs::TryLockError::WouldBlock) => Ok(Probe::Waiting("it holds the lock".into())),
            Err(fs::TryLockError::Error(error)) => Err(error.into()),
        })?;
        Ok(Lock { _file: file })
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
