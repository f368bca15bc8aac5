//! One run from one seed: a storm of faults, then everything heals, and the cluster must become whole and agree.

use std::time::Duration;

use quorate_model::{GroupId, Slot, Time};
use rand::RngExt;

use crate::checkers::acknowledged_writes::Forgotten;
use crate::checkers::{convergence, linearizability, liveness};
use crate::cluster::{Cluster, Event};
use crate::nemesis::Storm;
use crate::sessions::Happening;
use crate::verdict::{Broken, By, Verdict};

/// How long clients wait between requests where a follower has no other chance to catch up.
const THINK_MAX_SLOWER: Duration = Duration::from_secs(3);

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
    pub seed: u64,
    pub broken: Broken,
    pub trace: String,
}

/// # Errors
/// The first violation of an invariant. With `traced` it carries the last events.
pub fn run(seed: u64, traced: bool) -> Result<Summary, Violation> {
    let mut cluster = Cluster::new(seed, traced);
    match whole_run(&mut cluster) {
        Ok(()) => Ok(summary(&mut cluster)),
        Err(broken) => Err(Violation { seed, broken, trace: cluster.trace() }),
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
    let forgotten = cluster.checkers.end(cluster.now)?;
    cluster.sessions.end(&forgotten, cluster.options.shards)?;
    check_histories(cluster, &forgotten)
}

/// Liveness: with all healed, every replica catches up and every client is answered.
fn await_whole(cluster: &mut Cluster, deadline: Time) -> Verdict {
    let answered = cluster.clients.workload.answered;
    let wanted = answered + 5 * cluster.clients.ids().len() as u64;
    let slower_at = cluster.now.after(cluster.options.settle / 2);
    loop {
        cluster.run_until(cluster.now.after(Duration::from_millis(250)))?;
        // Where no log is held for those who catch up, a snapshot may be too old whenever it is there, until writes are rare.
        if cluster.options.host.log_held_bytes == 0 && cluster.now >= slower_at {
            cluster.options.think_max = THINK_MAX_SLOWER;
        }
        let not_whole = if cluster.clients.workload.answered < wanted {
            Err("clients are not answered".to_owned())
        } else {
            liveness::check(cluster)
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
        cluster.run_until(cluster.now.after(Duration::from_millis(250)))?;
        match convergence::check(cluster) {
            Ok(()) => return Ok(()),
            Err(why) if cluster.now >= deadline => return Err(Broken::new("convergence", why)),
            Err(_) => {}
        }
    }
}

/// But not those of keys whose writes were lost, as under `Async` they may: there the rollback files are what is kept.
fn check_histories(cluster: &Cluster, forgotten: &Forgotten) -> Verdict {
    for (key, calls) in cluster.clients.workload.histories() {
        let shard = Slot::of_key(&key).shard(cluster.options.shards);
        if forgotten.contains(GroupId::Shard(shard), &key) {
            continue;
        }
        linearizability::check(&calls)
            .map_err(|why| format!("{key:?}: {why}"))
            .by("linearizability")?;
    }
    Ok(())
}

fn summary(cluster: &mut Cluster) -> Summary {
    Summary {
        events: cluster.events,
        answered: cluster.clients.workload.answered,
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

    #[test]
    fn a_seed_repeats_itself() {
        for seed in [3, 14, 95] {
            let [first, second] = [(); 2].map(|()| run(seed, false).expect("no violation"));
            assert_eq!(first, second, "seed {seed}");
        }
    }
}
