//! What waits for something that its giver has further on in its log, and fills the room for that.

use std::time::Duration;

use quorate_model::{ActorId, Datacenter, Dot, Hlc, Links, LogIndex, NodeId, Time};
use quorate_model::{VersionVector, WallTime};

use super::site_test::{key, value};
use super::{
    Change, Entry, Exchange, Input, Log, Message, Output, Over, Routes, Settings, Start, Write,
};

struct NoLog(VersionVector);

impl Log for NoLog {
    fn floor(&self) -> (LogIndex, &VersionVector) {
        (LogIndex::ZERO, &self.0)
    }

    fn applied(&self) -> LogIndex {
        LogIndex::ZERO
    }

    fn behind(&self, _: LogIndex, _: usize) -> Vec<(LogIndex, Entry)> {
        Vec::new()
    }
}

const HUB: ActorId = ActorId(2);
const OTHER: ActorId = ActorId(3);
const GIVER: NodeId = NodeId(9);

fn vector(dots: &[(ActorId, u64)]) -> VersionVector {
    dots.iter().map(|(actor, counter)| Dot { actor: *actor, counter: *counter }).collect()
}

/// Written there while a snapshot came, before the entry that says what that brought.
fn change(first: u64) -> Change {
    let write = Write::Put { content: value("x".repeat(100)), over: Over::default() };
    let (after, writes) = (vector(&[(OTHER, 7)]), vec![(key("k"), write)]);
    Change { origin: HUB, first, after, at: Hlc(first), writes }
}

/// When whoever takes from `hub` and has room for one of the two asks for a snapshot from there.
fn lacks_after(links: Links, all: &[&Datacenter], hub: &Datacenter) -> Option<Duration> {
    let settings = Settings { held_bytes_max: change(1).bytes(), ..Settings::default() };
    let end = Time::ZERO.after(settings.silence * 4);
    let start = Start {
        origin: ActorId(1),
        own: [ActorId(1)].into(),
        known: VersionVector::default(),
        seed: 1,
        now: Time::ZERO,
    };
    let mut exchange = Exchange::new(start, settings);
    let log = NoLog(VersionVector::default());
    let here = all[0].clone();
    let all = all.iter().map(|place| (*place).clone()).collect();
    let routes = Routes { here, all, links, reroute: false };
    let nodes = [(hub.clone(), vec![GIVER])].into();
    let mut input = Input::Routes { routes, nodes };
    let mut now = Time::ZERO;
    while now < end {
        exchange.step(now, WallTime(1), input, &log);
        let outputs: Vec<Output> = std::iter::from_fn(|| exchange.pop_output()).collect();
        let lacks = |output: &Output| matches!(output, Output::Lacks { from, .. } if from == hub);
        if outputs.iter().any(lacks) {
            return Some(now.since(Time::ZERO));
        }
        let asked = outputs.into_iter().find_map(|output| match output {
            Output::Send { message: Message::Subscribe { number, from, .. }, .. } => {
                Some((number, from.map_or(LogIndex::ZERO, |from| from.through)))
            }
            Output::Send { .. } | Output::Apply { .. } | Output::Lacks { .. } => None,
        });
        input = match asked {
            Some((number, from)) => {
                let message = Message::Changes {
                    number,
                    log: HUB,
                    start: from,
                    from,
                    through: LogIndex(2),
                    changes: vec![change(1), change(2)],
                    known: vector(&[(HUB, 2), (OTHER, 7)]),
                };
                Input::Message { from: GIVER, message }
            }
            None => {
                now = exchange.deadline().max(now);
                Input::Tick
            }
        };
    }
    None
}

#[test]
fn a_snapshot_is_asked_for_once_others_could_have_given_it() {
    let [here, hub, other] =
        ["here", "hub", "other"].map(|name| Datacenter::new(name).expect("a name"));
    let star = lacks_after(Links::Star { hub: hub.clone() }, &[&here, &hub], &hub);
    // The third one does not answer, and nobody goes around it.
    let all_to_all = lacks_after(Links::AllToAll, &[&here, &hub, &other], &hub);
    for after in [star, all_to_all] {
        assert!(after.expect("it is asked for") >= Settings::default().silence);
    }
}
