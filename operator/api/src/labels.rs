//! The keys of labels and annotations that Quorate reads or writes, in one place. They are API: users select by them.

pub const NAME: &str = "app.kubernetes.io/name";
pub const INSTANCE: &str = "app.kubernetes.io/instance";
pub const COMPONENT: &str = "app.kubernetes.io/component";
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
pub const PART_OF: &str = "app.kubernetes.io/part-of";

/// Every child of a store carries the store's name under this key.
pub const STORE: &str = "quorate.dev/store";
/// The datacenter of a pod, claim or StatefulSet, as the resource names it.
pub const DATACENTER: &str = "quorate.dev/datacenter";
/// On pods: `leader` when the node leads at least one shard, `follower` when it hosts replicas and leads none.
pub const ROLE: &str = "quorate.dev/role";
pub const ROLE_LEADER: &str = "leader";
pub const ROLE_FOLLOWER: &str = "follower";
/// On pods: `true` when the node follows at least one shard, whatever it leads: the `-ro` Service selects by it.
pub const READ_REPLICA: &str = "quorate.dev/read-replica";

/// Annotation on the pod template and so on pods: a pod with another value than its StatefulSet waits for a restart.
pub const TEMPLATE_HASH: &str = "quorate.dev/template-hash";
/// Annotation on the pod template: the configuration that the node reads only at start.
pub const CONFIG_HASH: &str = "quorate.dev/config-hash";

/// Annotation on the `ReplicatedStore`: the id of a node whose volume may be thrown away, because its log is corrupt
/// or its machine is gone for ever. It names an identity, not a pod, so it cannot hit the successor.
pub const REPLACE_NODE: &str = "quorate.dev/replace-node";

/// Set by Kubernetes or the cloud on machines.
pub const REGION: &str = "topology.kubernetes.io/region";
pub const ZONE: &str = "topology.kubernetes.io/zone";
pub const HOSTNAME: &str = "kubernetes.io/hostname";

/// The value of [`NAME`] and [`PART_OF`].
pub const PRODUCT: &str = "quorate";
/// The value of [`MANAGED_BY`], and the field manager of every server-side apply.
pub const OPERATOR: &str = "quorate-operator";
/// The value of [`COMPONENT`] on everything that belongs to nodes.
pub const NODE: &str = "node";
