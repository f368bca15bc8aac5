//! The cluster itself: it comes up, runs what clusters run, and leaves nothing behind.
//!
//! A cluster that was there before is used and left alone; its end is then not tested.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use quorate_e2e::client::{self, Connected, MINUTE, Namespace};
use quorate_e2e::cluster::Cluster;
use quorate_e2e::cluster::progress::{Probe, Progress};

const STATE: &str = "/var/lib/quorate-local";
const WORKLOAD: &str = include_str!("workloads/echo.yaml");
const TOOLBOX: &str = "/usr/local/bin/toolbox";

#[tokio::test(flavor = "multi_thread")]
async fn cluster_runs_workloads_and_leaves_nothing() -> Result<()> {
    if !client::asked_for() {
        return Ok(());
    }
    let was_there = Path::new(STATE).exists();
    let connected = Cluster::connect().await?;
    check_nodes(&connected)?;
    connected.with_namespace("cluster", check_workload).await?;
    let before = records()?;
    connected.cluster.up(&Progress::quiet())?;
    ensure!(before == records()?, "a second up started or replaced a process");
    if connected.cluster.local().is_ok() && !was_there {
        connected.cluster.down(&Progress::quiet())?;
        check_nothing_left()?;
    }
    Ok(())
}

fn check_nodes(connected: &Connected) -> Result<()> {
    let nodes = connected.cluster.kubectl()?.json(["get", "nodes"])?;
    let mut regions: Vec<&str> = nodes["items"]
        .as_array()
        .context("a list has items")?
        .iter()
        .filter_map(|node| node["metadata"]["labels"]["topology.kubernetes.io/region"].as_str())
        .collect();
    regions.dedup();
    ensure!(regions == ["dc-a", "dc-b", "dc-c"], "the regions are {regions:?}");
    Ok(())
}

/// Names and Service addresses reach DNS and kube-proxy some time after the pods are ready.
async fn until_answered(namespace: &Namespace<'_>, pod: &str, words: &[&str]) -> Result<String> {
    client::eventually("an answer", MINUTE, async || {
        Ok(match namespace.exec(pod, words).await {
            Ok(answer) => Probe::Ready(answer),
            Err(error) => Probe::Waiting(format!("{error:#}")),
        })
    })
    .await
}

async fn check_workload(namespace: &Namespace<'_>) -> Result<()> {
    namespace.apply(WORKLOAD).await?;
    namespace.wait_for_ready_pods("app=echo", 3, MINUTE).await?;

    // Names: of a service, and of one pod of it.
    let name = format!("echo.{}.svc.cluster.local", namespace.name());
    let service = until_answered(namespace, "echo-0", &[TOOLBOX, "lookup", &name]).await?;
    ensure!(service.starts_with("10."), "the service's address is {service}");
    let pod = until_answered(namespace, "echo-0", &[TOOLBOX, "lookup", "echo-1.echo-pods"]).await?;
    ensure!(pod.trim() == namespace.pod_address("echo-1").await?, "echo-1 resolves to {pod}");

    // Service addresses, from a pod and from the test's own programs.
    until_answered(namespace, "echo-2", &[TOOLBOX, "fetch", "http://echo/"]).await?;
    let address = namespace.pod_address("echo-1").await?;
    let cluster = &namespace.connected().cluster;
    let mut probe = cluster.command_in_network(Path::new("bash"))?;
    probe.args(["-c", &format!("exec 3<>/dev/tcp/{address}/8080")]);
    ensure!(probe.status()?.success(), "pods are out of reach of the control namespace");
    let forward = cluster.port_forward(namespace.name(), "service/echo", 80)?;
    std::net::TcpStream::connect(("127.0.0.1", forward.port()))?;

    // Data outlives a pod.
    namespace.exec("echo-0", &[TOOLBOX, "write", "/data/note", "kept"]).await?;
    namespace.kubectl(["delete", "pod", "echo-0"]).await?;
    namespace.wait_for_ready_pods("app=echo", 3, MINUTE).await?;
    let note = namespace.exec("echo-0", &[TOOLBOX, "read", "/data/note"]).await?;
    ensure!(note.trim() == "kept", "the volume holds {note:?}");
    Ok(())
}

/// The recorded processes of the local cluster, byte for byte.
fn records() -> Result<Vec<(String, Vec<u8>)>> {
    let mut records = Vec::new();
    for entry in fs::read_dir(Path::new(STATE).join("run")).into_iter().flatten() {
        let path = entry?.path();
        records.push((path.display().to_string(), fs::read(&path)?));
    }
    records.sort();
    Ok(records)
}

fn check_nothing_left() -> Result<()> {
    ensure!(!Path::new(STATE).exists(), "{STATE} is left");
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    ensure!(!mounts.contains(STATE), "mounts are left: {mounts}");
    for entry in fs::read_dir("/run/netns").into_iter().flatten() {
        let name = entry?.file_name().to_string_lossy().into_owned();
        ensure!(!name.starts_with("quorate-"), "the network namespace {name} is left");
    }
    for entry in fs::read_dir("/sys/fs/cgroup")? {
        let group = entry?.path().join("quorate");
        ensure!(!group.exists(), "the control group {} is left", group.display());
    }
    ensure!(!Path::new("/sys/fs/cgroup/quorate").exists(), "a control group is left");
    for entry in fs::read_dir("/proc")? {
        let command = fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        ensure!(!command.contains(STATE), "a process is left: {command}");
    }
    Ok(())
}
