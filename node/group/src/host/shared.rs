//! What all groups of a node share: the log, the state store, the clocks, the requests and the way out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_model::planted::{self, Bug};
use quorate_model::{GroupId, NodeId, Time, WallTime};
use quorate_replication::single_leader::{ProposalId, ReadId};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::beating::Beats;
use super::following::Following;
use super::persisting::Persisting;
use super::requests::{Requests, Stage, Waiting, Work};
use super::retention::Retention;
use super::snapshotting::Rate;
use super::timers::Timers;
use super::{Failure, Output, PeerMessage, Reply, RequestId, Settings, Start};

/// Of how many nodes it is remembered when they were heard. Forgetting one delays a snapshot a little.
const PEERS_MAX: usize = 4096;

pub(super) struct Shared<D: Disk, S: StateStore> {
    pub(super) start: Start,
    pub(super) settings: Settings,
    pub(super) now: Time,
    pub(super) wall: WallTime,
    /// When `wall` was told.
    pub(super) wall_told_at: Time,
    pub(super) state: S,
    pub(super) persisting: Persisting<D>,
    pub(super) requests: Requests,
    pub(super) timers: Timers,
    pub(super) retention: Retention,
    pub(super) following: Following,
    pub(super) beats: Beats,
    /// When anything came last from each node that sends anything.
    pub(super) heard: BTreeMap<NodeId, Time>,
    /// The formats of other nodes' storage engines, as they said.
    pub(super) engines: BTreeMap<NodeId, u32>,
    /// The shard whose replicas were compared last.
    pub(super) checked_last: GroupId,
    /// How often a replica of this node was taken out since the start.
    pub(super) quarantines: u64,
    /// Snapshots being sent, over all groups.
    pub(super) streams: usize,
    pub(super) rate: Rate,
    pub(super) outputs: VecDeque<Output>,
    pub(super) status_changed: bool,
    /// Who leads what may have changed: handovers look again.
    pub(super) leadership_changed: bool,
    /// Set by a fatal output: nothing is done any more.
    pub(super) stopped: bool,
    /// Why the log is damaged, until every group is repaired.
    pub(super) damaged: Option<String>,
    /// Every group is repaired; that becomes durable before the damaged log goes.
    pub(super) starting_over: bool,
    /// Groups with proposals and reads that wait for what may come with them.
    pub(super) undispatched: BTreeSet<GroupId>,
    numbers: u64,
}

impl<D: Disk, S: StateStore> Shared<D, S> {
    pub(super) fn new(
        start: Start,
        settings: Settings,
        persisting: Persisting<D>,
        state: S,
        following: Following,
    ) -> Self {
        let written = persisting.log_bytes();
        Self {
            start,
            now: start.now,
            wall: start.wall,
            wall_told_at: start.now,
            state,
            persisting,
            requests: Requests::new(settings.requests_max),
            timers: Timers::default(),
            retention: Retention::new(written),
            following,
            // Not the seed itself, from which timeouts are drawn.
            beats: Beats::new(start.seed.rotate_left(31) ^ 0x5851_f42d_4c95_7f2d),
            heard: BTreeMap::new(),
            engines: BTreeMap::new(),
            checked_last: GroupId::Meta,
            quarantines: 0,
            streams: 0,
            rate: Rate::new(settings.catch_up_bytes_per_second),
            outputs: VecDeque::new(),
            status_changed: false,
            leadership_changed: false,
            stopped: false,
            damaged: None,
            starting_over: false,
            undispatched: BTreeSet::new(),
            numbers: 0,
            settings,
        }
    }

    pub(super) const fn node(&self) -> NodeId {
        self.start.node
    }

    /// What the wall clock showed at `time`, for reports.
    pub(super) fn wall_at(&self, time: Time) -> WallTime {
        let ms =
            |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (told, at) = (self.wall.0, self.wall_told_at);
        WallTime((told + ms(time.since(at))).saturating_sub(ms(at.since(time))))
    }

    pub(super) fn send(&mut self, to: NodeId, group: GroupId, message: PeerMessage) {
        assert_ne!(to, self.start.node, "nobody sends to itself");
        self.outputs.push_back(Output::Send { to, group, message });
    }

    pub(super) fn hear(&mut self, from: NodeId) {
        if self.heard.len() >= PEERS_MAX && !self.heard.contains_key(&from) {
            self.heard.clear();
        }
        self.heard.insert(from, self.now);
    }

    /// A request waits to be run.
    pub(super) fn queue(&mut self, id: RequestId, group: GroupId, work: Work) {
        let deadline = self.now.after(self.settings.request_timeout);
        self.requests.insert(id, Waiting { group, deadline, stage: Stage::Queued(work) });
    }

    /// Answers a request that is still waiting; one that was cancelled or timed out is not answered again.
    pub(super) fn answer(&mut self, id: RequestId, reply: Result<Reply, Failure>) {
        if self.requests.remove(id).is_some() {
            if planted::is(Bug::AnswerTwice) {
                self.outputs.push_back(Output::Reply { id, reply: reply.clone() });
            }
            self.outputs.push_back(Output::Reply { id, reply });
        }
    }

    /// Nothing is done after this.
    pub(super) fn fatal(&mut self, reason: String) {
        if !self.stopped {
            self.stopped = true;
            self.outputs.push_back(Output::Fatal { reason });
        }
    }

    pub(super) const fn proposal_id(&mut self) -> ProposalId {
        ProposalId(self.number())
    }

    pub(super) const fn read_id(&mut self) -> ReadId {
        ReadId(self.number())
    }

    /// A later one is greater, while the process lives.
    pub(super) const fn order_number(&mut self) -> u64 {
        self.number()
    }

    /// Unlikely to be used by another process of this node, before or after.
    pub(super) const fn nonce(&mut self) -> u64 {
        let number = self.number();
        self.start.seed.rotate_left(17) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    const fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}
