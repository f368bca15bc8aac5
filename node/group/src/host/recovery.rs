//! Starting: the log and the state store are joined again, group by group.
//!
//! The standing says what a group's rows hold, the log what stands above them. Keeps INV-45, and INV-42 by looking: rows
//! ahead of the log mean that the log lost its end, unless a snapshot brought them. Then, as with any damage, nothing is
//! changed (INV-41).

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{GroupId, LogIndex, NodeId, Position, Term, Topology};
use quorate_replication::single_leader::{Configuration, Entry, HardState, Restored};
use quorate_storage::disk::Disk;
use quorate_storage::log::{Log, RecoveredGroup};
use quorate_storage::state::{Batch, StateStore};

use serde::de::DeserializeOwned;

use super::following::Following;
use super::persisting::{Persisting, term_at_least};
use super::retention::Points;
use super::rows::{
    self, Health, Prefix, Standing, clear_others, group_of_standing_row, standings_range,
};
use super::shared::Shared;
use super::topology;
use super::{Host, Settings, Start, StartError, leaderless};

/// How many standings one read brings.
const PAGE: usize = 1024;
/// How much of a group's log one read brings.
const READ_BYTES: usize = 4 << 20;

/// One group as it was found.
struct Found {
    standing: Standing,
    hard_state: HardState,
    base: Position,
    base_configuration: Configuration,
    /// The log goes on above the rows; else it starts anew at them.
    keeps_log: bool,
    /// What the log does not say yet.
    unwritten: Unwritten,
}

#[derive(Clone, Copy)]
struct Unwritten {
    hard_state: bool,
    start: bool,
}

pub(super) fn start<D: Disk, S: StateStore>(
    start: Start,
    disk: D,
    state: S,
    settings: Settings,
) -> Result<Host<D, S>, StartError> {
    let log_settings = quorate_storage::log::Settings { segment_bytes: settings.segment_bytes };
    let (log, recovered) = Log::open(disk, log_settings)?;
    let standings: BTreeMap<GroupId, Standing> = standings(&state, rows::STANDINGS, &[])?;
    let mut damage = recovered.damage.as_ref().map(ToString::to_string);
    let shards = leaderless::recovered(&log, &recovered.groups, &state, damage.is_some())?;
    damage = damage.or_else(|| shards.missing.clone());
    let mut retired = BTreeMap::new();
    let mut forgotten: Vec<GroupId> = Vec::new();
    let mut groups = BTreeMap::new();
    let known = standings.keys().chain(recovered.groups.keys()).copied().collect::<BTreeSet<_>>();
    let nothing = RecoveredGroup::default();
    let mut topology = None;
    // The meta group comes first.
    for id in known.into_iter().filter(|id| !shards.has(*id)) {
        let standing = standings.get(&id);
        let without_leaders =
            topology.as_ref().is_some_and(|one: &Topology| one.mode.leaderless().is_some());
        if standing.is_none() && without_leaders {
            // A shard that has left this node.
            forgotten.push(id);
            continue;
        }
        if let Some(standing) = standing
            && standing.health == Health::Retired
        {
            retired.insert(id, standing.term_floor);
            forgotten.push(id);
            continue;
        }
        let mut in_log = recovered.groups.get(&id).unwrap_or(&nothing);
        if standing.is_some_and(|standing| standing.health == Health::Damaged)
            && (in_log.start.is_some() || !in_log.entries.is_empty())
        {
            // It was called back to a group that it forgot, and the disk had not forgotten it yet.
            in_log = &nothing;
            forgotten.push(id);
        }
        let found = join(id, start, standing, in_log)?;
        damage = damage.or_else(|| found.missing(id, in_log));
        if id == GroupId::Meta {
            topology = topology::load(&state, found.prefix(id))?;
        }
        groups.insert(id, found);
    }
    let following = Following::recovered(topology, retired);
    let persisting = Persisting::new(log, log_settings, damage.is_some());
    let mut shared = Shared::new(start, settings, persisting, state, following);
    shared.damaged = damage;
    for id in forgotten {
        shared.persisting.forget(id);
    }
    let mut host = Host { groups: BTreeMap::new(), shards: Default::default(), shared };
    for (id, found) in groups {
        host.restore(id, found)?;
    }
    host.restore_shards(shards);
    host.begin();
    Ok(host)
}

/// Every standing in the rows that begin with `kind`. `added` is what those end with that were written before they had it.
pub(super) fn standings<S: StateStore, T: DeserializeOwned>(
    state: &S,
    kind: u8,
    added: &[u8],
) -> Result<BTreeMap<GroupId, T>, StartError> {
    let (mut from, to) = standings_range(kind);
    let mut standings = BTreeMap::new();
    loop {
        let page = state.range(&from, &to, PAGE)?;
        for (row, value) in &page {
            let group = group_of_standing_row(row).ok_or(StartError::Row)?;
            let standing = rows::decode_shorter(value, added).map_err(|what| {
                StartError::Format { group, what: format!("its standing {what}") }
            })?;
            standings.insert(group, standing);
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE => {
                from = [last.as_ref(), &[0]].concat().into();
            }
            Some(_) | None => return Ok(standings),
        }
    }
}

/// What the log and the rows say together.
fn join(
    id: GroupId,
    start: Start,
    standing: Option<&Standing>,
    in_log: &RecoveredGroup,
) -> Result<Found, StartError> {
    let log_start = match &in_log.start {
        Some(start) => {
            let configuration = rows::decode(&start.payload).map_err(|what| {
                StartError::Format { group: id, what: format!("the start of its log {what}") }
            })?;
            Some((start.position, configuration))
        }
        None => None,
    };
    let standing = standing.cloned().unwrap_or_else(|| {
        let configuration = log_start.clone().map(|(_, configuration)| configuration);
        Standing::begin(0, configuration.unwrap_or_default())
    });
    let applied = standing.applied;
    // The standing of a new group may be durable before the start of its log.
    let begun = (log_start.is_none() && applied == Position::ZERO)
        .then(|| (Position::ZERO, standing.configuration.clone()));
    let (log_base, log_configuration) =
        log_start.or(begun).unwrap_or((Position::ZERO, Configuration::default()));
    let keeps_log =
        applied == log_base || in_log.entries.iter().any(|(position, _)| *position == applied);
    let (base, base_configuration) = if keeps_log {
        (log_base, log_configuration)
    } else {
        (applied, standing.configuration.clone())
    };
    let stored = in_log.hard_state.map(|state| HardState { term: state.term, vote: state.vote });
    let last = in_log.entries.last().filter(|_| keeps_log).map(|(position, _)| position.term);
    let hard_state = term_at_least(
        stored.unwrap_or_else(|| lost_votes(start.node, &standing)),
        last.unwrap_or(base.term),
    );
    let unwritten = Unwritten {
        hard_state: stored != Some(hard_state) && hard_state != HardState::default(),
        start: !keeps_log || (in_log.start.is_none() && !base_configuration.voters.is_empty()),
    };
    Ok(Found { standing, hard_state, base, base_configuration, keeps_log, unwritten })
}

/// The log that held its votes is gone: it votes for nobody else in a term that may have been its newest.
pub(super) fn lost_votes(node: NodeId, standing: &Standing) -> HardState {
    let term = standing.term_floor.max(standing.applied.term);
    HardState { term, vote: (term > Term::ZERO).then_some(node) }
}

impl Found {
    fn prefix(&self, id: GroupId) -> Prefix {
        Prefix::new(id, self.standing.generation)
    }

    /// INV-42: what the log should hold and does not.
    fn missing(&self, id: GroupId, in_log: &RecoveredGroup) -> Option<String> {
        let Standing { applied, installed, .. } = &self.standing;
        let start = in_log.start.as_ref().map_or(LogIndex::ZERO, |start| start.position.index);
        if applied.index < start {
            return Some(format!(
                "{id}: the log starts after {start}, the state store ends at {}",
                applied.index
            ));
        }
        (!self.keeps_log && !installed).then(|| {
            format!("{id}: the state store holds entry {}, the log does not", applied.index)
        })
    }
}

impl<D: Disk, S: StateStore> Host<D, S> {
    fn restore(&mut self, id: GroupId, found: Found) -> Result<(), StartError> {
        let whole = self.shared.damaged.is_none();
        let Found { mut standing, hard_state, base, base_configuration, .. } = found;
        let changes = clear_others(&self.shared.state, id, standing.generation);
        if !changes.is_empty() {
            self.shared.state.apply(Batch { changes });
        }
        if whole && found.unwritten.hard_state {
            self.shared.persisting.hard_state(id, hard_state);
        }
        // Taken out before the restart: its log is whole and goes on above the snapshot that it waits for.
        let quarantined = standing.health == Health::Quarantined;
        if !whole || standing.health == Health::Damaged {
            standing.health = Health::Damaged;
            let restored = Restored {
                hard_state,
                base: standing.applied,
                base_configuration: standing.configuration.clone(),
                entries: Vec::new(),
                applied: standing.applied.index,
                damaged: true,
            };
            self.host_group(id, restored, standing, Points::default());
            return Ok(());
        }
        let entries =
            if found.keeps_log { self.read_log(id, base.index.next())? } else { Vec::new() };
        if found.unwritten.start {
            self.shared.persisting.start_log(id, base, &base_configuration);
        }
        let points = if standing.applied.index > base.index {
            self.shared.retention.points(standing.applied, standing.configuration.clone())
        } else {
            Points::default()
        };
        let applied = standing.applied.index;
        let restored =
            Restored { hard_state, base, base_configuration, entries, applied, damaged: false };
        self.host_group(id, restored, standing, points);
        if quarantined {
            self.with_group(id, |turn| turn.resume_quarantine());
        }
        Ok(())
    }

    fn read_log(&self, id: GroupId, mut from: LogIndex) -> Result<Vec<Entry>, StartError> {
        let mut entries = Vec::new();
        loop {
            let part = self
                .shared
                .persisting
                .load(id, from, READ_BYTES)
                .map_err(|what| StartError::Format { group: id, what })?;
            let Some(last) = part.last() else { return Ok(entries) };
            from = last.index().next();
            entries.extend(part);
        }
    }
}
