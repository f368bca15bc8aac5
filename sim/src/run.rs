//! One run from one seed: a storm of faults, then everything heals and the cluster must become whole.

use std::time::Duration;

use quorate_model::Time;
use rand::RngExt;

use crate::checkers::{linearizability, liveness};
use crate::cluster::{Cluster, Event};

/// What a run did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    pub events: u64,
    pub answered: u64,
    pub wiped: u64,
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
    pub what: String,
    pub trace: String,
}

/// # Errors
/// The first violation of an invariant. With `traced` it carries the last events.
pub fn run(seed: u64, traced: bool) -> Result<Summary, Violation> {
    let mut cluster = Cluster::new(seed, traced);
    match whole_run(&mut cluster) {
        Ok(()) => Ok(summary(&mut cluster)),
        Err(what) => Err(Violation { seed, what, trace: cluster.trace() }),
    }
}

fn whole_run(cluster: &mut Cluster) -> Result<(), String> {
    cluster.bootstrap()?;
    let every = cluster.options.fault_every;
    cluster.schedule_in(every, Event::Fault);
    cluster.schedule_in(Duration::from_millis(500), Event::ChangeTopology);
    for client in cluster.clients.ids() {
        cluster.schedule_in(Duration::from_millis(100), Event::ClientActs { client });
    }
    let storm_ends = Time::ZERO.after(cluster.options.stormy);
    cluster.run_until(storm_ends)?;
    cluster.heal()?;
    await_whole(cluster, storm_ends.after(cluster.options.settle))?;
    cluster.checkers.end(cluster.now)?;
    check_histories(cluster)
}

/// Liveness: with all healed, every replica catches up and every client is answered.
fn await_whole(cluster: &mut Cluster, deadline: Time) -> Result<(), String> {
    let answered = cluster.clients.workload.answered;
    let wanted = answered + 5 * cluster.clients.ids().len() as u64;
    loop {
        cluster.run_until(cluster.now.after(Duration::from_millis(250)))?;
        let not_whole = if cluster.clients.workload.answered < wanted {
            Err("clients are not answered".to_owned())
        } else {
            liveness::check(cluster)
        };
        match not_whole {
            Ok(()) => return Ok(()),
            Err(why) if cluster.now >= deadline => {
                return Err(format!(
                    "not whole {} s after the heal: {why}",
                    cluster.options.settle.as_secs()
                ));
            }
            Err(_) => {}
        }
    }
}

fn check_histories(cluster: &Cluster) -> Result<(), String> {
    for (key, calls) in cluster.clients.workload.histories() {
        linearizability::check(&calls).map_err(|why| format!("{key:?}: {why}"))?;
    }
    Ok(())
}

fn summary(cluster: &mut Cluster) -> Summary {
    Summary {
        events: cluster.events,
        answered: cluster.clients.workload.answered,
        wiped: cluster.wiped,
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
