//! Leadership among the operator's own replicas, over one `Lease`.
//!
//! Written here and not taken from a crate: every kube major would otherwise wait for that crate, and the rule is
//! short. The rule: [`decide`] is pure and reads no clock; a holder's age is counted from when *this* process last saw
//! the lease change, so no two machines' clocks are compared; every write replaces the lease at the resourceVersion
//! that was read, so of two claimants one gets a conflict; a leader that could not renew for `renew_deadline` stops
//! counting itself as leader before anybody else may claim (`renew_deadline` < `duration`).
//! Losing leadership ends the process: nothing that a reconcile began outlives it.
//!
//! This protects only against double work. The store's own elections never look at this lease.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::health::Vitals;

/// The election's periods. `retry` < `renew_deadline` < `duration`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// How long after its last renewal a holder's lease may be claimed.
    pub duration: Duration,
    /// How long a leader goes on without a successful renewal.
    pub renew_deadline: Duration,
    /// How often the lease is looked at.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// Why leadership ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("another replica, {0:?}, holds the lease")]
    Taken(String),
    #[error("the lease could not be renewed for {} s", .0.as_secs())]
    NotRenewed(Duration),
}

pub(crate) struct Election {
    api: Api<Lease>,
    name: String,
    me: String,
    timing: Timing,
    seen: Option<Seen>,
}

/// The lease as last seen to change, by this process's own clock.
#[derive(Clone, PartialEq, Debug)]
struct Seen {
    version: Option<String>,
    since: Instant,
}

/// What to do about the lease.
#[derive(Clone, PartialEq, Debug)]
enum Step {
    Create(Lease),
    /// Replace at the resourceVersion that the lease carries.
    Replace(Lease),
    /// Somebody else holds it and is alive as far as we can tell.
    Stand(String),
}

impl Election {
    /// `me` must differ between replicas: the pod's name.
    #[must_use]
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        me: &str,
        timing: Timing,
    ) -> Self {
        assert!(timing.retry < timing.renew_deadline && timing.renew_deadline < timing.duration);
        let api = Api::namespaced(client, namespace);
        Self { api, name: name.to_owned(), me: me.to_owned(), timing, seen: None }
    }

    /// Waits until this replica leads.
    pub(crate) async fn won(&mut self, vitals: &Vitals) {
        loop {
            vitals.progressed();
            match self.attempt().await {
                Ok(Standing::Leading) => return,
                Ok(Standing::Behind(holder)) => tracing::debug!(holder, "standing by"),
                Err(error) => tracing::warn!(%error, "cannot reach the leader lease"),
            }
            tokio::time::sleep(self.timing.retry).await;
        }
    }

    /// Holds leadership: returns only when it is lost.
    pub(crate) async fn lost(&mut self) -> Lost {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.timing.retry).await;
            // The claim counts from before the request was sent: the server may have stored it at any time since.
            let asked = Instant::now();
            match self.attempt().await {
                Ok(Standing::Leading) => renewed = asked,
                Ok(Standing::Behind(holder)) => return Lost::Taken(holder),
                Err(error) => tracing::warn!(%error, "cannot renew the leader lease"),
            }
            if renewed.elapsed() >= self.timing.renew_deadline {
                return Lost::NotRenewed(self.timing.renew_deadline);
            }
        }
    }

    /// Gives the lease up, so that the next replica need not wait for it to run out. Best effort.
    pub(crate) async fn release(&mut self) {
        let released = async {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() != Some(&self.me) {
                return Ok(());
            }
            spec.holder_identity = None;
            spec.renew_time = Some(now());
            self.api.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
        };
        let outcome: Result<Result<(), kube::Error>, _> =
            tokio::time::timeout(self.timing.retry, released).await;
        match outcome {
            Ok(Ok(())) => tracing::info!("gave up leadership"),
            Ok(Err(error)) => tracing::warn!(%error, "cannot give up the leader lease"),
            Err(_) => tracing::warn!("cannot give up the leader lease in time"),
        }
    }

    async fn attempt(&mut self) -> Result<Standing, AttemptError> {
        let deadline = self.timing.renew_deadline / 2;
        tokio::time::timeout(deadline, self.attempt_unbounded())
            .await
            .map_err(|_| AttemptError::Deadline(deadline))?
    }

    async fn attempt_unbounded(&mut self) -> Result<Standing, AttemptError> {
        let lease = self.api.get_opt(&self.name).await?;
        let at = Instant::now();
        self.look(lease.as_ref(), at);
        let age = self.seen.as_ref().map_or(Duration::ZERO, |seen| at - seen.since);
        let written = match decide(lease, &self.me, age, self.timing, now()) {
            Step::Stand(holder) => return Ok(Standing::Behind(holder)),
            Step::Create(mut lease) => {
                lease.metadata.name = Some(self.name.clone());
                self.api.create(&PostParams::default(), &lease).await
            }
            Step::Replace(lease) => {
                self.api.replace(&self.name, &PostParams::default(), &lease).await
            }
        };
        match written {
            Ok(lease) => {
                self.look(Some(&lease), Instant::now());
                Ok(Standing::Leading)
            }
            // Somebody was faster, or our own earlier write arrived after all: the next look tells which.
            Err(kube::Error::Api(status)) if status.code == 409 => Err(AttemptError::Raced),
            Err(error) => Err(error.into()),
        }
    }

    fn look(&mut self, lease: Option<&Lease>, at: Instant) {
        let version = lease.and_then(|lease| lease.metadata.resource_version.clone());
        if self.seen.as_ref().is_none_or(|seen| seen.version != version) {
            self.seen = Some(Seen { version, since: at });
        }
    }
}

enum Standing {
    Leading,
    Behind(String),
}

#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("the API server did not take the request")]
    Api(#[from] kube::Error),
    #[error("the lease changed meanwhile")]
    Raced,
    #[error("no answer within {} ms", .0.as_millis())]
    Deadline(Duration),
}

/// What `me` does about `lease`, last seen to change `age` ago.
fn decide(lease: Option<Lease>, me: &str, age: Duration, timing: Timing, now: MicroTime) -> Step {
    let seconds = i32::try_from(timing.duration.as_secs()).unwrap_or(i32::MAX);
    let claim = |before: &LeaseSpec, ours: bool| LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: Some(seconds),
        renew_time: Some(now.clone()),
        acquire_time: if ours { before.acquire_time.clone() } else { Some(now.clone()) },
        lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(!ours)),
        ..before.clone()
    };
    let Some(mut lease) = lease else {
        let spec = claim(&LeaseSpec { lease_transitions: Some(-1), ..LeaseSpec::default() }, false);
        return Step::Create(Lease { spec: Some(spec), ..Lease::default() });
    };
    let before = lease.spec.take().unwrap_or_default();
    let holder = before.holder_identity.clone().unwrap_or_default();
    // The holder's own promise counts, not ours: it may run with other periods.
    let promised = before.lease_duration_seconds.and_then(|s| u64::try_from(s).ok());
    let expired = age >= promised.map_or(timing.duration, Duration::from_secs);
    if holder != me && !holder.is_empty() && !expired {
        return Step::Stand(holder);
    }
    lease.spec = Some(claim(&before, holder == me));
    Step::Replace(lease)
}

/// For people who read the lease; no decision compares it.
fn now() -> MicroTime {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
    MicroTime(k8s_openapi::jiff::Timestamp::from_microsecond(micros).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALIVE: Duration = Duration::from_secs(3);
    const EXPIRED: Duration = Duration::from_secs(15);

    fn held_by(holder: &str) -> Lease {
        let spec = LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(4),
            ..LeaseSpec::default()
        };
        let mut lease = Lease { spec: Some(spec), ..Lease::default() };
        lease.metadata.resource_version = Some("77".to_owned());
        lease
    }

    fn decided(lease: Option<Lease>, age: Duration) -> Step {
        decide(lease, "me", age, Timing::default(), now())
    }

    #[test]
    fn absent_lease_is_created() {
        let Step::Create(lease) = decided(None, Duration::ZERO) else { panic!() };
        let spec = lease.spec.unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("me"));
        assert_eq!(spec.lease_transitions, Some(0));
    }

    #[test]
    fn live_holder_is_left_alone() {
        assert_eq!(decided(Some(held_by("other")), ALIVE), Step::Stand("other".to_owned()));
    }

    #[test]
    fn expired_lease_is_claimed_at_the_version_that_was_read() {
        let Step::Replace(lease) = decided(Some(held_by("other")), EXPIRED) else { panic!() };
        assert_eq!(lease.metadata.resource_version.as_deref(), Some("77"));
        let spec = lease.spec.unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("me"));
        assert_eq!(spec.lease_transitions, Some(5));
    }

    #[test]
    fn released_lease_is_claimed_at_once() {
        assert!(matches!(decided(Some(held_by("")), Duration::ZERO), Step::Replace(_)));
    }

    #[test]
    fn own_lease_is_renewed_without_a_transition() {
        let Step::Replace(lease) = decided(Some(held_by("me")), ALIVE) else { panic!() };
        assert_eq!(lease.spec.unwrap().lease_transitions, Some(4));
    }
}
