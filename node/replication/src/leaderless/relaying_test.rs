//! Two datacenters of two replicas each, with disks that are done at once, and a link between them that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_model::{Datacenter, Datacenters, LeaderlessPolicy, Level, NodeId, Time, WallTime};

use super::range_test::Applied;
use super::{
    After, Asked, CellKey, Collected, Input, Message, Output, Owners, PersistId, Place, ReadRepair,
    Refused, Relayed, Replica, RequestId, Seen, Settings, Span, Standing, Start,
};
use crate::causal::{Cell, Change, Content};

const NODES: usize = 4;

struct Sites {
    now: Time,
    replicas: Vec<Replica>,
    cells: Vec<Applied>,
    unapplied: Vec<BTreeMap<PersistId, Vec<(CellKey, Cell)>>>,
    cut: bool,
    requests: u64,
    /// What went from one datacenter to the other, or would have.
    crossed: Vec<Message>,
    answers: BTreeMap<RequestId, Result<Vec<(CellKey, Cell)>, Refused>>,
}

const fn id(at: usize) -> NodeId {
    NodeId(at as u128 + 1)
}

fn place(at: usize) -> Datacenter {
    Datacenter::new(if at < NODES / 2 { "dc-a" } else { "dc-b" }).unwrap()
}

fn key(number: u32) -> CellKey {
    CellKey::new(Bytes::from(format!("\0\0key-{number:05}"))).unwrap()
}

impl Sites {
    fn new(settings: &Settings) -> Self {
        let cells: Vec<Applied> = (0..NODES).map(|_| Applied(BTreeMap::new())).collect();
        let replica = |at: usize| {
            let start = Start {
                id: id(at),
                span: Span { from: Place(0), to: Place(1 << 48) },
                seed: at as u64,
                standing: Standing::Whole,
                collected: Collected::default(),
            };
            Replica::new(start, settings.clone(), Time::ZERO, &cells[at])
        };
        let replicas = (0..NODES).map(replica).collect();
        let (crossed, answers) = (Vec::new(), BTreeMap::new());
        let unapplied = vec![BTreeMap::new(); NODES];
        let mut sites = Self {
            now: Time::ZERO,
            replicas,
            cells,
            unapplied,
            cut: false,
            requests: 0,
            crossed,
            answers,
        };
        let policy =
            LeaderlessPolicy { datacenters: Datacenters::Local, ..LeaderlessPolicy::default() };
        for at in 0..NODES {
            let nodes = (0..NODES).map(|node| (id(node), place(node))).collect();
            let owners = Owners { nodes, ..Owners::default() };
            sites.give(at, Input::Owners { owners, policy: policy.clone() });
        }
        sites
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while let Some(at) = (0..NODES).min_by_key(|at| self.replicas[*at].deadline())
            && self.replicas[at].deadline() <= end
        {
            self.now = self.now.max(self.replicas[at].deadline());
            self.give(at, Input::Tick);
        }
        self.now = end;
    }

    /// And everything that follows from it.
    fn give(&mut self, at: usize, input: Input) {
        let mut inputs = vec![(at, input)];
        while let Some((at, input)) = inputs.pop() {
            let wall = WallTime(1_000_000);
            self.replicas[at].step(self.now, wall, input, &self.cells[at]);
            let mut next = Vec::new();
            while let Some(output) = self.replicas[at].pop_output() {
                match output {
                    Output::Persist { id, cells } => {
                        self.unapplied[at].insert(id, cells);
                        next.push((at, Input::Persisted { id }));
                    }
                    Output::Apply { through } => {
                        let later = self.unapplied[at].split_off(&PersistId(through.0 + 1));
                        let cells = std::mem::replace(&mut self.unapplied[at], later);
                        self.cells[at].0.extend(cells.into_values().flatten());
                    }
                    Output::Send { to, mark, message } => {
                        let to = usize::try_from(to.0 - 1).unwrap();
                        if place(at) != place(to) {
                            self.crossed.push(message.clone());
                            if self.cut {
                                continue;
                            }
                        }
                        next.push((to, Input::Message { from: id(at), mark, message }));
                    }
                    Output::Answer { id, result, .. } => {
                        self.answers.insert(id, result);
                    }
                    Output::Filled | Output::Close { .. } | Output::Drop { .. } => {}
                    Output::Damaged { why } => panic!("{why}"),
                }
            }
            // What was first is taken first.
            inputs.extend(next.into_iter().rev());
        }
    }

    fn write(&mut self, at: usize, number: u32, level: Level) -> bool {
        let content = Content::Value { value: Bytes::from(format!("from {at}")), expiry: None };
        let changes = vec![(key(number), Change::Put { content, context: None })];
        self.requests += 1;
        let id = RequestId(self.requests);
        self.give(at, Input::Write { id, changes, level, after: After::Nothing });
        self.run_for(Duration::from_millis(1));
        self.answers.get(&id).is_some_and(Result::is_ok)
    }

    fn relayed(&self, at: usize) -> Relayed {
        let mut all = self.replicas[at].relayed(self.now);
        let one = all.next().expect("there is one other datacenter");
        assert_eq!(all.next(), None);
        one
    }

    fn crossed(&self, is: impl Fn(&Message) -> bool) -> usize {
        self.crossed.iter().filter(|message| is(message)).count()
    }

    fn are_equal(&self) -> bool {
        self.cells.iter().all(|cells| cells.0 == self.cells[0].0)
    }
}

/// Until every replica has compared itself with the other datacenter.
fn settled(settings: &Settings) -> Sites {
    let mut sites = Sites::new(settings);
    assert!(!sites.relayed(0).known, "nobody knows what an earlier process has told");
    sites.run_for(Duration::from_secs(120));
    for at in 0..NODES {
        let Relayed { known, torn, waiting, .. } = sites.relayed(at);
        assert!(known && !torn && waiting == 0, "{at}");
    }
    sites.crossed.clear();
    sites
}

#[test]
fn a_write_crosses_once_and_is_told_on_there() {
    let mut sites = settled(&Settings::default());
    assert!(sites.write(0, 1, Level::All));
    assert!(sites.are_equal());
    assert_eq!(sites.crossed(|one| matches!(one, Message::Relay { .. })), 1);
    assert_eq!(sites.crossed(|one| matches!(one, Message::Store { .. })), 0);
    assert_eq!(sites.relayed(0).behind, Duration::ZERO);
}

#[test]
fn a_read_stays_in_its_datacenter() {
    let mut sites = settled(&Settings::default());
    for (level, crosses) in [(Level::All, false), (Level::EachQuorum, true)] {
        let (id, repair) = (RequestId(1_000), ReadRepair::Blocking);
        let asked = vec![Asked::Cell(key(1))];
        sites.give(0, Input::Read { id, asked, level, repair, seen: Seen::default() });
        assert!(sites.answers[&id].is_ok());
        let fetched = sites.crossed(|one| matches!(one, Message::Fetch { .. }));
        assert_eq!(fetched > 0, crosses, "{level}");
    }
}

#[test]
fn what_is_written_ten_times_while_the_link_is_cut_goes_once() {
    let mut sites = settled(&Settings::default());
    sites.cut = true;
    for _ in 0..10 {
        assert!(sites.write(0, 1, Level::Quorum));
        assert!(sites.write(2, 2, Level::Quorum));
        assert!(!sites.write(0, 3, Level::EachQuorum), "the other one is out of reach");
        sites.run_for(Duration::from_secs(3));
    }
    assert!(sites.relayed(0).behind > Duration::from_secs(25));
    assert_eq!(sites.relayed(0).waiting, 2);
    sites.cut = false;
    sites.crossed.clear();
    sites.run_for(Duration::from_secs(8));
    assert!(sites.are_equal());
    assert_eq!((sites.relayed(0).behind, sites.relayed(0).waiting), (Duration::ZERO, 0));
    let told = sites
        .crossed
        .iter()
        .map(|message| if let Message::Relay { cells, .. } = message { cells.len() } else { 0 });
    assert!(told.sum::<usize>() <= 4, "each key once, in each direction");
}

#[test]
fn a_queue_that_overflows_is_torn_until_comparisons_have_mended_it() {
    let mut sites = settled(&Settings { relay_waiting_bytes_max: 2_000, ..Settings::default() });
    sites.cut = true;
    let numbers: BTreeSet<u32> = (0..100).collect();
    for number in &numbers {
        assert!(sites.write(0, *number, Level::Quorum));
    }
    sites.run_for(Duration::from_secs(60));
    let torn = sites.relayed(0);
    assert!(torn.torn && torn.known && torn.behind >= Duration::from_secs(60), "{torn:?}");
    sites.cut = false;
    sites.run_for(Duration::from_secs(60));
    assert!(sites.are_equal());
    assert_eq!(sites.cells[3].0.len(), numbers.len());
    let whole = sites.relayed(0);
    assert!(!whole.torn && whole.behind == Duration::ZERO, "{whole:?}");
}
