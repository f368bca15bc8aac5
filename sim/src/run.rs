//! One run from one seed: a storm of faults, then everything heals, and the cluster must become whole and agree.

use std::time::Duration;

use quorate_model::Time;
use rand::RngExt;

use crate::checkers::{cell_convergence, changes, checkpoints, conflicts, convergence, liveness};
use crate::cluster::{Cluster, Event};
use crate::kind::Kind;
use crate::nemesis::Storm;
use crate::sessions::Happening;
use crate::verdict::{Broken, By, Verdict};
use crate::workload::Lost;

/// How long clients wait between requests where a follower has no other chance to catch up.
const THINK_MAX_SLOWER: Duration = Duration::from_secs(3);
/// How long they wait between the last reads, of which there may be hundreds.
const THINK_MAX_LAST: Duration = Duration::from_millis(10);
/// How often replicas are compared in the end. No multiple of it is one of an interval at which they write something by themselves:
/// else they might be looked at whenever an entry is on its way.
const COMPARED_EVERY: Duration = Duration::from_millis(233);

/// What a run did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    pub events: u64,
    pub answered: u64,
    pub wiped: u64,
    /// How often a beat stood for a heartbeat of a resting group, and for an answer to one.
    pub heartbeats: u64,
    pub answers: u64,
    pub simulated: Duration,
    /// The highest epoch that the topology reached.
    pub epoch: u64,
    /// The same seed gives the same fingerprint, else something is not deterministic.
    pub fingerprint: u64,
}

/// What a run broke, and its last events.
#[derive(Debug)]
pub struct Violation {
    pub kind: Kind,
    pub seed: u64,
    pub broken: Broken,
    pub trace: String,
}

/// # Errors
/// The first violation of an invariant. With `traced` it carries the last events.
pub fn run(kind: Kind, seed: u64, traced: bool) -> Result<Summary, Violation> {
    let mut cluster = Cluster::new(kind, seed, traced);
    match whole_run(&mut cluster) {
        Ok(()) => Ok(summary(&mut cluster)),
        Err(broken) => Err(Violation { kind, seed, broken, trace: cluster.trace() }),
    }
}

fn whole_run(cluster: &mut Cluster) -> Verdict {
    cluster.bootstrap()?;
    let every = cluster.options.fault_every;
    cluster.schedule_in(every, Event::Fault);
    cluster.schedule_in(Duration::from_millis(500), Event::ChangeTopology);
    for client in cluster.clients.ids() {
        cluster.schedule_in(Duration::from_millis(100), Event::ClientActs { client });
    }
    for session in cluster.sessions.ids() {
        cluster.schedule_in(Duration::from_millis(100), Event::Session(session, Happening::Acts));
    }
    let mut storm_ends = Time::ZERO.after(cluster.options.stormy);
    if let Some(absence) = cluster.options.absence {
        cluster.schedule_in(cluster.options.stormy / 2, Event::Storm(Storm::Leave));
        storm_ends = storm_ends.after(absence);
    }
    cluster.run_until(storm_ends)?;
    cluster.heal()?;
    await_whole(cluster, storm_ends.after(cluster.options.settle))?;
    cluster.quiet = true;
    await_agreement(cluster, cluster.now.after(cluster.options.settle))?;
    conflicts::check(cluster).by("conflicts")?;
    let forgotten = cluster.checkers.end(cluster.now)?;
    cluster.sessions.end(&forgotten, cluster.options.shards)?;
    read_all(cluster)?;
    let topology = cluster.newest_topology();
    let moves = topology.is_some_and(|topology| {
        topology.mode.leaderless().is_some_and(|leaderless| !leaderless.moved.is_empty())
    });
    let lost = Lost { forgotten, replicas: cluster.replicas_lost, moves };
    cluster.clients.workload.check(cluster.options.shards, &lost)
}

/// Liveness: with all healed, every replica catches up and every client is answered.
fn await_whole(cluster: &mut Cluster, deadline: Time) -> Verdict {
    let answered = cluster.clients.workload.answered();
    let wanted = answered + 5 * cluster.clients.ids().len() as u64;
    let slower_at = cluster.now.after(cluster.options.settle / 2);
    loop {
        cluster.run_until(cluster.now.after(Duration::from_millis(250)))?;
        // Where no log is held for those who catch up, a snapshot may be too old whenever it is there, until writes are rare; and who
        // is given an entry in each round trip may fall behind for as long.
        if cluster.now >= slower_at {
            cluster.options.think_max = THINK_MAX_SLOWER;
        }
        let not_whole = if cluster.clients.workload.answered() < wanted {
            Err("clients are not answered".to_owned())
        } else {
            liveness::check(cluster).and_then(|()| cell_convergence::whole(cluster))
        };
        match not_whole {
            Ok(()) => return Ok(()),
            Err(why) if cluster.now >= deadline => {
                let settle = cluster.options.settle.as_secs();
                let groups = liveness::describe(cluster);
                let what = format!("not whole {settle} s after the heal: {why}{groups}");
                return Err(Broken::new("liveness", what));
            }
            Err(_) => {}
        }
    }
}

/// With all clients silent, every replica comes to the same entries and the same rows.
fn await_agreement(cluster: &mut Cluster, deadline: Time) -> Verdict {
    loop {
        cluster.run_until(cluster.now.after(COMPARED_EVERY))?;
        let agreed = convergence::check(cluster).by("convergence");
        let agreed = agreed.and_then(|()| changes::check(cluster).by("changes"));
        let agreed = agreed.and_then(|()| cell_convergence::check(cluster).by("cell_convergence"));
        match agreed.and_then(|()| checkpoints::settled(cluster).by("checkpoints")) {
            Err(_) if cluster.now < deadline => {}
            verdict => return verdict,
        }
    }
}

/// What is there in the end must be what clients were promised, too.
fn read_all(cluster: &mut Cluster) -> Verdict {
    let now = cluster.now;
    let wanted = cluster.clients.workload.answered() + cluster.clients.read_all(now);
    if wanted == cluster.clients.workload.answered() {
        return Ok(());
    }
    cluster.quiet = false;
    cluster.options.think_max = THINK_MAX_LAST;
    let first = cluster.clients.ids()[0];
    cluster.schedule_in(Duration::ZERO, Event::ClientActs { client: first });
    let deadline = cluster.now.after(cluster.options.settle);
    while cluster.clients.workload.answered() < wanted {
        cluster.run_until(cluster.now.after(Duration::from_millis(50)))?;
        if cluster.now >= deadline {
            return Err(Broken::new("liveness", "the last reads are not answered"));
        }
    }
    Ok(())
}

fn summary(cluster: &mut Cluster) -> Summary {
    Summary {
        events: cluster.events,
        answered: cluster.clients.workload.answered(),
        wiped: cluster.wiped,
        heartbeats: cluster.checkers.beats.heartbeats,
        answers: cluster.checkers.beats.answers,
        simulated: cluster.now.since(Time::ZERO),
        epoch: cluster.newest_topology().map_or(0, |topology| topology.epoch.0),
        fingerprint: cluster.random.random(),
    }
}

#[cfg(test)]
mod tests {
    use super::run;
    use crate::kind::KINDS;

    #[test]
    fn a_seed_repeats_itself() {
        for (kind, seed) in KINDS.into_iter().flat_map(|kind| [3, 14, 95].map(|seed| (kind, seed)))
        {
            let [first, second] = [(); 2].map(|()| run(kind, seed, false).expect("no violation"));
            assert_eq!(first, second, "{kind}, seed {seed}");
        }
    }
}
