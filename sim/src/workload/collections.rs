//! Hashes and sets of a store without leaders: fields and members of a few keys, written, removed and read anywhere, at any level.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_group::host::{Reply, Request};
use quorate_group::{CollectionKind, Operation, Read, Value, Write};
use quorate_model::{
    Datacenter, Datacenters, Demand, LeaderlessPolicy, Level, ShardId, Slot, Time,
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::versions::{count_of, quorums};
use super::{Attempt, ClientId, Lost, Workload, fresh_value};
use crate::checkers::versions::Replaces;
use crate::checkers::{members, versions};
use crate::options::pick;
use crate::verdict::{By, Verdict};

const ELEMENTS: usize = 3;

pub(crate) struct Collections {
    elements: Vec<Element>,
    policy: LeaderlessPolicy,
    replicas: usize,
    under_way: BTreeMap<ClientId, UnderWay>,
    next_value: u64,
    answered: u64,
    /// Each is to be read once more.
    unread: Option<Vec<usize>>,
    /// Since when.
    last_from: Option<Time>,
}

/// A field or a member.
struct Element {
    key: Bytes,
    name: Bytes,
    kind: CollectionKind,
    /// Of a field.
    versions: Vec<versions::Call>,
    /// Of a member.
    members: Vec<members::Call>,
}

#[derive(Clone, Debug)]
struct UnderWay {
    element: usize,
    called: Time,
    level: Level,
    /// The datacenter that the last attempt came to.
    at: Option<Datacenter>,
    doing: Doing,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Doing {
    Read,
    /// A member is there, or a field has this value.
    Put(Bytes),
    Remove,
}

impl Collections {
    pub(crate) fn new(policy: LeaderlessPolicy, replicas: usize) -> Self {
        let kinds = [(CollectionKind::Hash, "hash"), (CollectionKind::Set, "set")];
        let of = |(kind, key): (CollectionKind, &'static str)| {
            (0..ELEMENTS).map(move |number| Element {
                key: Bytes::from_static(key.as_bytes()),
                name: Bytes::from(format!("element-{number}")),
                kind,
                versions: Vec::new(),
                members: Vec::new(),
            })
        };
        Self {
            elements: kinds.into_iter().flat_map(of).collect(),
            policy,
            replicas,
            under_way: BTreeMap::new(),
            next_value: 0,
            answered: 0,
            unread: None,
            last_from: None,
        }
    }

    fn start(&mut self, client: ClientId, now: Time, element: usize, level: Level, doing: Doing) {
        let under_way = UnderWay { element, called: now, level, at: None, doing };
        let earlier = self.under_way.insert(client, under_way);
        assert!(earlier.is_none(), "one call at a time");
    }

    fn end(&mut self, client: ClientId, answered: Option<(Time, Value)>) {
        let Some(UnderWay { element, called, level, at, doing }) = self.under_way.remove(&client)
        else {
            return;
        };
        let count = count_of(&self.policy, level, self.replicas);
        let within = at.filter(|_| self.policy.is_within(level));
        let element = &mut self.elements[element];
        let (answered, value) = match answered {
            Some((at, value)) => (Some(at), Some(value)),
            None => (None, None),
        };
        match element.kind {
            CollectionKind::Set => {
                let action = match (doing, value) {
                    (Doing::Read, None) => return,
                    (Doing::Read, Some(value)) => {
                        members::Action::Read { shown: value == Value::Integer(1) }
                    }
                    (Doing::Put(_), _) => members::Action::Add,
                    (Doing::Remove, _) => members::Action::Remove,
                };
                element.members.push(members::Call { called, answered, count, within, action });
            }
            CollectionKind::Hash => {
                let written = |puts| versions::Action::Write { puts, replaces: Replaces::Earlier };
                let action = match (doing, value) {
                    (Doing::Read, None) => return,
                    (Doing::Read, Some(value)) => versions::Action::Read { shown: shown(&value) },
                    (Doing::Put(value), _) => written(Some(value)),
                    (Doing::Remove, _) => written(None),
                };
                element.versions.push(versions::Call { called, answered, count, within, action });
            }
        }
    }
}

impl Element {
    fn operation(&self, doing: &Doing) -> Operation {
        let (key, name, kind) = (self.key.clone(), self.name.clone(), self.kind);
        Operation::Write(match (doing, kind) {
            (Doing::Read, CollectionKind::Hash) => {
                return Operation::Read(Read::Field { key, field: name });
            }
            (Doing::Read, CollectionKind::Set) => {
                let fields = vec![name];
                return Operation::Read(Read::HasFields { key, kind, fields, many: false });
            }
            (Doing::Put(value), CollectionKind::Hash) => {
                Write::SetFields { key, pairs: vec![(name, value.clone())] }
            }
            (Doing::Put(_), CollectionKind::Set) => Write::AddMembers { key, members: vec![name] },
            (Doing::Remove, _) => Write::RemoveFields { key, kind, fields: vec![name] },
        })
    }
}

impl Workload for Collections {
    fn begin(&mut self, client: ClientId, now: Time, random: &mut ChaCha8Rng) {
        if let Some(unread) = &mut self.unread {
            if self.under_way.contains_key(&client) {
                return;
            }
            let Some(element) = unread.pop() else { return };
            return self.start(client, now, element, Level::All, Doing::Read);
        }
        let levels = [Level::Quorum, Level::Quorum, Level::Quorum, Level::Count(1), Level::All];
        let level = *pick(random, &levels);
        // It needs all of them, so that it is seen wherever it is read.
        let local = self.policy.datacenters == Datacenters::Local;
        let level = if local && random.random_ratio(1, 6) { Level::EachQuorum } else { level };
        let doing = match random.random_range(0..10) {
            0..4 => Doing::Read,
            4..8 => Doing::Put(fresh_value(&mut self.next_value)),
            _ => Doing::Remove,
        };
        let element = random.random_range(0..self.elements.len());
        self.start(client, now, element, level, doing);
    }

    fn begin_read(&mut self, client: ClientId, now: Time, random: &mut ChaCha8Rng) {
        self.begin(client, now, random);
    }

    fn reads(&self, client: ClientId) -> bool {
        self.under_way.get(&client).is_some_and(|one| one.doing == Doing::Read)
    }

    fn arrives(&mut self, client: ClientId, at: Datacenter) {
        if let Some(under_way) = self.under_way.get_mut(&client) {
            under_way.at = Some(at);
        }
    }

    fn request(&self, client: ClientId, shards: u16) -> Option<Request> {
        let UnderWay { element, level, doing, .. } = self.under_way.get(&client)?;
        let shard = self.shard(client, shards)?;
        let operation = self.elements[*element].operation(doing);
        Some(Request::Coordinate { shard, operation, demand: Demand::Level(*level), seen: None })
    }

    fn shard(&self, client: ClientId, shards: u16) -> Option<ShardId> {
        let under_way = self.under_way.get(&client)?;
        Some(Slot::of_key(&self.elements[under_way.element].key).shard(shards))
    }

    fn answered_with(&mut self, client: ClientId, now: Time, reply: Reply) -> Attempt {
        let Reply::Value { value, .. } = reply else {
            panic!("{reply:?} is no answer to an operation")
        };
        // Refused by what stands there; of a field with several values, a read, too.
        if matches!(value, Value::Error(_)) {
            self.under_way.remove(&client);
            self.answered += 1;
            return Attempt::Done;
        }
        self.end(client, Some((now, value)));
        self.answered += 1;
        Attempt::Done
    }

    fn give_up(&mut self, client: ClientId) -> Attempt {
        // The last reads are answered in the end.
        if self.unread.is_some() && self.under_way.contains_key(&client) {
            return Attempt::Again;
        }
        self.end(client, None);
        Attempt::Done
    }

    fn answered(&self) -> u64 {
        self.answered
    }

    fn read_all(&mut self, now: Time) -> u64 {
        // Nobody waits for these any more, and they may take effect.
        for client in self.under_way.keys().copied().collect::<Vec<_>>() {
            self.end(client, None);
        }
        self.last_from = Some(now);
        self.unread = Some((0..self.elements.len()).collect());
        self.elements.len() as u64
    }

    fn check(&self, _shards: u16, lost: &Lost) -> Verdict {
        let (always, finally) = quorums(&self.policy, self.replicas, lost);
        let last = |called: Time| self.last_from.is_some_and(|from| called >= from);
        for Element { key, name, versions, members, .. } in &self.elements {
            let found = |why: String| format!("{name:?} of {key:?}: {why}");
            versions::check(versions, always).map_err(found).by("versions")?;
            members::check(members, always).map_err(found).by("members")?;
            // Datacenters have come to the same.
            let mut versions = versions.clone();
            versions.iter_mut().for_each(|call| call.within = None);
            versions.retain(|call| {
                last(call.called) || matches!(call.action, versions::Action::Write { .. })
            });
            versions::check(&versions, finally).map_err(found).by("versions")?;
            let mut members = members.clone();
            members.iter_mut().for_each(|call| call.within = None);
            members.retain(|call| {
                last(call.called) || !matches!(call.action, members::Action::Read { .. })
            });
            members::check(&members, finally).map_err(found).by("members")?;
        }
        Ok(())
    }
}

/// Under `Merge` several values are joined.
fn shown(value: &Value) -> BTreeSet<Bytes> {
    match value {
        Value::Bulk(text) => text.split(|byte| *byte == b'/').map(Bytes::copy_from_slice).collect(),
        Value::Nil => BTreeSet::new(),
        Value::Ok | Value::Integer(_) | Value::Status(_) | Value::List(_) | Value::Error(_) => {
            panic!("{value:?} is no field's value")
        }
    }
}
