//! What a connection has asked for beyond, or instead of, what its store declares.

use std::time::Duration;

use quorate_model::{ReadPreference, ReadYourWrites, SessionPolicy, ShardId};
use serde::{Deserialize, Serialize};

use super::Routing;
use super::keyspace::Durability;
use super::order::Access;
use crate::resp::Reply;
use crate::resp::commands::{DurabilityOption, SessionOption};

const DURABILITY_TIMEOUT_MS: u64 = 1_000;

/// Without leaders: of what a session remembers what it has seen, so as not to be answered from less.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Remembers {
    pub(super) writes: bool,
    pub(super) reads: bool,
}

impl Remembers {
    pub(super) const fn any(self) -> bool {
        self.writes || self.reads
    }

    /// Whether it remembers what it sees by this. What it wrote it must know to see no less later, too.
    pub(super) const fn what(self, access: Access) -> bool {
        match access {
            Access::Read => self.reads,
            Access::Write => self.any(),
        }
    }
}

/// `None` is what the store declares, also when that changes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Options {
    pub(super) reads: Option<ReadPreference>,
    read_your_writes: Option<ReadYourWrites>,
    monotonic: Option<bool>,
    prefix: Option<bool>,
    staleness: Option<Option<u64>>,
    wait_ms: Option<u64>,
    pub(super) durability: DurabilityOption,
    durability_timeout_ms: Option<u64>,
    /// Whoever has the same user reads at the same replicas.
    user: Option<String>,
}

impl Options {
    pub(super) fn set(&mut self, option: SessionOption) {
        match option {
            SessionOption::Reads(reads) => self.reads = Some(reads),
            SessionOption::ReadYourWrites(how) => self.read_your_writes = Some(how),
            SessionOption::Monotonic(on) => self.monotonic = Some(on),
            SessionOption::Prefix(on) => self.prefix = Some(on),
            SessionOption::Staleness(ms) => self.staleness = Some(ms),
            SessionOption::Wait(ms) => self.wait_ms = Some(ms),
            SessionOption::Durability(durability) => self.durability = durability,
            SessionOption::DurabilityTimeout(ms) => self.durability_timeout_ms = Some(ms),
            SessionOption::User(user) => self.user = Some(user),
        }
    }

    /// Without leaders nothing is promised beyond what the levels say, unless it is asked for.
    pub(super) fn remembers(&self) -> Remembers {
        Remembers {
            writes: self.read_your_writes == Some(ReadYourWrites::Position),
            reads: self.monotonic == Some(true),
        }
    }

    /// What is in force over these defaults.
    pub(super) fn over(&self, store: &SessionPolicy, reads: ReadPreference) -> SessionPolicy {
        SessionPolicy {
            reads,
            read_your_writes: self
                .read_your_writes
                .clone()
                .unwrap_or_else(|| store.read_your_writes.clone()),
            monotonic: self.monotonic.unwrap_or(store.monotonic),
            consistent_prefix: self.prefix.unwrap_or(store.consistent_prefix),
            staleness_ms_max: self.staleness.unwrap_or(store.staleness_ms_max),
            wait_ms: self.wait_ms.unwrap_or(store.wait_ms),
        }
    }

    /// Of several leaders: how long what the session brought from another datacenter is waited for, where that is said.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.wait_ms.map(Duration::from_millis)
    }

    fn durability_timeout_ms(&self) -> u64 {
        self.durability_timeout_ms.unwrap_or(DURABILITY_TIMEOUT_MS)
    }

    /// Chooses the replica, the same on every node.
    pub(super) fn affinity(&self) -> Option<u64> {
        self.user.as_ref().map(|user| u64::from(crc32c::crc32c(user.as_bytes())))
    }

    /// How durable a write to this shard is to be, where that is more than the store asks for.
    pub(super) fn durability(&self, routing: &Routing, shard: ShardId) -> Option<Durability> {
        let voters = routing.shard(shard).map_or(1, |route| route.voters.len());
        let followers = self.followers(voters)?;
        Some(Durability { followers, timeout_ms: self.durability_timeout_ms() })
    }

    /// How many followers must hold a write durably, beside the leader, of so many voters.
    fn followers(&self, voters: usize) -> Option<u32> {
        let others = u32::try_from(voters.saturating_sub(1)).unwrap_or(u32::MAX);
        match self.durability {
            DurabilityOption::Store => None,
            // The leader and half of the voters, rounded down, are a majority.
            DurabilityOption::Quorum => Some(u32::try_from(voters / 2).unwrap_or(u32::MAX)),
            DurabilityOption::Sync => Some(others),
            DurabilityOption::Followers(count) => Some(count),
        }
    }

    /// SESSION GET.
    pub(super) fn describe(&self, policy: &SessionPolicy) -> Reply {
        let SessionPolicy {
            reads,
            read_your_writes,
            monotonic,
            consistent_prefix,
            staleness_ms_max,
            wait_ms,
        } = policy;
        let rows = [
            ("reads", reads_text(*reads).to_owned()),
            ("read-your-writes", read_your_writes_text(read_your_writes)),
            ("monotonic", on_text(*monotonic).to_owned()),
            ("prefix", on_text(*consistent_prefix).to_owned()),
            ("staleness", staleness_ms_max.map_or_else(|| "off".to_owned(), |ms| ms.to_string())),
            ("wait", wait_ms.to_string()),
            ("durability", durability_text(self.durability)),
            ("durability-timeout", self.durability_timeout_ms().to_string()),
            ("user", self.user.clone().unwrap_or_default()),
        ];
        described(rows)
    }

    /// The same without leaders.
    pub(super) fn describe_remembers(&self) -> Reply {
        let Remembers { writes, reads } = self.remembers();
        let how = if writes { "position" } else { "off" };
        described([("read-your-writes", how.to_owned()), ("monotonic", on_text(reads).to_owned())])
    }
}

fn described<const N: usize>(rows: [(&'static str, String); N]) -> Reply {
    Reply::Map(rows.into_iter().map(|(name, is)| (Reply::text(name), Reply::text(is))).collect())
}

/// Whether stores without leaders have it.
pub(super) const fn is_of_versions(option: &SessionOption) -> bool {
    match option {
        SessionOption::ReadYourWrites(how) => {
            matches!(how, ReadYourWrites::Off | ReadYourWrites::Position)
        }
        SessionOption::Monotonic(_) => true,
        SessionOption::Reads(_)
        | SessionOption::Prefix(_)
        | SessionOption::Staleness(_)
        | SessionOption::Wait(_)
        | SessionOption::Durability(_)
        | SessionOption::DurabilityTimeout(_)
        | SessionOption::User(_) => false,
    }
}

const fn reads_text(reads: ReadPreference) -> &'static str {
    match reads {
        ReadPreference::Leader => "leader",
        ReadPreference::Replica => "replica",
    }
}

fn read_your_writes_text(how: &ReadYourWrites) -> String {
    match how {
        ReadYourWrites::Off => "off".to_owned(),
        ReadYourWrites::Position => "position".to_owned(),
        ReadYourWrites::Window { ms } => format!("window {ms}"),
        ReadYourWrites::Owner { patterns } => {
            format!("owner {} {}", patterns.len(), patterns.join(" "))
        }
    }
}

const fn on_text(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn durability_text(durability: DurabilityOption) -> String {
    match durability {
        DurabilityOption::Store => "store".to_owned(),
        DurabilityOption::Quorum => "quorum".to_owned(),
        DurabilityOption::Sync => "sync".to_owned(),
        DurabilityOption::Followers(count) => count.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_is_what_the_store_declares() {
        let store = SessionPolicy { staleness_ms_max: Some(7), ..SessionPolicy::default() };
        let mut options = Options::default();
        options.set(SessionOption::Monotonic(false));
        let policy = options.over(&store, ReadPreference::Replica);
        assert_eq!((policy.monotonic, policy.staleness_ms_max), (false, Some(7)));
        options.set(SessionOption::Staleness(None));
        assert_eq!(options.over(&store, ReadPreference::Replica).staleness_ms_max, None);
    }

    #[test]
    fn a_quorum_is_the_leader_and_half_of_the_voters() {
        let mut options = Options::default();
        assert_eq!(options.followers(3), None);
        options.set(SessionOption::Durability(DurabilityOption::Quorum));
        assert_eq!(
            [1, 2, 3, 4, 5].map(|voters| options.followers(voters)),
            [0, 1, 1, 2, 2].map(Some)
        );
        options.set(SessionOption::Durability(DurabilityOption::Sync));
        assert_eq!(options.followers(3), Some(2));
    }
}
