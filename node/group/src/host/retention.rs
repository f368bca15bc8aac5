//! When the state store is flushed, and how much of the log stays.
//!
//! The log keeps `log_kept_bytes` for followers that are behind, up to `log_held_bytes` more for a group whose follower
//! is catching up, and beyond that nothing that a flush covers. Flushes
//! mark the log's length; when a mark has enough log after it, every group's log starts at what it had applied at that mark.

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::time::Duration;

use quorate_model::{GroupId, LogIndex, Position, ShardId};
use quorate_replication::leaderless::Collected;
use quorate_replication::single_leader::{Configuration, Input};
use quorate_storage::disk::Disk;
use quorate_storage::state::{FlushId, StateStore};

use super::group::Task;
use super::persisting::describe;
use super::shared::Shared;
use super::timers::Timer;
use super::{Host, Turn};

/// How often a flush under way is looked at, when nothing else happens.
const FLUSH_POLL: Duration = Duration::from_millis(10);
/// Marks are at least this part of the kept log apart, so that there are few of them.
const MARK_SHARE: u64 = 8;

/// What waits for a flush.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Purpose {
    /// An installed snapshot's rows take the log's place.
    Install(GroupId),
    /// A replica begins.
    Begin(GroupId),
    /// A replica is gone.
    Retire(GroupId),
    /// A replica that was gone may come again.
    Revive(GroupId),
    /// A shard without a leader has left this node.
    Leave(ShardId),
    /// A shard without a leader takes no older cells than this says, and takes part in rounds as far as it does.
    Close(ShardId, Collected),
    /// A newer topology is in force.
    Announce,
    /// Every group is repaired: the damaged log may go.
    StartOver,
}

#[derive(Debug)]
pub(super) struct Retention {
    /// Groups that changed since the last flush was asked for.
    unflushed: BTreeSet<GroupId>,
    purposes: Vec<Purpose>,
    wanted: bool,
    flight: Option<Flight>,
    marks: VecDeque<Mark>,
}

#[derive(Debug)]
struct Flight {
    id: FlushId,
    written: u64,
    points: Vec<(GroupId, Position, Configuration)>,
    /// Of shards without a leader: their log starts there at once.
    shards: Vec<(GroupId, LogIndex)>,
    purposes: Vec<Purpose>,
}

/// A flush covers everything that the log held when it had this length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mark {
    number: u64,
    written: u64,
}

/// Where a group's log may start, by the marks at which it had applied that; oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Points(VecDeque<Point>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Point {
    mark: u64,
    /// The log's length then.
    written: u64,
    position: Position,
    configuration: Configuration,
}

impl Points {
    fn add(&mut self, point: Point) {
        if let Some(newest) = self.0.back_mut() {
            assert!(newest.mark <= point.mark && newest.position.index <= point.position.index);
            if newest.mark == point.mark {
                *newest = point;
                return;
            }
        }
        self.0.push_back(point);
    }

    /// The newest point that a flush through `mark` covers and that may go; older ones are forgotten with it.
    fn take(&mut self, mark: u64, may_go: impl Fn(&Point) -> bool) -> Option<Point> {
        let mut taken = None;
        while self.0.front().is_some_and(|point| point.mark <= mark && may_go(point)) {
            taken = self.0.pop_front();
        }
        taken
    }
}

impl Retention {
    /// The log had `written` bytes when it was opened, all of them covered as far as the standings say.
    pub(super) fn new(written: u64) -> Self {
        Self {
            unflushed: BTreeSet::new(),
            purposes: Vec::new(),
            wanted: false,
            flight: None,
            marks: VecDeque::from([Mark { number: 0, written }]),
        }
    }

    /// The points of a group that has durably applied `position` and nothing else of note.
    pub(super) fn points(&self, position: Position, configuration: Configuration) -> Points {
        let (mark, written) = self.marks.back().map_or((0, 0), |mark| (mark.number, mark.written));
        Points(VecDeque::from([Point { mark, written, position, configuration }]))
    }

    /// A flush at this length of the log is complete: the number of its mark.
    fn mark(&mut self, written: u64, kept: u64) -> u64 {
        let before = self.marks.len().checked_sub(2).map_or(0, |at| self.marks[at].written);
        match self.marks.back_mut() {
            Some(newest) if written.saturating_sub(before) < kept / MARK_SHARE => {
                newest.written = written;
                newest.number
            }
            Some(newest) => {
                let number = newest.number + 1;
                self.marks.push_back(Mark { number, written });
                number
            }
            None => unreachable!("there is always a mark"),
        }
    }

    /// The newest mark with at least `kept` bytes of log after it, if it is news.
    fn release(&mut self, written: u64, kept: u64) -> Option<u64> {
        let mut released = None;
        while self.marks.len() > 1
            && let Some(oldest) = self.marks.front()
            && written.saturating_sub(oldest.written) >= kept
        {
            released = Some(oldest.number);
            self.marks.pop_front();
        }
        released
    }
}

impl<D: Disk, S: StateStore> Shared<D, S> {
    /// Rows of this group changed.
    pub(super) fn note_unflushed(&mut self, group: GroupId) {
        if self.retention.unflushed.insert(group) && !self.timers.is_set(Timer::FlushAge) {
            let at = self.now.after(self.settings.flush_age);
            self.timers.set(Timer::FlushAge, Some(at));
        }
    }

    /// Flushes as soon as possible, for this.
    pub(super) fn flush_for(&mut self, purpose: Purpose) {
        self.retention.purposes.push(purpose);
        self.retention.wanted = true;
    }

    pub(super) fn flush(&mut self) {
        self.retention.wanted = true;
    }
}

impl<D: Disk, S: StateStore> Host<D, S> {
    /// Sees what became of the flush under way, and starts the next one when it is time.
    pub(super) fn tend_flushes(&mut self) {
        let shared = &mut self.shared;
        if let Some(flight) = &shared.retention.flight {
            match shared.state.flushed() {
                Ok(newest) if newest.is_some_and(|newest| newest >= flight.id) => {
                    self.flush_complete();
                }
                Ok(_) => {
                    let at = shared.now.after(FLUSH_POLL);
                    shared.timers.set_at_latest(Timer::FlushPoll, at);
                    return;
                }
                Err(error) => return shared.fatal(describe(&error)),
            }
        }
        let shared = &mut self.shared;
        let due = shared.state.unflushed_bytes() >= shared.settings.flush_bytes;
        if shared.retention.flight.is_none() && (due || shared.retention.wanted) {
            self.start_flush();
        }
    }

    fn start_flush(&mut self) {
        let shared = &mut self.shared;
        let unflushed = mem::take(&mut shared.retention.unflushed);
        let shards = self.shards.points(unflushed.iter().copied());
        let points = unflushed
            .into_iter()
            .filter_map(|id| self.groups.get(&id))
            // What a switch brought starts its log by itself.
            .filter(|group| !group.incoming.as_ref().is_some_and(|one| one.is_switched()))
            // Where an entry was refused, the rows may be ahead of what the protocol was told is applied.
            .filter(|group| !group.is_quarantined())
            .map(|group| {
                let standing = &group.standing;
                (group.id, standing.applied, standing.configuration.clone())
            })
            .collect();
        shared.retention.wanted = false;
        shared.retention.flight = Some(Flight {
            id: shared.state.start_flush(),
            written: shared.persisting.written(),
            points,
            shards,
            purposes: mem::take(&mut shared.retention.purposes),
        });
        shared.timers.set(Timer::FlushAge, None);
        shared.timers.set(Timer::FlushPoll, Some(shared.now.after(FLUSH_POLL)));
    }

    fn flush_complete(&mut self) {
        let shared = &mut self.shared;
        let Some(flight) = shared.retention.flight.take() else { return };
        shared.timers.set(Timer::FlushPoll, None);
        let kept = shared.settings.log_kept_bytes;
        let mark = shared.retention.mark(flight.written, kept);
        for (id, position, configuration) in flight.points {
            if let Some(group) = self.groups.get_mut(&id)
                && position.index > group.replica.base().index
                && position.index <= group.standing.applied.index
            {
                let written = flight.written;
                group.points.add(Point { mark, written, position, configuration });
            }
        }
        if shared.damaged.is_none() {
            for (group, index) in flight.shards {
                shared.persisting.start_cells(group, index);
            }
        }
        if let Some(mark) = shared.retention.release(shared.persisting.written(), kept) {
            self.release_log(mark);
        }
        for purpose in flight.purposes {
            match purpose {
                Purpose::Install(group) => self.with_group(group, |turn| turn.snapshot_durable()),
                Purpose::Begin(group) => self.begun(group),
                Purpose::Retire(group) => self.retired(group),
                Purpose::Revive(group) => self.revived(group),
                Purpose::Leave(shard) => self.shard_left(shard),
                Purpose::Close(shard, collected) => self.shard_closed(shard, collected),
                Purpose::Announce => self.announce(),
                Purpose::StartOver => self.start_over(),
            }
        }
        self.repaired_all();
    }

    fn release_log(&mut self, mark: u64) {
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in groups {
            self.with_group(id, |turn| turn.release_log(mark));
        }
    }
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// The log starts at what this group had durably applied at the mark.
    fn release_log(&mut self, mark: u64) {
        let settings = &self.shared.settings;
        let bound = settings.log_kept_bytes.saturating_add(settings.log_held_bytes);
        let (pinned, written) = (self.pinned(), self.shared.persisting.written());
        let may_go = |point: &Point| {
            point.position.index <= pinned || written.saturating_sub(point.written) >= bound
        };
        let Some(point) = self.group.points.take(mark, may_go) else { return };
        let Point { position, configuration, .. } = point;
        if self.shared.damaged.is_some() || position.index <= self.group.replica.base().index {
            return;
        }
        // INV-43: what no flush covers is still needed.
        assert!(position.index <= self.group.standing.applied.index);
        self.shared.persisting.start_log(self.group.id, position, &configuration);
        self.group.tasks.push_back(Task::Step(Input::Compacted { position, configuration }));
    }
}
