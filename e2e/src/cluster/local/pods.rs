//! The processes and volumes behind a pod, found on this machine.
//!
//! What was looked up stays usable while the API server is stopped: look first, break then.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use super::super::Kubectl;
use super::cgroup;
use super::process::Identity;

/// The processes of one container of a pod, as they were when it was looked up.
#[derive(Debug, Clone)]
pub struct PodProcess {
    /// The Kubernetes node that the pod runs on.
    pub node: String,
    pub pod: String,
    pub(super) processes: Vec<Identity>,
}

impl PodProcess {
    /// Looks up a container; without a name the first one.
    pub(super) fn find(
        kubectl: &Kubectl,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
    ) -> Result<Self> {
        let found = kubectl.json(["get", "pod", pod, "--namespace", namespace])?;
        let node = found["spec"]["nodeName"].as_str().context("the pod is not scheduled")?;
        let statuses = found["status"]["containerStatuses"].as_array();
        let status = statuses
            .into_iter()
            .flatten()
            .find(|status| container.is_none_or(|name| status["name"] == name))
            .with_context(|| format!("pod {pod} has no such container"))?;
        let id = status["containerID"].as_str().unwrap_or_default();
        let id = id.trim_start_matches("containerd://");
        if id.is_empty() {
            bail!("the container of pod {pod} was never started");
        }
        let processes: Vec<Identity> =
            cgroup::container_processes(node, id).into_iter().filter_map(Identity::of).collect();
        if processes.is_empty() {
            bail!("the container of pod {pod} does not run");
        }
        Ok(Self { node: node.to_owned(), pod: pod.to_owned(), processes })
    }

    pub fn is_alive(&self) -> bool {
        self.processes.iter().any(Identity::is_alive)
    }

    pub fn pids(&self) -> Vec<i32> {
        self.processes.iter().map(|process| process.pid).collect()
    }

    /// `kill -9`. Returns when the processes are gone; the kubelet will start new ones.
    pub fn kill(&self) -> Result<()> {
        self.processes.iter().try_for_each(Identity::kill)
    }

    pub(super) fn freeze(&self) -> Result<()> {
        self.processes.iter().try_for_each(Identity::freeze)
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        self.processes.iter().try_for_each(|process| process.signal(signal))
    }
}

/// The folders of all volumes that a pod claims, on this machine.
pub(super) fn volume_folders(
    kubectl: &Kubectl,
    root: &Path,
    namespace: &str,
    pod: &str,
) -> Result<Vec<PathBuf>> {
    let found = kubectl.json(["get", "pod", pod, "--namespace", namespace])?;
    let mut folders = Vec::new();
    for volume in found["spec"]["volumes"].as_array().into_iter().flatten() {
        let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() else { continue };
        let claim = kubectl.json(["get", "pvc", claim, "--namespace", namespace])?;
        let name = claim["spec"]["volumeName"].as_str().context("the claim is not bound")?;
        folders.push(volume_folder(&kubectl.json(["get", "pv", name])?, root)?);
    }
    if folders.is_empty() {
        bail!("pod {pod} claims no volume");
    }
    Ok(folders)
}

/// Removes everything in a folder, not the folder.
pub(super) fn empty_folder(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(&path)?;
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn volume_folder(volume: &Value, root: &Path) -> Result<PathBuf> {
    let path = volume["spec"]["local"]["path"].as_str().context("the volume is not local")?;
    let path = PathBuf::from(path);
    let ours = path.starts_with(root) && path.components().count() > root.components().count();
    if !ours || !path.is_dir() {
        bail!("{} is not a volume of this cluster", path.display());
    }
    Ok(path)
}
