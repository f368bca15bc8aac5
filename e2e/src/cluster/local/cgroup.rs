//! Control groups of the cluster: one root for all of it, one group per Kubernetes node.
//!
//! Both layouts are served: one tree (v2), or one tree per controller (v1). The kubelet makes
//! everything below a node's group; all that runs in pods of a node is found there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::progress::{Probe, Progress};
use super::process::Identity;

const MOUNT: &str = "/sys/fs/cgroup";
const ROOT: &str = "quorate";
const REMOVAL_LIMIT: Duration = Duration::from_secs(15);
const V2_CONTROLLERS: &str = "+cpuset +cpu +io +memory +pids";

/// The group of a node as the kubelet's configuration names it.
pub(super) fn kubelet_root(node: &str) -> String {
    format!("/{ROOT}/{node}")
}

pub(super) fn ensure(node: &str) -> Result<()> {
    for tree in trees() {
        let root = tree.join(ROOT);
        for group in [root.clone(), root.join(node)] {
            fs::create_dir_all(&group)
                .with_context(|| format!("cannot make the control group {}", group.display()))?;
            prepare(&group)?;
        }
    }
    Ok(())
}

/// All processes in pods of a node.
pub(super) fn processes(node: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for tree in trees() {
        collect(&tree.join(ROOT).join(node), &mut found);
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// All processes of one container, which has a group named after its id.
pub(super) fn container_processes(node: &str, container: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for tree in trees() {
        if let Some(group) = search(&tree.join(ROOT).join(node), container) {
            collect(&group, &mut found);
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Kills what runs in a node's pods, until nothing does.
pub(super) fn kill_all(node: &str) -> Result<()> {
    let what = format!("the end of the processes in pods of {node}");
    Progress::quiet().wait(&what, REMOVAL_LIMIT, || {
        let alive: Vec<Identity> = processes(node).into_iter().filter_map(Identity::of).collect();
        for process in &alive {
            process.signal(rustix::process::Signal::KILL)?;
        }
        Ok(if alive.is_empty() {
            Probe::Ready(())
        } else {
            Probe::Waiting(format!("{} are left", alive.len()))
        })
    })
}

/// Removes every group of the cluster. Their processes have ended.
pub(super) fn remove() -> Result<()> {
    for tree in trees() {
        let root = tree.join(ROOT);
        if !root.exists() {
            continue;
        }
        // A group stays busy for a moment after its last process.
        Progress::quiet().wait("empty control groups", REMOVAL_LIMIT, || {
            Ok(match remove_tree(&root) {
                Ok(()) => Probe::Ready(()),
                Err(error) => Probe::Waiting(format!("{}: {error}", root.display())),
            })
        })?;
    }
    Ok(())
}

/// The mounted trees: one for v2, one per controller for v1, and both where they are mixed.
fn trees() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (target, kind) = (fields.next()?, fields.next()?);
            let ours = target.starts_with(MOUNT) && matches!(kind, "cgroup" | "cgroup2");
            ours.then(|| PathBuf::from(target))
        })
        .collect()
}

fn prepare(group: &Path) -> Result<()> {
    let parent = group.parent().context("a group has a parent")?;
    // v1: a cpuset group without processors and memory nodes admits no process.
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = group.join(file);
        let empty = fs::read_to_string(&own).is_ok_and(|content| content.trim().is_empty());
        if empty && !group.join("cgroup.controllers").exists() {
            fs::write(own, fs::read_to_string(parent.join(file))?)?;
        }
    }
    // v2: a controller must be handed down level by level. Mixed layouts have none to hand down.
    if fs::read_to_string(parent.join("cgroup.controllers")).is_ok_and(|own| own.contains("cpu")) {
        fs::write(parent.join("cgroup.subtree_control"), V2_CONTROLLERS)
            .with_context(|| format!("cannot hand controllers down in {}", parent.display()))?;
    }
    Ok(())
}

fn collect(group: &Path, found: &mut Vec<i32>) {
    let own = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    found.extend(own.lines().filter_map(|pid| pid.parse::<i32>().ok()));
    for child in children(group) {
        collect(&child, found);
    }
}

fn search(group: &Path, name: &str) -> Option<PathBuf> {
    let children = children(group);
    if let Some(child) = children.iter().find(|child| child.file_name().is_some_and(|n| n == name))
    {
        return Some(child.clone());
    }
    children.iter().find_map(|child| search(child, name))
}

fn children(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(group) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn remove_tree(group: &Path) -> std::io::Result<()> {
    for child in children(group) {
        remove_tree(&child)?;
    }
    fs::remove_dir(group)
}
