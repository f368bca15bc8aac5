//! What the cluster changes on the machine outside its own folder, remembered and undone.
//!
//! A few programs insist on fixed places. What of them was there before the first `up` is never
//! removed; kernel settings get their old values back.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::super::command::{command, output, succeeds};
use super::state::State;

/// Folders and files that containerd, its shims, the CNI library, the kubelet and iptables make.
const FIXED_PLACES: [&str; 9] = [
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/var/log/containers",
    "/var/log/pods",
    "/run/containerd",
    "/usr/libexec/kubernetes",
    "/run/xtables.lock",
    "/opt/containerd",
    "/run/mount",
];

/// Of these, the ones whose files no program on the machine would miss: whoever else uses them
/// had them before.
const PLACES_WITH_FILES: [&str; 2] = ["/var/lib/kubelet", "/var/lib/cni"];

/// Settings that we raise, with the least value needed, for the many watchers of four nodes.
const RAISED: [(&str, u64); 2] =
    [("fs/inotify/max_user_instances", 1024), ("fs/inotify/max_user_watches", 524_288)];

/// Settings that the kubelet changes by itself.
const CHANGED_BY_KUBELET: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

#[derive(Debug, Serialize, Deserialize)]
struct Before {
    places: Vec<PathBuf>,
    settings: Vec<(String, String)>,
}

/// Notes the machine's state at the first call and raises the limits that need it.
pub(super) fn prepare(state: &State) -> Result<()> {
    let path = state.path("host.json");
    if !path.exists() {
        let places = FIXED_PLACES.iter().map(PathBuf::from).filter(|place| place.exists());
        let names = RAISED.iter().map(|(name, _)| *name).chain(CHANGED_BY_KUBELET);
        let settings = names
            .filter_map(|name| Some((name.to_owned(), fs::read_to_string(setting(name)).ok()?)))
            .collect();
        let before = Before { places: places.collect(), settings };
        fs::write(&path, serde_json::to_vec_pretty(&before)?)?;
    }
    for (name, least) in RAISED {
        let current = fs::read_to_string(setting(name)).unwrap_or_default();
        if current.trim().parse::<u64>().is_ok_and(|value| value < least) {
            fs::write(setting(name), least.to_string())
                .with_context(|| format!("cannot raise {name}"))?;
        }
    }
    Ok(())
}

/// Removes what lies outside the state folder. Every process has ended.
pub(super) fn restore(state: &State) -> Result<()> {
    remove_shim_sockets(state)?;
    unmount_all(state)?;
    let sandboxes = sandboxes(state);
    remove_matching(Path::new("/var/lib/cni/results"), |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        sandboxes.iter().any(|sandbox| name.contains(sandbox))
    })?;
    remove_matching(Path::new("/var/log/containers"), |path| {
        fs::read_link(path).is_ok_and(|target| target.starts_with(state.root()))
    })?;
    let Ok(content) = fs::read(state.path("host.json")) else { return Ok(()) };
    let before: Before = serde_json::from_slice(&content)?;
    for (name, value) in &before.settings {
        if fs::read_to_string(setting(name)).is_ok_and(|current| current != *value) {
            fs::write(setting(name), value)?;
        }
    }
    for place in FIXED_PLACES.iter().map(Path::new) {
        if !before.places.iter().any(|known| known == place) {
            remove_place(place)?;
        }
    }
    Ok(())
}

/// Removes folders that hold nothing but folders: whatever else came there meanwhile stays.
fn remove_place(place: &Path) -> Result<()> {
    if place.is_file() {
        fs::remove_file(place)?;
    } else if place.is_dir() && PLACES_WITH_FILES.iter().any(|ours| place == Path::new(ours)) {
        fs::remove_dir_all(place)?;
    } else if place.is_dir() {
        remove_empty(place);
    }
    Ok(())
}

fn remove_empty(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_empty(&entry.path());
        }
    }
    // Not empty: it stays, as intended.
    fs::remove_dir(folder).ok();
}

/// The ids of all pod sandboxes that the nodes still know.
fn sandboxes(state: &State) -> Vec<String> {
    let nodes = fs::read_dir(state.path("nodes")).into_iter().flatten().flatten();
    nodes
        .map(|node| node.path().join("containerd/io.containerd.grpc.v1.cri/sandboxes"))
        .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten())
        .map(|sandbox| sandbox.file_name().to_string_lossy().into_owned())
        .collect()
}

/// A shim's socket lies in a fixed folder; the file `address` of its bundle names it.
fn remove_shim_sockets(state: &State) -> Result<()> {
    let nodes = fs::read_dir(state.path("nodes")).into_iter().flatten().flatten();
    for node in nodes {
        let tasks = node.path().join("containerd-run/io.containerd.runtime.v2.task/k8s.io");
        for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
            let address = fs::read_to_string(task.path().join("address")).unwrap_or_default();
            let socket = Path::new(address.trim_start_matches("unix://"));
            if socket.starts_with("/run/containerd/s") && socket.exists() {
                fs::remove_file(socket)?;
            }
        }
    }
    Ok(())
}

fn unmount_all(state: &State) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let ours = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|target| Path::new(target).starts_with(state.root()));
    // The newest first: mounts may lie within mounts.
    for target in ours.collect::<Vec<&str>>().into_iter().rev() {
        if !succeeds(&mut command("umount", [target])) {
            output(&mut command("umount", ["--lazy", target]))?;
        }
    }
    Ok(())
}

fn remove_matching(folder: &Path, matches: impl Fn(&Path) -> bool) -> Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if matches(&entry.path()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn setting(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}
