//! `quorate-node dev`: a whole store on this machine, as node processes on loopback, without Kubernetes.
//!
//! It does what the operator does on Kubernetes, once and simply: starts the nodes, places the shards, bootstraps.
//! It prints one JSON line per node, then `ready`. A node that is killed from outside stays dead unless `--restart`.
//! Nodes end with it, however it ends.

mod child;
pub mod http;
mod layout;
mod plan;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use quorate_group::keyspace::check_scripts;
use quorate_model::admin::{Bootstrap, NodeReport, Proposed};
use quorate_model::{LeaderlessPolicy, MultiLeader, MultiLeaderPolicy, Policy};
use tokio::signal::unix::{SignalKind, signal};

use crate::node::Announcement;
use child::{Child, Spawned};
use layout::Layout;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// What kind of store, how large and where.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How the store replicates
    #[arg(long, value_enum, default_value_t = Mode::SingleLeader)]
    pub mode: Mode,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub nodes: u16,
    /// How many datacenters the nodes are spread over; no more than there are nodes
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub datacenters: Option<u16>,
    /// How many shards the keys are split into; one per node by default
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=16_384))]
    pub shards: Option<u16>,
    /// How many replicas each shard has, with several leaders in each datacenter; three by default, or as many as there are nodes
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub replicas: Option<u16>,
    /// Where the nodes keep their data; a store that is there already comes back
    #[arg(long)]
    pub data: PathBuf,
    /// The first of the four ports of each node; 0 picks free ones, the same at every start
    #[arg(long, default_value_t = 0)]
    pub base_port: u16,
    /// Durability, in-sync policy, log format and session defaults of a new store, as JSON: {"durability":"SemiSync"}
    #[arg(long, value_parser = parse_policy, default_value = "{}")]
    pub policy: Policy,
    /// Read and write levels and the conflict policy of a new store without a leader, as JSON: {"write":"All","conflicts":"Siblings"}
    #[arg(long, value_parser = parse_leaderless, default_value = "{}")]
    pub leaderless: LeaderlessPolicy,
    /// Links, rerouting and conflict resolution of a new store with several leaders, as JSON: {"links":{"Star":{"hub":"dc-a"}}}
    #[arg(long, value_parser = parse_multi_leader, default_value = "{}")]
    pub multi_leader: MultiLeaderPolicy,
    /// Start a node again when it ends by itself or is killed
    #[arg(long)]
    pub restart: bool,
    /// A YAML file of settings for every node (limits, timing, storage)
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// The level of the nodes' logs, which are in the data directory
    #[arg(long, default_value = "info")]
    pub log_level: String,
}

#[derive(
    Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    SingleLeader,
    Leaderless,
    MultiLeader,
}

#[derive(Debug, thiserror::Error)]
pub enum DevError {
    #[error("`--{field}`: {reason}")]
    Usage { field: &'static str, reason: String },
    #[error("cannot use {path}")]
    Data {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{0} is in use by another `quorate-node dev`")]
    InUse(PathBuf),
    #[error("cannot start {name}")]
    Spawn {
        name: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{name} ended ({status}); its log is {log}")]
    Ended { name: String, status: String, log: PathBuf },
    #[error("{name} did not start within {} s; its log is {log}", START_TIMEOUT.as_secs())]
    Slow { name: String, log: PathBuf },
    #[error("cannot ask {name}")]
    Admin {
        name: String,
        #[source]
        source: http::HttpError,
    },
    #[error("not every node serves after {} s: {reasons}", READY_TIMEOUT.as_secs())]
    NotReady { reasons: String },
    #[error("cannot write to standard output, or listen for signals")]
    Process(#[source] std::io::Error),
}

impl DevError {
    /// Whether the command line is wrong.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Usage { .. })
    }
}

impl Options {
    #[must_use]
    pub fn log_level(&self) -> &str {
        &self.log_level
    }
}

/// Runs the store until SIGINT or SIGTERM.
///
/// # Errors
/// Why the store could not start. Its nodes have ended then.
pub async fn run(options: Options, out: &mut impl Write) -> Result<(), DevError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(DevError::Process)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DevError::Process)?;
    let layout = Layout::open(&options)?;
    let mut children = Vec::new();
    let outcome = tokio::select! {
        outcome = serve(&options, &layout, &mut children, out) => outcome.map(|never| match never {}),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    tokio::select! {
        () = stop(children) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    outcome
}

async fn serve(
    options: &Options,
    layout: &Layout,
    children: &mut Vec<Child>,
    out: &mut impl Write,
) -> Result<std::convert::Infallible, DevError> {
    for number in 1..=layout.nodes() {
        children.push(Child::spawn(options, layout, number)?);
    }
    let mut nodes = Vec::new();
    for child in children.iter_mut() {
        nodes.push(child.announcement(START_TIMEOUT).await?);
    }
    bootstrap(layout, &nodes, options).await?;
    await_ready(children, &nodes).await?;
    for node in &nodes {
        print(out, node)?;
    }
    writeln!(out, "ready").and_then(|()| out.flush()).map_err(DevError::Process)?;
    watch(options, layout, children, out).await
}

/// Makes a store of the nodes, unless they are one already.
async fn bootstrap(
    layout: &Layout,
    nodes: &[Announcement],
    options: &Options,
) -> Result<(), DevError> {
    for node in nodes {
        let report: NodeReport = ask(node, http::get(&node.addresses.admin, "/v1/report")).await?;
        if report.topology.is_some() {
            return Ok(());
        }
    }
    let first = &nodes[0];
    let mode = match layout.mode() {
        Mode::SingleLeader => quorate_model::Mode::SingleLeader,
        Mode::Leaderless => quorate_model::Mode::Leaderless(options.leaderless.clone().into()),
        Mode::MultiLeader => {
            let policy = options.multi_leader.clone();
            quorate_model::Mode::MultiLeader(MultiLeader { policy, ..MultiLeader::default() })
        }
    };
    let topology = plan::topology(layout, nodes, options.policy.clone(), mode);
    let request = Bootstrap { node: first.node, topology };
    let posted = http::post(&first.addresses.admin, "/v1/bootstrap", &request);
    let _: Proposed = ask(first, posted).await?;
    Ok(())
}

fn parse_policy(text: &str) -> Result<Policy, serde_json::Error> {
    serde_json::from_str(text)
}

fn parse_leaderless(text: &str) -> Result<LeaderlessPolicy, serde_json::Error> {
    serde_json::from_str(text)
}

fn parse_multi_leader(text: &str) -> Result<MultiLeaderPolicy, String> {
    let policy: MultiLeaderPolicy =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    check_scripts(&policy.conflicts).map(|()| policy)
}

async fn ask<T>(
    node: &Announcement,
    request: impl Future<Output = Result<T, http::HttpError>>,
) -> Result<T, DevError> {
    request.await.map_err(|source| DevError::Admin { name: node.name.clone(), source })
}

/// Waits until every node serves.
async fn await_ready(children: &mut [Child], nodes: &[Announcement]) -> Result<(), DevError> {
    let deadline = Instant::now() + READY_TIMEOUT;
    for (child, node) in children.iter_mut().zip(nodes) {
        loop {
            if let Some(ended) = child.ended() {
                return Err(ended);
            }
            let readiness = http::readiness(&node.addresses.admin).await;
            let reasons = match readiness {
                Ok(readiness) if readiness.ready => break,
                Ok(readiness) => readiness.reasons.join("; "),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= deadline {
                return Err(DevError::NotReady { reasons: format!("{}: {reasons}", node.name) });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
    Ok(())
}

/// Notices nodes that end, and starts them again where that is asked for.
async fn watch(
    options: &Options,
    layout: &Layout,
    children: &mut [Child],
    out: &mut impl Write,
) -> Result<std::convert::Infallible, DevError> {
    let mut dead = BTreeSet::new();
    loop {
        tokio::time::sleep(RESTART_PAUSE).await;
        for child in children.iter_mut() {
            let Some(ended) = child.ended() else { continue };
            if options.restart {
                tracing::warn!("{ended}; starting it again");
                *child = Child::spawn(options, layout, child.number())?;
                match child.announcement(START_TIMEOUT).await {
                    Ok(node) => print(out, &node)?,
                    Err(error) => tracing::warn!("{error}"),
                }
            } else if dead.insert(child.number()) {
                tracing::warn!("{ended}");
            }
        }
    }
}

/// Stops what is there, all at once, and kills what does not stop in time.
async fn stop(mut children: Vec<Child>) {
    for child in &mut children {
        child.tell_to_stop().await;
    }
    let deadline = tokio::time::Instant::now() + STOP_TIMEOUT;
    for child in children {
        if let Spawned::Running = child.end_by(deadline).await {
            tracing::warn!("a node did not stop in time and was killed");
        }
    }
}

fn print(out: &mut impl Write, node: &Announcement) -> Result<(), DevError> {
    let line = serde_json::to_string(node).map_err(|error| DevError::Process(error.into()))?;
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(DevError::Process)
}
