//! Three replicas and two nodes without one, with disks that are done at once: who stands in, what counts, and what becomes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_model::{
    ConflictPolicy, Datacenter, Hints, LeaderlessPolicy, Level, NodeId, Time, WallTime,
};

use super::range_test::Applied;
use super::{
    After, Asked, CellKey, Collected, HintsFor, Input, Mark, Message, Output, Owners, Place,
    ReadRepair, Refused, Replica, RequestId, Seen, Settings, Span, StandIns, Standing, Start,
};
use crate::causal::{Cell, Change, Content};

const OWNERS: [u128; 3] = [1, 2, 3];
const STAND_INS: [u128; 2] = [4, 5];

type Answer = Result<Vec<(CellKey, Cell)>, Refused>;

struct World {
    now: Time,
    requests: u64,
    bytes_max: u64,
    window: Duration,
    conflicts: ConflictPolicy,
    /// The newest round that is closed where a replica begins.
    barrier: u64,
    replicas: BTreeMap<u128, Replica>,
    cells: BTreeMap<u128, Applied>,
    /// The disk is done at once: there is one at most.
    unapplied: BTreeMap<u128, Vec<(CellKey, Cell)>>,
    down: BTreeSet<u128>,
    answers: BTreeMap<RequestId, Answer>,
}

fn key(number: u32) -> CellKey {
    CellKey::new(Bytes::from(format!("\0\0hash{number:05}"))).unwrap()
}

impl World {
    fn new(bytes_max: u64, window: Duration) -> Self {
        let mut world = Self {
            now: Time::ZERO,
            requests: 0,
            bytes_max,
            window,
            conflicts: ConflictPolicy::default(),
            barrier: 0,
            replicas: BTreeMap::new(),
            cells: BTreeMap::new(),
            unapplied: BTreeMap::new(),
            down: BTreeSet::new(),
            answers: BTreeMap::new(),
        };
        for id in OWNERS.into_iter().chain(STAND_INS) {
            world.cells.insert(id, Applied::default());
            world.start(id, 0);
        }
        world
    }

    fn start(&mut self, id: u128, process: u64) {
        let owns = OWNERS.contains(&id);
        let start = Start {
            id: NodeId(id),
            span: Span { from: Place(0), to: Place(1 << 40) },
            seed: u64::try_from(id).unwrap() + 100 * process,
            standing: if owns { Standing::Whole } else { Standing::Filling },
            collected: Collected { barrier: self.barrier, ..Collected::default() },
        };
        let settings = Settings {
            exchange_interval: Duration::from_secs(100_000),
            collect_interval: Duration::from_secs(100_000),
            ..Settings::default()
        };
        let replica = Replica::new(start, settings, self.now, &self.cells[&id]);
        self.replicas.insert(id, replica);
        let dc = Datacenter::new("dc").unwrap();
        let zone = |id: u128| (dc.clone(), Datacenter::new(format!("zone-{}", id % 2)).unwrap());
        let all = OWNERS.into_iter().chain(STAND_INS);
        let owners = Owners {
            nodes: OWNERS.map(|node| (NodeId(node), dc.clone())).into(),
            stand_ins: StandIns {
                nodes: STAND_INS.map(NodeId).into(),
                zones: all.map(|node| (NodeId(node), zone(node))).collect(),
                window: self.window,
                bytes_max: self.bytes_max,
            },
            ..Owners::default()
        };
        let hints = Some(Hints::default()).filter(|_| self.bytes_max > 0);
        let conflicts = self.conflicts;
        let policy = LeaderlessPolicy { hints, conflicts, ..LeaderlessPolicy::default() };
        self.give(id, Input::Owners { owners, policy });
    }

    /// And everything that follows from it.
    fn give(&mut self, at: u128, input: Input) {
        let mut inputs = vec![(at, input)];
        while let Some((at, input)) = inputs.pop() {
            if self.down.contains(&at) {
                continue;
            }
            let replica = self.replicas.get_mut(&at).unwrap();
            let cells = self.cells.get_mut(&at).unwrap();
            replica.step(self.now, WallTime(1_000_000), input, cells);
            let mut next = Vec::new();
            while let Some(output) = replica.pop_output() {
                match output {
                    Output::Persist { id, cells } => {
                        self.unapplied.insert(at, cells);
                        next.push((at, Input::Persisted { id }));
                    }
                    Output::Apply { .. } => {
                        cells.0.extend(self.unapplied.remove(&at).unwrap_or_default());
                    }
                    Output::Drop { cells: gone, .. } => {
                        cells.0.retain(|key, _| !gone.contains(key))
                    }
                    Output::Send { to, mark, message } => {
                        assert!(
                            at < 4
                                || matches!(
                                    message,
                                    Message::Hinted { .. } | Message::Handoff { .. }
                                )
                        );
                        next.push((to.0, Input::Message { from: NodeId(at), mark, message }));
                    }
                    Output::Answer { id, result, .. } => {
                        self.answers.insert(id, result);
                    }
                    Output::Close { collected } => next.push((at, Input::Closed { collected })),
                    Output::Filled => {}
                    Output::Damaged { why } => panic!("{why}"),
                }
            }
            inputs.extend(next.into_iter().rev());
        }
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        let first = |world: &Self| {
            let up = world.replicas.iter().filter(|(id, _)| !world.down.contains(id));
            up.map(|(id, replica)| (replica.deadline(), *id)).min()
        };
        while let Some((at, id)) = first(self).filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.give(id, Input::Tick);
        }
        self.now = end;
    }

    fn write(&mut self, at: u128, number: u32, level: Level) -> Answer {
        self.requests += 1;
        let id = RequestId(self.requests);
        let content = Content::Value { value: Bytes::from_static(b"value"), expiry: None };
        let changes = vec![(key(number), Change::Put { content, context: None })];
        self.give(at, Input::Write { id, changes, level, after: After::Nothing });
        self.run_for(Duration::from_secs(3));
        self.answers.remove(&id).unwrap()
    }

    fn hints(&self, at: u128) -> Vec<(u128, u64)> {
        let of = |HintsFor { target, count, .. }: HintsFor| (target.0, count);
        self.replicas[&at].hints().into_iter().map(of).collect()
    }

    fn holds(&self, at: u128, number: u32) -> bool {
        self.cells[&at].0.contains_key(&key(number))
    }
}

const LONG: Duration = Duration::from_secs(10_000);

#[test]
fn who_stands_in_counts_at_levels_that_say_so_alone() {
    let mut world = World::new(1 << 20, LONG);
    world.down = [2, 3].into();
    let strict = world.write(1, 1, Level::Quorum);
    assert_eq!(strict, Err(Refused::NoQuorum { answered: 1, needed: 2 }));
    assert!(!world.holds(4, 1) && !world.holds(5, 1), "nobody is asked to");
    world.write(1, 2, Level::SloppyQuorum).unwrap();
    // One for each replica, of another zone where there is one.
    assert_eq!(world.hints(5), [(2, 1)]);
    assert_eq!(world.hints(4), [(3, 1)]);
    assert_eq!(world.write(1, 3, Level::All), Err(Refused::NoQuorum { answered: 1, needed: 3 }));
    world.down.insert(4);
    world.down.insert(5);
    let nobody = world.write(1, 4, Level::SloppyQuorum);
    assert_eq!(nobody, Err(Refused::NoQuorum { answered: 1, needed: 2 }));
    world.write(1, 5, Level::Any).unwrap();
}

/// INV-103
#[test]
fn where_no_replica_answers_a_node_holds_a_write_for_all_of_them_at_one_level() {
    let mut world = World::new(1 << 10, LONG);
    world.down = [1, 2, 3, 5].into();
    for level in [Level::Count(1), Level::Quorum, Level::SloppyQuorum] {
        assert_eq!(world.write(4, 1, level), Err(Refused::NotAReplica));
    }
    world.write(4, 1, Level::Any).unwrap();
    assert_eq!(world.hints(4), [(1, 1), (2, 1), (3, 1)]);
    let refused = (2..20).filter(|number| world.write(4, *number, Level::Any).is_err()).count();
    assert!((1..18).contains(&refused), "what it may hold is bounded");
    world.start(4, 1);
    world.down.clear();
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.hints(4), []);
    assert!(world.holds(1, 1) && world.cells[&4].0.is_empty());
    for at in [2, 3] {
        assert_eq!(world.cells[&at].0, world.cells[&1].0);
    }
}

/// INV-90: it has let go of what it wrote first, and does not know of it when it writes again.
#[test]
fn what_a_node_holds_for_all_replaces_nothing_that_it_has_given_back() {
    let mut world = World::new(1 << 20, LONG);
    world.conflicts = ConflictPolicy::Siblings;
    (1..=5).for_each(|id| world.start(id, 1));
    for _ in 0..2 {
        world.down = [1, 2, 3, 5].into();
        world.write(4, 1, Level::Any).unwrap();
        world.down.clear();
        world.run_for(Duration::from_secs(30));
        assert!(world.cells[&4].0.is_empty());
    }
    assert_eq!(world.cells[&1].0[&key(1)].values(), 2);
}

#[test]
fn hints_leave_once_their_target_has_them() {
    let mut world = World::new(1 << 20, LONG);
    world.down = [2, 3].into();
    for number in 0..1_000 {
        world.write(1, number % 700, Level::SloppyQuorum).unwrap();
    }
    assert_eq!((world.hints(5), world.hints(4)), (vec![(2, 700)], vec![(3, 700)]));
    world.down = [3].into();
    world.run_for(Duration::from_secs(30));
    assert_eq!((world.hints(5), world.hints(4)), (vec![], vec![(3, 700)]));
    assert_eq!(world.cells[&2].0, world.cells[&1].0);
    assert!(world.cells[&5].0.is_empty(), "what nobody needs is gone");
    // It forgets for whom it holds what, and nothing else.
    world.start(4, 1);
    world.down.clear();
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.hints(4), []);
    assert_eq!(world.cells[&3].0, world.cells[&1].0);
    assert!(world.cells[&4].0.is_empty());
}

#[test]
fn who_gives_back_hints_learns_of_rounds_that_were_closed_meanwhile() {
    let mut world = World::new(1 << 20, LONG);
    world.down = [2, 3].into();
    world.write(1, 1, Level::SloppyQuorum).unwrap();
    world.down = [1, 3].into();
    world.barrier = 5;
    world.start(2, 1);
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.hints(5), []);
    assert!(world.holds(2, 1));
}

#[test]
fn a_full_node_takes_no_more() {
    let mut world = World::new(300, LONG);
    world.down = [2, 3].into();
    let refused = (0..20).filter(|number| world.write(1, *number, Level::SloppyQuorum).is_err());
    assert!((1..20).contains(&refused.count()));
    assert!(world.replicas[&4].counts().hints_refused > 0);
    let bytes: u64 = world.replicas[&4].hints().iter().map(|hints| hints.bytes).sum();
    assert!((1..=300).contains(&bytes));
}

#[test]
fn past_the_window_a_hint_goes_once_some_replica_has_it_and_not_before() {
    let mut world = World::new(1 << 20, Duration::from_secs(60));
    world.down = [2, 3].into();
    world.write(1, 1, Level::SloppyQuorum).unwrap();
    world.down.insert(1);
    world.run_for(Duration::from_secs(600));
    assert!(world.holds(4, 1) && world.holds(5, 1), "nobody is known to have it");
    world.down.remove(&1);
    world.run_for(Duration::from_secs(60));
    assert!(!world.holds(4, 1) && !world.holds(5, 1), "the coordinator has it");
    assert_eq!(world.replicas[&4].counts().hints_dropped, 1);
}

#[test]
fn levels_with_nodes_that_stand_in_are_of_writes_and_need_hints() {
    let mut world = World::new(0, LONG);
    assert_eq!(world.write(1, 1, Level::SloppyQuorum), Err(Refused::NoHints));
    let id = RequestId(9);
    let (asked, level) = (vec![Asked::Cell(key(1))], Level::Any);
    world.give(
        1,
        Input::Read { id, asked, level, repair: ReadRepair::Blocking, seen: Seen::default() },
    );
    assert_eq!(world.answers.remove(&id), Some(Err(Refused::WritesOnly)));
}

/// INV-100: what was sent before a round is not held once it is closed, and until then keeps it open.
#[test]
fn a_hint_that_is_older_than_a_round_keeps_it_from_closing() {
    let mut world = World::new(1 << 20, LONG);
    world.write(1, 1, Level::All).unwrap();
    let cells = vec![(key(1), world.cells[&1].0[&key(1)].clone())];
    let from = NodeId(1);
    let told = |round: u64, message| Input::Message {
        from,
        mark: Mark { round, ..Mark::default() },
        message,
    };
    let named = vec![(key(1), cells[0].1.digest())];
    let all: BTreeSet<NodeId> = OWNERS.into_iter().chain(STAND_INS).map(NodeId).collect();
    let prepare = |round, all| Message::Prepare { round, cells: named.clone(), all };
    let collected = Collected { reached: 10, ..Collected::default() };
    world.give(4, Input::Closed { collected });
    let replica = world.replicas.get_mut(&4).unwrap();
    let mut step = |message, round| {
        replica.step(
            Time(u64::MAX / 2),
            WallTime(1_000_000),
            told(round, message),
            &Applied::default(),
        );
        std::iter::from_fn(|| replica.pop_output()).collect::<Vec<_>>()
    };
    let some = all.iter().copied().filter(|node| *node != NodeId(5)).collect();
    assert_eq!(step(prepare(1, some), 1), [], "one that may hold something is left out");
    let agreed = step(prepare(1, all.clone()), 1);
    let says = |outputs: &[Output], agreed: usize| {
        outputs.iter().any(|output| {
            matches!(output, Output::Send { message: Message::Prepared { agreed: keys, .. }, .. } if keys.len() == agreed)
        })
    };
    assert!(says(&agreed, 1), "{agreed:?}");
    let hint = Message::Hint { number: 1, target: NodeId(2), cells };
    assert!(matches!(step(hint.clone(), 0)[..], [Output::Persist { .. }]));
    assert_eq!(step(Message::Close { round: 1 }, 1), [], "it has not agreed");
    let other = step(prepare(2, all.clone()), 2);
    assert!(says(&other, 0), "it holds what is over: {other:?}");
}
