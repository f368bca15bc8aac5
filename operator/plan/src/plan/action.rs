//! The vocabulary of plans: what the shell can be told to do, and what a store can be waiting on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use quorate_api::BootstrapStatus;
use quorate_model::{
    ConflictPolicy, Datacenter, Durability, GroupId, Level, LogFormat, NodeId, ShardId,
    admin::{Bootstrap, ProposeTopology},
};

use crate::{GroupAt, build::Desired};

/// What to do now. The shell applies the fields in their order and then plans anew from a new observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The objects as they should be, for server-side apply. `None`: leave them alone (paused, or a name is taken).
    pub children: Option<Box<Desired>>,
    /// Objects of the store that are no longer wanted and hold nothing.
    pub prune: Vec<Prune>,
    /// Labels of pods that are not as they should be.
    pub pod_labels: Vec<PodLabels>,
    /// Claims that should be larger.
    pub claim_growth: Vec<ClaimGrowth>,
    /// The one disruptive action, or why there is none.
    pub next: Next,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Carry this out. Look again soon, whether it worked or not.
    Act(Action),
    /// Something must happen first that this plan cannot bring about. Look again soon.
    Wait(Vec<WaitingOn>),
    /// Everything is as asked for.
    Settled,
}

/// A disruptive action. Each is safe to repeat and safe to lose; ids and uids are preconditions.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Persist the choice of the first node: the status that `report` makes for this plan contains it. That status
    /// must be written with the resourceVersion that was observed, so that a stale view cannot choose twice.
    RecordBootstrap(BootstrapStatus),
    /// `POST /v1/bootstrap` to this pod. `AlreadyBootstrapped` is success.
    Bootstrap { pod: String, request: Box<Bootstrap> },
    /// `POST /v1/topology` to the first of these pods that answers. `EpochMoved` means: observe again.
    ProposeTopology { via: Vec<String>, request: Box<ProposeTopology>, why: Vec<TopologyChange> },
    /// Delete the pod, with its uid as precondition. With [`HandOver::First`], `POST /v1/handover` before, and delete
    /// even if that fails: the node hands over on SIGTERM too. One action, so that leadership has no time to return.
    RestartPod { pod: String, uid: String, hand_over: HandOver, why: RestartReason },
    /// Set the replicas of the StatefulSet, with its uid and resourceVersion as preconditions.
    ScaleDown { stateful_set: String, uid: String, resource_version: String, from: i32, to: i32 },
    /// Throw a volume away and let a new one come in its place: delete the claim, then the pod, each with its uid as
    /// precondition. `node` is the identity that ends.
    ReplaceVolume {
        node: NodeId,
        claim: String,
        claim_uid: String,
        pod: String,
        pod_uid: Option<String>,
    },
    /// Delete the claim of a node that has been removed, with its uid as precondition.
    DeleteClaim { claim: String, uid: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOver {
    First,
    NotNeeded,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestartReason {
    /// The pod was made from another template than the one that is wanted.
    Template,
    /// The same, and its container does not run, so that nobody loses anything.
    TemplateNotRunning,
}

/// What a proposed topology changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopologyChange {
    AddMember {
        node: NodeId,
        pod: String,
    },
    /// The node `new` came back under the name of `lost`, whose volume is gone.
    ReplaceMember {
        lost: NodeId,
        new: NodeId,
        pod: String,
    },
    RemoveMember {
        node: NodeId,
        pod: String,
    },
    /// One replica of one group. `to` joins and catches up before `from` leaves.
    MoveReplica {
        group: GroupId,
        from: Option<NodeId>,
        to: Option<NodeId>,
    },
    PreferLeader {
        shard: ShardId,
        node: Option<NodeId>,
    },
    /// When writes are acknowledged, or how the in-sync set is kept.
    Durability {
        from: Durability,
        to: Durability,
    },
    LogFormat {
        from: LogFormat,
        to: LogFormat,
    },
    /// What sessions get that ask for nothing else.
    Sessions,
    /// How many replicas must answer, in a store without leaders.
    Levels {
        read: Level,
        write: Level,
    },
    /// What becomes of concurrent values there.
    Conflicts {
        from: ConflictPolicy,
        to: ConflictPolicy,
    },
    /// Whether nodes stand in for replicas there, for how long and with how much.
    Hints {
        stand_in: bool,
    },
    /// Along which links changes go from datacenter to datacenter.
    Links,
    /// Whether they go around a datacenter that does not answer.
    Reroute {
        around: bool,
    },
    /// What concurrent values read as, where every datacenter has a leader.
    Resolutions,
    /// Where keys have their homes.
    Homes,
    /// A datacenter begins with a group of every shard.
    AddDatacenter {
        datacenter: Datacenter,
    },
    /// All groups of a datacenter end.
    RemoveDatacenter {
        datacenter: Datacenter,
    },
    /// A member runs in another zone than the topology says.
    UpdateZone {
        node: NodeId,
        pod: String,
    },
}

/// Why nothing is done yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingOn {
    Paused,
    /// An object that the store needs exists and belongs to something else.
    NameTaken {
        kind: &'static str,
        name: String,
    },
    /// The volumes belong to another store, or the status was copied from one.
    OtherStore {
        pod: String,
    },
    /// The store was created with another replication mode.
    OtherMode,
    /// Pods that do not run yet, or are not reachable.
    Pods {
        pods: BTreeSet<String>,
    },
    /// The node with which the store was to begin has lost its volume.
    BootstrapNode {
        pod: String,
        node: NodeId,
    },
    /// Nodes whose reports are needed before something can be decided.
    Reports {
        pods: BTreeSet<String>,
    },
    /// No leader of the group was seen.
    Leader {
        group: GroupAt,
    },
    /// The group is on its way to its placement.
    Group {
        group: GroupAt,
        joining: BTreeSet<String>,
        leaving: BTreeSet<String>,
    },
    /// A replica is behind or silent; a restart or removal would endanger the group.
    CaughtUp {
        group: GroupAt,
        pods: BTreeSet<String>,
    },
    /// The group does not keep the declared durability yet.
    Durability {
        group: GroupAt,
    },
    /// A follower keeps the group's writes waiting, or its in-sync set is changing: taking another one away would add to it.
    InSync {
        group: GroupAt,
        pods: BTreeSet<String>,
    },
    /// The image that is being rolled out has another format of the storage engine, and the log format is Wal.
    EngineFormats {
        formats: BTreeMap<String, u32>,
    },
    /// Not enough nodes can take replicas.
    Nodes {
        wanted: usize,
        usable: usize,
    },
    /// The StatefulSet's controller has not seen its new template yet.
    StatefulSet {
        name: String,
    },
    /// Pods that are to end have not ended.
    Ending {
        pods: BTreeSet<String>,
    },
    /// Nodes with volumes of a time when their datacenter was part of the store before: it cannot begin again with those.
    OldVolumes {
        pods: BTreeSet<String>,
    },
    /// A datacenter that is to go has writes that no other one has, or nobody can say that it has none.
    Exchange {
        datacenter: Datacenter,
    },
    /// Nodes that are to go and hold writes for others' replicas, which do not take them yet.
    Hints {
        pods: BTreeSet<String>,
    },
    /// A volume that is being enlarged.
    Growth {
        claim: String,
    },
    /// A node's log is corrupt, and the reclaim policy keeps its volume until somebody consents.
    Consent {
        pod: String,
        node: NodeId,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLabels {
    pub pod: String,
    /// Precondition.
    pub uid: String,
    /// What to merge into the labels: `None` removes one.
    pub labels: BTreeMap<&'static str, Option<&'static str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimGrowth {
    pub claim: String,
    /// Precondition.
    pub uid: String,
    /// The new `spec.resources.requests.storage`.
    pub size: String,
}

/// An object to delete, with its uid as precondition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prune {
    DisruptionBudget {
        name: String,
        uid: String,
    },
    /// Of a datacenter that is no longer asked for, and has no pods.
    StatefulSet {
        name: String,
        uid: String,
    },
    /// Of such a datacenter: its clients.
    Service {
        name: String,
        uid: String,
    },
}

impl fmt::Display for TopologyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named =
            |node: &Option<NodeId>| node.map_or_else(|| "nobody".to_owned(), |n| n.to_string());
        match self {
            Self::AddMember { node, pod } => write!(f, "{pod} joins as {node}"),
            Self::ReplaceMember { lost, new, pod } => {
                write!(f, "{pod} lost its volume: {new} joins for {lost}")
            }
            Self::RemoveMember { node, pod } => write!(f, "{node} of {pod} is no longer a member"),
            Self::MoveReplica { group, from: Some(from), to: Some(to) } => {
                write!(f, "a replica of {group} moves from {from} to {to}")
            }
            Self::MoveReplica { group, from: None, to } => {
                write!(f, "{group} gets a replica on {}", named(to))
            }
            Self::MoveReplica { group, from, to: None } => {
                write!(f, "{group} gives up its replica on {}", named(from))
            }
            Self::PreferLeader { shard, node } => {
                write!(f, "shard {shard} should be led by {}", named(node))
            }
            Self::Durability { from, to } if from == to => {
                write!(f, "the in-sync sets of durability {to:?} are kept otherwise")
            }
            Self::Durability { from, to } => {
                write!(f, "durability changes from {from:?} to {to:?}")
            }
            Self::LogFormat { from, to } => {
                write!(f, "the log format changes from {from:?} to {to:?}")
            }
            Self::Sessions => f.write_str("the defaults of sessions change"),
            Self::Levels { read, write } => {
                write!(f, "writes are acknowledged at level {write} and reads answered at {read}")
            }
            Self::Conflicts { from, to } => {
                write!(f, "concurrent values are treated as {to:?} instead of {from:?}")
            }
            Self::Hints { stand_in: true } => {
                f.write_str("nodes without a replica stand in for replicas that do not answer")
            }
            Self::Hints { stand_in: false } => {
                f.write_str("nodes stand in for no replica any more, and give back what they hold")
            }
            Self::Links => f.write_str("changes go along other links"),
            Self::Reroute { around: true } => {
                f.write_str("changes go around a datacenter that does not answer")
            }
            Self::Reroute { around: false } => {
                f.write_str("changes no longer go around a datacenter that does not answer")
            }
            Self::Resolutions => f.write_str("concurrent values are read otherwise"),
            Self::Homes => f.write_str("homes of keys are declared elsewhere"),
            Self::AddDatacenter { datacenter } => {
                write!(f, "{datacenter} gets a group of every shard")
            }
            Self::RemoveDatacenter { datacenter } => {
                write!(f, "{datacenter} gives up its groups")
            }
            Self::UpdateZone { node, pod } => write!(f, "{node} of {pod} runs in another zone"),
        }
    }
}

impl fmt::Display for WaitingOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => f.write_str("spec.paused is set"),
            Self::NameTaken { kind, name } => write!(
                f,
                "{kind} {name} exists and does not belong to this store: remove it or rename the store"
            ),
            Self::OtherStore { pod } => write!(
                f,
                "{pod} holds data of another store: remove its volume claim or rename the store"
            ),
            Self::OtherMode => f.write_str(
                "the store was created with another spec.mode: set it back, or create a store of this mode and copy the data",
            ),
            Self::Pods { pods } => write!(f, "waiting for {} to start", list(pods)),
            Self::BootstrapNode { pod, node } => write!(
                f,
                "the store was to begin with {node} on {pod}, whose volume is gone: delete the store and create it again"
            ),
            Self::Reports { pods } => write!(f, "cannot reach {}", list(pods)),
            Self::Leader { group } => write!(f, "no leader of {group} is known"),
            Self::Group { group, joining, leaving } => {
                write!(f, "{group} is moving")?;
                if !joining.is_empty() {
                    write!(f, ", {} joining", list(joining))?;
                }
                if !leaving.is_empty() {
                    write!(f, ", {} leaving", list(leaving))?;
                }
                Ok(())
            }
            Self::CaughtUp { group, pods } => {
                write!(f, "{group} has replicas that are behind or silent on {}", list(pods))
            }
            Self::Durability { group } => {
                write!(f, "{group} does not keep the declared durability yet")
            }
            Self::InSync { group, pods } if pods.is_empty() => {
                write!(f, "the in-sync set of {group} is changing")
            }
            Self::InSync { group, pods } => {
                write!(f, "writes of {group} wait for {}", list(pods))
            }
            Self::EngineFormats { formats } => {
                let formats: Vec<String> =
                    formats.iter().map(|(pod, format)| format!("{format} on {pod}")).collect();
                write!(
                    f,
                    "nodes have different formats of the storage engine ({}) and spec.singleLeader.logFormat is Wal: set it to Logical until every node runs the new image, or set spec.image back",
                    formats.join(", ")
                )
            }
            Self::Nodes { wanted, usable } => {
                write!(f, "{wanted} nodes are needed for replicas and {usable} can take them")
            }
            Self::StatefulSet { name } => {
                write!(f, "the controller of StatefulSet {name} has not seen its new template")
            }
            Self::Ending { pods } => write!(f, "waiting for {} to end", list(pods)),
            Self::OldVolumes { pods } => old_volumes(f, pods),
            Self::Exchange { datacenter } => exchange(f, datacenter),
            Self::Hints { pods } => hints(f, pods),
            Self::Growth { claim } => write!(f, "waiting for the volume of {claim} to grow"),
            Self::Consent { pod, node } => write!(
                f,
                "the log of {pod} is corrupt and spec.storage.reclaimPolicy is Retain: to rebuild it from its peers on an empty volume, annotate the store with {}={node}",
                quorate_api::labels::REPLACE_NODE
            ),
        }
    }
}

fn old_volumes(f: &mut fmt::Formatter<'_>, pods: &BTreeSet<String>) -> fmt::Result {
    write!(
        f,
        "{} has a volume of a time when its datacenter was part of the store before, and it cannot begin again with it: delete the claim and the pod",
        list(pods)
    )
}

fn exchange(f: &mut fmt::Formatter<'_>, datacenter: &Datacenter) -> fmt::Result {
    write!(
        f,
        "{datacenter} is to go and the other datacenters do not have all of its writes yet, as far as is known; if its nodes never come back, delete their claims"
    )
}

fn hints(f: &mut fmt::Formatter<'_>, pods: &BTreeSet<String>) -> fmt::Result {
    write!(
        f,
        "{} holds writes for replicas that have not taken them yet, and does not go before",
        list(pods)
    )
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
