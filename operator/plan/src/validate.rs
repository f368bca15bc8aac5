//! From the resource as written to a store that can be built: parsed, with every default resolved.
//!
//! The schema refuses most of this already; the operator does not rely on it, because an older schema may be
//! installed. Everything downstream takes [`ValidStore`] and never the raw spec.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use quorate_api::{
    LogLevel, PodSpec, ReclaimPolicy, ReplicatedStore, ReplicatedStoreSpec, ReplicationMode,
    Resources, SingleLeaderSpec, labels,
};
use quorate_model::{
    Datacenter, Datacenters, LeaderlessPolicy, MultiLeaderPolicy, Name, NodeId, Policy, ShardId,
    StoreId, Topology,
};

use crate::placement::{Preference, Replicas};
use crate::{SpecError, leaderless, multi_leader, names, policy};

/// A store that can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidStore {
    pub name: Name,
    pub namespace: String,
    /// The uid of the resource, as Kubernetes writes it: for owner references.
    pub uid: String,
    /// The same, as nodes know it.
    pub id: StoreId,
    pub generation: i64,
    pub created: Option<Time>,
    pub mode: Mode,
    /// In the order of the resource; never empty, names distinct.
    pub datacenters: Vec<ValidDatacenter>,
    pub shards: u16,
    pub storage: ValidStorage,
    pub image: String,
    pub resources: Resources,
    pub pod: PodSpec,
    pub log_level: LogLevel,
    pub paused: bool,
    pub enable_pdb: bool,
    /// The node whose volume may be thrown away, by annotation.
    pub replace_node: Option<NodeId>,
}

/// The replication model with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    SingleLeader(SingleLeader),
    Leaderless(Leaderless),
    MultiLeader(MultiLeader),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SingleLeader {
    pub policy: Policy,
    pub replicas: usize,
    pub preferred: PreferredLeaders,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaderless {
    pub policy: LeaderlessPolicy,
    pub replicas: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiLeader {
    /// What each datacenter's groups keep to.
    pub groups: Policy,
    pub policy: MultiLeaderPolicy,
    /// In each datacenter.
    pub replicas: usize,
}

/// Where leaders should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreferredLeaders {
    /// Of every shard that is not an exception.
    pub all: Preference,
    pub exceptions: BTreeMap<ShardId, Preference>,
}

impl PreferredLeaders {
    #[must_use]
    pub fn of(&self, shard: ShardId) -> &Preference {
        self.exceptions.get(&shard).unwrap_or(&self.all)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidDatacenter {
    pub name: Datacenter,
    /// At least 1.
    pub nodes: i32,
    pub node_selector: BTreeMap<String, String>,
    /// As labels of machines; empty for every zone.
    pub zones: Vec<String>,
    pub storage_class: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidStorage {
    /// As Kubernetes takes it.
    pub size: String,
    pub size_bytes: u128,
    pub reclaim_policy: ReclaimPolicy,
}

const SIZE_BYTES_MIN: u128 = 64 * 1024 * 1024;
const NAMES_LENGTH_MAX: usize = 50;
const SHARDS_MAX: i32 = 256;
/// As many as the status holds.
const GROUPS_MAX: usize = 1024;

/// Parses a resource.
///
/// # Errors
/// Everything that is wrong with it, not only the first thing.
pub fn validate(resource: &ReplicatedStore) -> Result<ValidStore, Vec<SpecError>> {
    let mut errors = Errors(vec![]);
    let name = errors.keep(store_name(resource));
    let uid = errors.keep(required(resource.metadata.uid.as_ref(), "metadata.uid"));
    let id = uid
        .clone()
        .and_then(|uid| errors.keep(uid.parse::<StoreId>().map_err(|_| SpecError::Uid { uid })));
    let namespace =
        errors.keep(required(resource.metadata.namespace.as_ref(), "metadata.namespace"));
    let spec = &resource.spec;
    let datacenters = datacenters(spec, name.as_ref(), &mut errors);
    let mode = mode(spec, &datacenters, &mut errors);
    let shards = errors.keep(shards(resource));
    let storage = errors.keep(storage(spec));
    let replace_node = errors.keep(replace_node(resource)).flatten();
    match (name, uid, id, namespace, mode, shards, storage) {
        (
            Some(name),
            Some(uid),
            Some(id),
            Some(namespace),
            Some(mode),
            Some(shards),
            Some(storage),
        ) if errors.0.is_empty() => Ok(ValidStore {
            name,
            namespace,
            uid,
            id,
            generation: resource.metadata.generation.unwrap_or_default(),
            created: resource.metadata.creation_timestamp.clone(),
            mode,
            datacenters,
            shards,
            storage,
            image: spec.image.clone(),
            resources: spec.resources.clone(),
            pod: spec.pod.clone(),
            log_level: spec.log_level,
            paused: spec.paused,
            enable_pdb: spec.enable_pdb,
            replace_node,
        }),
        _ => Err(errors.0),
    }
}

impl ValidStore {
    #[must_use]
    pub fn nodes(&self) -> i32 {
        self.datacenters.iter().map(|datacenter| datacenter.nodes).sum()
    }

    /// How many replicas each shard has; within each datacenter, where it has them in all.
    #[must_use]
    pub const fn replicas(&self) -> usize {
        match &self.mode {
            Mode::SingleLeader(single) => single.replicas,
            Mode::Leaderless(leaderless) => leaderless.replicas,
            Mode::MultiLeader(multi_leader) => multi_leader.replicas,
        }
    }

    /// Where those go.
    #[must_use]
    pub fn placed(&self) -> Replicas {
        if self.is_in_each() {
            let each = self.datacenters.iter().map(|one| (one.name.clone(), self.replicas()));
            return Replicas::InEach(each.collect());
        }
        Replicas::Over(self.replicas())
    }

    /// How many replicas each shard has over all datacenters.
    #[must_use]
    pub fn replicas_in_all(&self) -> usize {
        self.replicas() * if self.is_in_each() { self.datacenters.len() } else { 1 }
    }

    /// How many groups the shards have.
    #[must_use]
    pub fn groups(&self) -> usize {
        let each = if self.multi_leader().is_some() { self.datacenters.len() } else { 1 };
        usize::from(self.shards) * each
    }

    fn is_in_each(&self) -> bool {
        match &self.mode {
            Mode::SingleLeader(_) => false,
            Mode::Leaderless(leaderless) => leaderless.policy.datacenters == Datacenters::Local,
            Mode::MultiLeader(_) => true,
        }
    }

    /// What only a store with one leader of each shard has.
    #[must_use]
    pub const fn single_leader(&self) -> Option<&SingleLeader> {
        match &self.mode {
            Mode::SingleLeader(single) => Some(single),
            Mode::Leaderless(_) | Mode::MultiLeader(_) => None,
        }
    }

    /// What only a store with a leader of each shard in every datacenter has.
    #[must_use]
    pub const fn multi_leader(&self) -> Option<&MultiLeader> {
        match &self.mode {
            Mode::SingleLeader(_) | Mode::Leaderless(_) => None,
            Mode::MultiLeader(multi_leader) => Some(multi_leader),
        }
    }

    /// What only a store without leaders has.
    #[must_use]
    pub const fn leaderless(&self) -> Option<&Leaderless> {
        match &self.mode {
            Mode::SingleLeader(_) | Mode::MultiLeader(_) => None,
            Mode::Leaderless(leaderless) => Some(leaderless),
        }
    }

    /// What every shard's groups keep to, where groups have leaders.
    #[must_use]
    pub const fn policy(&self) -> Option<&Policy> {
        match &self.mode {
            Mode::SingleLeader(single) => Some(&single.policy),
            Mode::Leaderless(_) => None,
            Mode::MultiLeader(multi_leader) => Some(&multi_leader.groups),
        }
    }

    /// Whether a topology is of this mode.
    #[must_use]
    pub const fn is_mode_of(&self, topology: &Topology) -> bool {
        matches!(
            (&self.mode, &topology.mode),
            (Mode::SingleLeader(_), quorate_model::Mode::SingleLeader)
                | (Mode::Leaderless(_), quorate_model::Mode::Leaderless(_))
                | (Mode::MultiLeader(_), quorate_model::Mode::MultiLeader(_))
        )
    }

    /// The mode as the store begins with it, placed as in this topology.
    #[must_use]
    pub fn first_mode(&self, placed: &Topology) -> quorate_model::Mode {
        match &self.mode {
            Mode::SingleLeader(_) => quorate_model::Mode::SingleLeader,
            Mode::Leaderless(leaderless) => {
                quorate_model::Mode::Leaderless(leaderless.policy.clone().into())
            }
            Mode::MultiLeader(multi_leader) => {
                let places = multi_leader::places(placed);
                let policy = multi_leader::next(self, &multi_leader.policy, placed, &places);
                let first = quorate_model::MultiLeader::new(policy, placed);
                quorate_model::Mode::MultiLeader(first)
            }
        }
    }

    #[must_use]
    pub fn datacenter(&self, name: &Datacenter) -> Option<&ValidDatacenter> {
        self.datacenters.iter().find(|datacenter| datacenter.name == *name)
    }
}

/// Collects every error instead of stopping at the first.
struct Errors(Vec<SpecError>);

impl Errors {
    fn keep<T>(&mut self, result: Result<T, SpecError>) -> Option<T> {
        result.map_err(|error| self.0.push(error)).ok()
    }
}

fn required(value: Option<&String>, field: &'static str) -> Result<String, SpecError> {
    value.cloned().ok_or(SpecError::Metadata { field })
}

fn store_name(resource: &ReplicatedStore) -> Result<Name, SpecError> {
    let name = required(resource.metadata.name.as_ref(), "metadata.name")?;
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Err(SpecError::StoreName { name });
    }
    Name::new(name.clone()).map_err(|_| SpecError::StoreName { name })
}

fn datacenters(
    spec: &ReplicatedStoreSpec,
    store: Option<&Name>,
    errors: &mut Errors,
) -> Vec<ValidDatacenter> {
    if spec.datacenters.is_empty() {
        errors.0.push(SpecError::NoDatacenter);
        return vec![];
    }
    let shares = errors.keep(shares(spec)).unwrap_or_default();
    let mut names = BTreeSet::new();
    let mut valid = vec![];
    for (index, datacenter) in spec.datacenters.iter().enumerate() {
        let Some(name) = errors.keep(
            Name::new(datacenter.name.clone())
                .map_err(|_| SpecError::DatacenterName { index, name: datacenter.name.clone() }),
        ) else {
            continue;
        };
        if store.is_some_and(|s| s.as_str().len() + name.as_str().len() > NAMES_LENGTH_MAX) {
            errors.0.push(SpecError::NamesTooLong { index });
        }
        if !names.insert(name.clone()) {
            errors.0.push(SpecError::DuplicateDatacenter { name: name.clone() });
        }
        let zones = datacenter.zones.clone().unwrap_or_default();
        let mut seen = BTreeSet::new();
        if let Some(zone) = zones.iter().find(|zone| !seen.insert(zone.as_str())) {
            errors.0.push(SpecError::DuplicateZone { index, zone: zone.clone() });
        }
        let node_selector = datacenter.node_selector.clone().unwrap_or_else(|| {
            BTreeMap::from([(labels::REGION.to_owned(), name.as_str().to_owned())])
        });
        valid.push(ValidDatacenter {
            nodes: shares.get(index).copied().unwrap_or(1),
            node_selector,
            zones,
            storage_class: datacenter
                .storage_class
                .clone()
                .or_else(|| spec.storage.storage_class.clone()),
            name,
        });
    }
    valid
}

/// How many nodes each datacenter gets: what is pinned, and an even share of the rest, the first ones one more.
fn shares(spec: &ReplicatedStoreSpec) -> Result<Vec<i32>, SpecError> {
    let pinned: i32 = spec.datacenters.iter().filter_map(|datacenter| datacenter.nodes).sum();
    let open = spec.datacenters.iter().filter(|datacenter| datacenter.nodes.is_none()).count();
    let open = i32::try_from(open).unwrap_or(i32::MAX);
    let rest = spec.nodes - pinned;
    let fits = if open == 0 { rest == 0 } else { rest >= open };
    if !fits || spec.datacenters.iter().any(|datacenter| datacenter.nodes.is_some_and(|n| n < 1)) {
        return Err(SpecError::NodesDoNotFit {
            nodes: spec.nodes,
            needed: pinned.saturating_add(open),
        });
    }
    let mut remainder = if open == 0 { 0 } else { rest % open };
    let mut shares = vec![];
    for datacenter in &spec.datacenters {
        shares.push(datacenter.nodes.unwrap_or_else(|| {
            let extra = i32::from(remainder > 0);
            remainder -= extra;
            rest / open + extra
        }));
    }
    Ok(shares)
}

fn mode(
    spec: &ReplicatedStoreSpec,
    datacenters: &[ValidDatacenter],
    errors: &mut Errors,
) -> Option<Mode> {
    let mode = spec.mode;
    let blocks = [
        (spec.single_leader.is_some(), "spec.singleLeader", ReplicationMode::SingleLeader),
        (spec.leaderless.is_some(), "spec.leaderless", ReplicationMode::Leaderless),
        (spec.multi_leader.is_some(), "spec.multiLeader", ReplicationMode::MultiLeader),
    ];
    let foreign = blocks.into_iter().filter(|(given, _, of)| *given && *of != mode);
    errors.0.extend(foreign.map(|(_, field, _)| SpecError::OtherMode { field, mode }));
    match mode {
        ReplicationMode::SingleLeader => single_leader(spec, datacenters, errors),
        ReplicationMode::Leaderless => leaderless_mode(spec, datacenters, errors),
        ReplicationMode::MultiLeader => multi_leader_mode(spec, datacenters, errors),
    }
}

fn single_leader(
    spec: &ReplicatedStoreSpec,
    datacenters: &[ValidDatacenter],
    errors: &mut Errors,
) -> Option<Mode> {
    let single = spec.single_leader.clone().unwrap_or_default();
    let field = "spec.singleLeader.replicas";
    odd(field, single.replicas, errors);
    let replicas = enough_nodes(spec, field, single.replicas, errors)?;
    let policy = errors.keep(policy::of("spec.singleLeader", &single));
    let preferred = preferred_leaders(spec, &single, datacenters, errors);
    policy.map(|policy| Mode::SingleLeader(SingleLeader { policy, replicas, preferred }))
}

fn leaderless_mode(
    spec: &ReplicatedStoreSpec,
    datacenters: &[ValidDatacenter],
    errors: &mut Errors,
) -> Option<Mode> {
    let declared = spec.leaderless.clone().unwrap_or_default();
    let replicas = declared.replicas;
    if !(1..=7).contains(&replicas) {
        errors.0.push(SpecError::LeaderlessReplicas { replicas });
    }
    let count = enough_nodes(spec, "spec.leaderless.replicas", replicas, errors)?;
    let policy = errors.keep(leaderless::of(spec, &declared))?;
    if policy.datacenters == Datacenters::Local {
        let field = "spec.leaderless.datacenters Local";
        enough_in_each(field, replicas, datacenters, errors);
    }
    Some(Mode::Leaderless(Leaderless { policy, replicas: count }))
}

fn multi_leader_mode(
    spec: &ReplicatedStoreSpec,
    datacenters: &[ValidDatacenter],
    errors: &mut Errors,
) -> Option<Mode> {
    let declared = spec.multi_leader.clone().unwrap_or_default();
    let field = "spec.multiLeader.replicas";
    odd(field, declared.replicas, errors);
    enough_in_each(field, declared.replicas, datacenters, errors);
    if usize::try_from(spec.shards).unwrap_or(0) * datacenters.len() > GROUPS_MAX {
        let (shards, datacenters) = (spec.shards, datacenters.len());
        errors.0.push(SpecError::Groups { shards, datacenters });
    }
    let groups = policy::of("spec.multiLeader", &multi_leader::of_groups(&declared));
    let groups = errors.keep(groups)?;
    let policy = errors.keep(multi_leader::of(&declared, datacenters))?;
    let replicas = usize::try_from(declared.replicas).ok()?;
    Some(Mode::MultiLeader(MultiLeader { groups, policy, replicas }))
}

fn odd(field: &'static str, replicas: i32, errors: &mut Errors) {
    if !(1..=7).contains(&replicas) || replicas % 2 == 0 {
        errors.0.push(SpecError::Replicas { field, replicas });
    }
}

fn enough_nodes(
    spec: &ReplicatedStoreSpec,
    field: &'static str,
    replicas: i32,
    errors: &mut Errors,
) -> Option<usize> {
    if spec.nodes < replicas {
        errors.0.push(SpecError::FewerNodesThanReplicas { field, nodes: spec.nodes, replicas });
    }
    usize::try_from(replicas).ok()
}

fn enough_in_each(
    field: &'static str,
    replicas: i32,
    datacenters: &[ValidDatacenter],
    errors: &mut Errors,
) {
    if let Some(small) = datacenters.iter().find(|one| one.nodes < replicas) {
        let (name, nodes) = (small.name.clone(), small.nodes);
        errors.0.push(SpecError::FewerNodesInDatacenter { name, nodes, replicas, field });
    }
}

fn preferred_leaders(
    spec: &ReplicatedStoreSpec,
    single: &SingleLeaderSpec,
    datacenters: &[ValidDatacenter],
    errors: &mut Errors,
) -> PreferredLeaders {
    let Some(given) = &single.preferred_leader else { return PreferredLeaders::default() };
    let all = preference(&given.datacenter, &given.pod, datacenters, errors);
    let mut exceptions = BTreeMap::new();
    for exception in &given.shards {
        let shard = exception.shard;
        let preference = preference(&exception.datacenter, &exception.pod, datacenters, errors);
        let known = (0..spec.shards).contains(&shard);
        match u16::try_from(shard).ok().filter(|_| known) {
            Some(number) if exceptions.insert(ShardId(number), preference).is_none() => {}
            Some(_) | None => errors.0.push(SpecError::PreferredShard { shard }),
        }
    }
    PreferredLeaders { all, exceptions }
}

fn preference(
    datacenter: &Option<String>,
    pod: &Option<String>,
    datacenters: &[ValidDatacenter],
    errors: &mut Errors,
) -> Preference {
    let found = datacenter.as_ref().and_then(|name| {
        let found = datacenters.iter().find(|d| d.name.as_str() == name);
        if found.is_none() {
            errors.0.push(SpecError::PreferredDatacenter { name: name.clone() });
        }
        found.map(|datacenter| datacenter.name.clone())
    });
    // The store's name is checked elsewhere; here only whether the rest could be a pod of one of its datacenters.
    if let Some(name) = pod
        && !datacenters.iter().any(|datacenter| names::may_be_pod_of(name, datacenter))
    {
        errors.0.push(SpecError::PreferredPod { name: name.clone() });
    }
    Preference { pod: pod.clone(), datacenter: found }
}

fn shards(resource: &ReplicatedStore) -> Result<u16, SpecError> {
    let shards = resource.spec.shards;
    if !(1..=SHARDS_MAX).contains(&shards) {
        return Err(SpecError::Shards { shards });
    }
    let known = resource.status.iter().flat_map(|status| &status.shards);
    let known = known.map(|shard| shard.shard).collect::<BTreeSet<_>>().len();
    let count = u16::try_from(shards).map_err(|_| SpecError::Shards { shards })?;
    if known != 0 && known != usize::from(count) {
        return Err(SpecError::ShardsChanged { shards, actual: known });
    }
    Ok(count)
}

fn storage(spec: &ReplicatedStoreSpec) -> Result<ValidStorage, SpecError> {
    let size = spec.storage.size.clone();
    match quantity_bytes(&size) {
        Some(size_bytes) if size_bytes >= SIZE_BYTES_MIN => {
            Ok(ValidStorage { size, size_bytes, reclaim_policy: spec.storage.reclaim_policy })
        }
        Some(_) | None => Err(SpecError::StorageSize { size }),
    }
}

fn replace_node(resource: &ReplicatedStore) -> Result<Option<NodeId>, SpecError> {
    let key = labels::REPLACE_NODE;
    let Some(value) = resource.metadata.annotations.as_ref().and_then(|all| all.get(key)) else {
        return Ok(None);
    };
    value.parse().map(Some).map_err(|_| SpecError::ReplaceNode { key, value: value.clone() })
}

/// The bytes of a Kubernetes quantity, rounded up; `None` when it is not one or is negative.
///
/// Kubernetes API conventions, `resource.Quantity`: decimal number, then `Ki Mi Gi Ti Pi Ei`, `n u m k M G T P E`,
/// or a decimal exponent.
#[must_use]
pub fn quantity_bytes(text: &str) -> Option<u128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 25 {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (multiplier, divisor): (u128, u128) = match suffix {
        "" => (1, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        exponent => {
            let exponent: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10u128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    };
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some(digits.checked_mul(multiplier)?.div_ceil(scale.checked_mul(divisor)?))
}
