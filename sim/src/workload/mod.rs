//! What simulated clients do: each has at most one call under way, and writes down what it saw.
//!
//! `registers` is for stores with leaders; `several_leaders` and `crossing`, which `leaders_everywhere` puts together, for those with
//! one in every datacenter; `versions`, `collections` and `remembered`, which `without_leaders` puts together, for those without.

mod collections;
mod crossing;
mod leaders_everywhere;
mod registers;
mod remembered;
mod several_leaders;
mod versions;
mod without_leaders;

use quorate_group::Value;
use quorate_group::host::{Failure, Reply, Request};
use quorate_model::{Datacenter, ShardId, Time};
use rand_chacha::ChaCha8Rng;

use crate::checkers::acknowledged_writes::Forgotten;
use crate::verdict::Verdict;

pub(crate) use leaders_everywhere::LeadersEverywhere;
pub(crate) use registers::Registers;
pub(crate) use without_leaders::WithoutLeaders;

/// Numbers the clients of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ClientId(pub(crate) usize);

/// What became of an attempt, for the client's next step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Attempt {
    /// The call is over.
    Done,
    /// It surely had no effect: ask again, elsewhere.
    Again,
}

/// A `v` and a number.
pub(crate) const VALUE_BYTES: usize = 9;

/// How the names of keys begin that are written and never read.
pub(crate) const COLD: &[u8] = b"cold-";
const COLD_KEYS: usize = 6;

/// What a run may have lost although it was acknowledged, as its store's declaration allows.
pub(crate) struct Lost {
    /// By `Async`.
    pub(crate) forgotten: Forgotten,
    /// Replicas were lost or damaged.
    pub(crate) replicas: bool,
    /// Shards moved.
    pub(crate) moves: bool,
}

pub(crate) trait Workload {
    /// The client begins a call.
    fn begin(&mut self, client: ClientId, now: Time, random: &mut ChaCha8Rng);

    /// The client begins a read.
    fn begin_read(&mut self, client: ClientId, now: Time, random: &mut ChaCha8Rng);

    /// Whether the client's call is a read.
    fn reads(&self, client: ClientId) -> bool;

    /// The datacenter where the client's call is made, where it is not any.
    fn place(&self, _client: ClientId) -> Option<Datacenter> {
        None
    }

    /// Its attempt has come to a machine of that datacenter.
    fn arrives(&mut self, _client: ClientId, _at: Datacenter) {}

    /// What the client's call asks for; `None` when it has none.
    fn request(&self, client: ClientId, shards: u16) -> Option<Request>;

    /// The shard that the client's call is about.
    fn shard(&self, client: ClientId, shards: u16) -> Option<ShardId>;

    /// An attempt of the client's call has come to its end.
    fn answer(&mut self, client: ClientId, now: Time, reply: Result<Reply, Failure>) -> Attempt {
        match reply {
            Ok(reply) => self.answered_with(client, now, reply),
            Err(Failure::Unknown | Failure::NoQuorum { writes: true, .. }) => self.give_up(client),
            // Everything else promises that nothing happened.
            Err(
                Failure::NotLeader { .. }
                | Failure::NoLeader { .. }
                | Failure::NotHosted { .. }
                | Failure::Overloaded
                | Failure::EpochMoved { .. }
                | Failure::AlreadyBootstrapped
                | Failure::Invalid(_)
                | Failure::Behind { .. }
                | Failure::PositionLost { .. }
                | Failure::TimedOut { .. }
                | Failure::NoQuorum { writes: false, .. }
                | Failure::Filling { .. }
                | Failure::Home { .. }
                | Failure::HomeSilent { .. }
                | Failure::Lacking { .. }
                | Failure::Damaged(_),
            ) => Attempt::Again,
        }
    }

    /// It was answered with this.
    fn answered_with(&mut self, client: ClientId, now: Time, reply: Reply) -> Attempt;

    /// The client does not know what became of its attempt.
    fn give_up(&mut self, client: ClientId) -> Attempt;

    /// How many calls were answered.
    fn answered(&self) -> u64;

    /// From now on every key is read once more. Answers how many reads that takes.
    fn read_all(&mut self, now: Time) -> u64;

    /// Whether what clients saw can be.
    fn check(&self, shards: u16, lost: &Lost) -> Verdict;
}

/// What a counter is read as.
fn number(value: &Value) -> i64 {
    if *value == Value::Nil {
        return 0;
    }
    let Value::Bulk(text) = value else { panic!("{value:?} is no counter") };
    let text = str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok()).expect("a counter is a number")
}

fn fresh_value(number: &mut u64) -> bytes::Bytes {
    *number += 1;
    let value = bytes::Bytes::from(format!("v{number:08}"));
    assert_eq!(value.len(), VALUE_BYTES);
    value
}
