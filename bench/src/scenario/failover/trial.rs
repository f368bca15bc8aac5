//! One fault on one system under a steady stream of writes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use quorate_model::{ShardId, Slot};

use crate::load::probe::{self, Plan, Probe};
use crate::load::{Protocol, Target};
use crate::system::cassandra::Cassandra;
use crate::system::etcd::Etcd;
use crate::system::quorate::Quorate;

const PER_SECOND: f64 = 250.0;
/// A switchover is looked at through a finer grid.
const PER_SECOND_FINE: f64 = 1000.0;
const KEYS: usize = 12_000;
const BEFORE: Duration = Duration::from_millis(700);
/// How long writes go on after the fault: longer than any gap that is looked for.
const AFTER: Duration = Duration::from_millis(3000);
const AFTER_SWITCHOVER: Duration = Duration::from_millis(600);

#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Fault {
    Kill,
    Freeze,
    Cut,
    Switchover,
}

#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcome {
    pub(super) gap_ms: f64,
    pub(super) acknowledged: usize,
    pub(super) lost: usize,
    /// Of those lost, the ones that no rollback file holds.
    pub(super) unreported: usize,
    pub(super) failed: usize,
}

#[derive(Debug)]
pub(super) enum Subject {
    Quorate(Box<Quorate>),
    Etcd(Etcd),
    Cassandra(Cassandra),
}

impl Fault {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::Freeze => "freeze (SIGSTOP)",
            Self::Cut => "cut off",
            Self::Switchover => "planned switchover",
        }
    }
}

pub(super) fn run(subject: &mut Subject, fault: Fault) -> Result<Outcome> {
    subject.await_ready()?;
    let (victim, addresses) = subject.victim()?;
    let (per_second, after) = match fault {
        Fault::Kill | Fault::Freeze | Fault::Cut => (PER_SECOND, AFTER),
        Fault::Switchover => (PER_SECOND_FINE, AFTER_SWITCHOVER),
    };
    let plan = Plan { protocol: subject.protocol(), addresses, keys: subject.keys(), per_second };
    let probe = Probe::start(plan)?;
    std::thread::sleep(BEFORE);
    let at = Instant::now();
    subject.strike(victim, fault)?;
    std::thread::sleep(after.saturating_sub(at.elapsed()));
    subject.heal(victim, fault)?;
    let acknowledged = probe.finish()?;
    let gap = acknowledged.gap(at).context("nothing was acknowledged after the fault")?;
    subject.await_ready()?;
    let keys: Vec<Bytes> = acknowledged.acks.iter().map(|(_, key)| key.clone()).collect();
    let (_, addresses) = subject.victim()?;
    let address = addresses.first().context("two nodes stayed")?;
    let lost = probe::missing(subject.protocol(), address, &keys)?;
    let kept = if lost.is_empty() { BTreeSet::new() } else { subject.rolled_back()? };
    Ok(Outcome {
        gap_ms: gap.as_secs_f64() * 1e3,
        acknowledged: keys.len(),
        unreported: lost.iter().filter(|key| !kept.contains(*key)).count(),
        lost: lost.len(),
        failed: acknowledged.failed,
    })
}

impl Subject {
    const fn protocol(&self) -> Protocol {
        match self {
            Self::Quorate(_) => Protocol::Resp,
            Self::Etcd(_) => Protocol::Etcd,
            Self::Cassandra(_) => Protocol::Cassandra,
        }
    }

    /// Keys that no other trial has; for Quorate all of the shard that the victim leads.
    fn keys(&self) -> Vec<Bytes> {
        let trial: u32 = rand::random();
        let all = (0..).map(|number| Bytes::from(format!("probe:{trial:08x}:{number:08}")));
        match self {
            Self::Etcd(_) | Self::Cassandra(_) => all.take(KEYS).collect(),
            Self::Quorate(store) => {
                let ours = |key: &Bytes| Slot::of_key(key).shard(store.shards()) == ShardId(0);
                all.filter(ours).take(KEYS).collect()
            }
        }
    }

    /// Where clients of the whole system connect.
    pub(super) fn target(&self, keys: Vec<Bytes>) -> Result<Target> {
        match self {
            Self::Quorate(store) => store.target(keys),
            Self::Etcd(etcd) => etcd.target(keys),
            Self::Cassandra(cassandra) => Ok(cassandra.target(keys)),
        }
    }

    pub(super) fn await_ready(&self) -> Result<()> {
        match self {
            Self::Quorate(store) => store.await_ready().map(drop),
            Self::Etcd(etcd) => etcd.await_ready(),
            Self::Cassandra(cassandra) => cassandra.await_ready(),
        }
    }

    fn victim(&self) -> Result<(usize, Vec<String>)> {
        match self {
            Self::Quorate(store) => store.victim(),
            Self::Etcd(etcd) => etcd.victim(),
            Self::Cassandra(_) => bail!("it has no leader"),
        }
    }

    pub(super) fn strike(&mut self, victim: usize, fault: Fault) -> Result<()> {
        match (self, fault) {
            (Self::Quorate(store), Fault::Kill) => store.kill(victim),
            (Self::Quorate(store), Fault::Freeze) => store.freeze(victim),
            (Self::Quorate(store), Fault::Cut) => store.cut(victim),
            (Self::Quorate(store), Fault::Switchover) => store.switch_over(),
            (Self::Etcd(etcd), Fault::Kill) => etcd.kill(victim),
            (Self::Etcd(etcd), Fault::Freeze) => etcd.freeze(victim),
            (Self::Cassandra(cassandra), Fault::Kill) => cassandra.kill(victim),
            (Self::Cassandra(cassandra), Fault::Freeze) => cassandra.freeze(victim),
            (Self::Cassandra(cassandra), Fault::Cut) => cassandra.cut(victim),
            (Self::Cassandra(_), Fault::Switchover) => bail!("it has no leader"),
            (Self::Etcd(_), Fault::Cut | Fault::Switchover) => bail!("not done to etcd"),
        }
    }

    pub(super) fn heal(&mut self, victim: usize, fault: Fault) -> Result<()> {
        match (self, fault) {
            (Self::Quorate(store), Fault::Kill) => store.start_again(victim),
            (Self::Quorate(store), Fault::Freeze) => store.thaw(victim),
            (Self::Quorate(store), Fault::Cut) => store.mend(victim),
            (Self::Quorate(_), Fault::Switchover) => Ok(()),
            (Self::Etcd(etcd), Fault::Kill) => etcd.start_again(victim),
            (Self::Etcd(etcd), Fault::Freeze) => etcd.thaw(victim),
            (Self::Cassandra(cassandra), Fault::Kill) => cassandra.start_again(victim),
            (Self::Cassandra(cassandra), Fault::Freeze) => cassandra.thaw(victim),
            (Self::Cassandra(cassandra), Fault::Cut) => cassandra.mend(victim),
            (Self::Cassandra(_), Fault::Switchover) => Ok(()),
            (Self::Etcd(_), Fault::Cut | Fault::Switchover) => bail!("not done to etcd"),
        }
    }

    /// Keys in the rollback files of all nodes.
    fn rolled_back(&self) -> Result<BTreeSet<Bytes>> {
        match self {
            Self::Quorate(store) => store.rolled_back_keys(),
            Self::Etcd(_) | Self::Cassandra(_) => Ok(BTreeSet::new()),
        }
    }
}
