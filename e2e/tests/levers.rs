//! Every fault lever breaks what it says, nothing else, and undoes itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use quorate_e2e::client::{self, MINUTE, Namespace, eventually};
use quorate_e2e::cluster::progress::Probe;
use quorate_e2e::cluster::{Cluster, Faults, Loss};

const WORKLOAD: &str = include_str!("workloads/echo.yaml");
const TOOLBOX: &str = "/usr/local/bin/toolbox";
/// Far more than the programs of a look at a busy machine take.
const ONE_WAY: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn every_lever_breaks_and_heals() -> Result<()> {
    if !client::asked_for() {
        return Ok(());
    }
    let connected = Cluster::connect().await?;
    if connected.cluster.local().is_err() {
        return Ok(());
    }
    connected
        .with_namespace("levers", async |namespace| {
            namespace.apply(WORKLOAD).await?;
            namespace.wait_for_ready_pods("app=echo", 3, MINUTE).await?;
            let pods = Pods::find(namespace).await?;
            network_levers(namespace, &pods).await?;
            process_levers(namespace, &pods).await?;
            machine_levers(namespace, &pods).await
        })
        .await
}

/// One pod in each datacenter: its name and address.
struct Pods {
    a: (String, String),
    b: (String, String),
    c: (String, String),
}

impl Pods {
    async fn find(namespace: &Namespace<'_>) -> Result<Self> {
        let pods = namespace.pods("app=echo").await?;
        let at = |datacenter: &str| {
            let pod = pods.iter().find(|pod| node_of(pod).starts_with(datacenter));
            let pod = pod.with_context(|| format!("no pod runs in {datacenter}"))?;
            let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
            let name = pod.metadata.name.clone().context("a pod has a name")?;
            anyhow::Ok((name, address.context("a running pod has an address")?))
        };
        Ok(Self { a: at("dc-a")?, b: at("dc-b")?, c: at("dc-c")? })
    }
}

fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// Asks from inside the namespaces of the nodes: `kubectl exec` needs the very links we break.
fn reaches(from: &str, to: &(String, String)) -> Result<bool> {
    let enter = format!("--net=/run/netns/quorate-{from}-1");
    let connect = format!("exec 3<>/dev/tcp/{}/8080", to.1);
    let status = std::process::Command::new("nsenter")
        .args([enter.as_str(), "--", "timeout", "2", "bash", "-c", &connect])
        .stderr(std::process::Stdio::null())
        .status()?;
    Ok(status.success())
}

async fn await_reach(from: &str, to: &(String, String), wanted: bool) -> Result<()> {
    eventually(&format!("{from} reaching {}: {wanted}", to.0), MINUTE, async || {
        let reached = reaches(from, to)?;
        Ok(if reached == wanted { Probe::Ready(()) } else { Probe::Waiting("not so".into()) })
    })
    .await
}

async fn network_levers(namespace: &Namespace<'_>, pods: &Pods) -> Result<()> {
    let faults = namespace.connected().cluster.local()?.faults();
    await_reach("dc-a", &pods.b, true).await?;
    await_reach("dc-b", &pods.c, true).await?;

    faults.cut_datacenter("dc-b")?;
    ensure!(!reaches("dc-a", &pods.b)? && !reaches("dc-b", &pods.c)?, "dc-b is cut off");
    await_reach("dc-a", &pods.c, true).await?;
    await_reach("dc-b", &pods.b, true).await?;
    faults.heal_datacenter("dc-b")?;
    await_reach("dc-a", &pods.b, true).await?;

    faults.cut_direction("dc-a", "dc-c")?;
    ensure!(!reaches("dc-a", &pods.c)?, "a connection needs both directions");
    await_reach("dc-a", &pods.b, true).await?;
    await_reach("dc-b", &pods.c, true).await?;
    faults.heal_direction("dc-a", "dc-c")?;

    faults.lose_packets("dc-a", "dc-c", Loss::of_percent(100.0).context("a percentage")?)?;
    ensure!(!reaches("dc-a", &pods.c)?, "every packet is lost");
    faults.heal_all()?;

    handshake("dc-a", &pods.c, is_near).await?;
    faults.spread_datacenters(ONE_WAY)?;
    let far = handshake("dc-a", &pods.c, |_| true).await?;
    ensure!(far >= ONE_WAY * 2, "a handshake took {far:?}, less than a round trip");
    faults.heal_all()?;
    handshake("dc-a", &pods.c, is_near).await.map(|_| ())
}

/// No look can be this quick while the link is delayed; a slow machine needs several.
fn is_near(took: Duration) -> bool {
    took < ONE_WAY * 2
}

/// How long a handshake takes, with the start of a few programs on top: the first one that arrives and fits.
async fn handshake(
    from: &str,
    to: &(String, String),
    fits: impl Fn(Duration) -> bool,
) -> Result<Duration> {
    eventually(&format!("a handshake of {from} with {}", to.0), MINUTE, async || {
        let started = Instant::now();
        let reached = reaches(from, to)?;
        let took = started.elapsed();
        Ok(if reached && fits(took) {
            Probe::Ready(took)
        } else {
            Probe::Waiting(format!("reached: {reached}, after {took:?}"))
        })
    })
    .await
}

async fn process_levers(namespace: &Namespace<'_>, pods: &Pods) -> Result<()> {
    let faults = namespace.connected().cluster.local()?.faults();
    let (name, _) = &pods.a;
    let restarts = restarts(namespace, name).await?;
    faults.kill_process(namespace.name(), name)?;
    await_restart(namespace, name, restarts).await?;

    let process = faults.process_of(namespace.name(), name, None)?;
    faults.freeze(&process)?;
    ensure!(process.is_alive() && state_of(&process.pids())? == "T", "it stands still");
    faults.thaw(&process)?;
    ensure!(state_of(&process.pids())? != "T", "it runs again");
    faults.freeze(&process)?;
    faults.heal_all()?;
    ensure!(state_of(&process.pids())? != "T", "healing everything thaws it");

    namespace.exec(name, &[TOOLBOX, "write", "/data/note", "lost"]).await?;
    let restarts = restarts + 1;
    faults.wipe_volumes(namespace.name(), name)?;
    await_restart(namespace, name, restarts).await?;
    let read = namespace.exec(name, &[TOOLBOX, "read", "/data/note"]).await;
    ensure!(read.is_err(), "the volume is empty");
    Ok(())
}

async fn machine_levers(namespace: &Namespace<'_>, pods: &Pods) -> Result<()> {
    let faults = namespace.connected().cluster.local()?.faults();
    let process = faults.process_of(namespace.name(), &pods.b.0, None)?;
    faults.stop_node("dc-b-1")?;
    ensure!(!process.is_alive() && !reaches("dc-a", &pods.b)?, "nothing of the node is left");
    await_node(namespace, "dc-b-1", false).await?;
    faults.start_node("dc-b-1")?;
    await_node(namespace, "dc-b-1", true).await?;
    namespace.wait_for_ready_pods("app=echo", 3, 2 * MINUTE).await?;

    let process = faults.process_of(namespace.name(), &pods.c.0, None)?;
    faults.stop_api_server()?;
    ensure!(
        namespace.kubectl(["get", "pods", "--request-timeout=2s"]).await.is_err(),
        "it is gone"
    );
    await_reach("dc-a", &pods.c, true).await?;
    process.kill()?;
    // The kubelet needs nobody to start a container again.
    await_reach("dc-a", &pods.c, true).await?;
    start_again(&faults)?;
    namespace.wait_for_ready_pods("app=echo", 3, MINUTE).await?;
    Ok(())
}

fn start_again(faults: &Faults<'_>) -> Result<()> {
    faults.heal_all()?;
    // Healing twice is as good as once.
    faults.heal_all()
}

async fn restarts(namespace: &Namespace<'_>, pod: &str) -> Result<i32> {
    let found = namespace.api::<Pod>().get(pod).await?;
    let statuses = found.status.and_then(|status| status.container_statuses).unwrap_or_default();
    Ok(statuses.first().map_or(0, |status| status.restart_count))
}

async fn await_restart(namespace: &Namespace<'_>, pod: &str, before: i32) -> Result<()> {
    eventually(&format!("a restart of {pod}"), MINUTE, async || {
        let count = restarts(namespace, pod).await?;
        Ok(if count > before {
            Probe::Ready(())
        } else {
            Probe::Waiting(format!("{count} restarts"))
        })
    })
    .await?;
    namespace.wait_for_ready_pods("app=echo", 3, MINUTE).await.map(|_| ())
}

async fn await_node(namespace: &Namespace<'_>, node: &str, ready: bool) -> Result<()> {
    let jsonpath = r#"--output=jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
    eventually(&format!("{node} being ready: {ready}"), MINUTE, async || {
        let status = namespace.kubectl(["get", "node", node, jsonpath]).await?;
        Ok(if (status == "True") == ready { Probe::Ready(()) } else { Probe::Waiting(status) })
    })
    .await
}

/// The state letter of the first process: T is stopped.
fn state_of(pids: &[i32]) -> Result<String> {
    let pid = pids.first().context("a container has a process")?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(") ").context("the name is in parentheses")?.1;
    Ok(after_name.chars().take(1).collect())
}
