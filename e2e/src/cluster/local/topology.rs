//! Which Kubernetes nodes the local cluster has and which addresses they get. Pure.
//!
//! Every node has its own network namespace and one link to the hub namespace, where the control
//! plane lives and where every packet between nodes is routed: so one place can cut, lose or
//! delay traffic, by address. The namespaces are closed to the machine, so the addresses collide
//! with nothing outside.

pub(super) const HUB_NAMESPACE: &str = "quorate-hub";
/// Where nodes and pods reach the API server.
pub(super) const HUB_ADDRESS: &str = "172.30.0.1";
pub(super) const SERVICE_CIDR: &str = "10.96.0.0/16";
pub(super) const API_SERVICE_ADDRESS: &str = "10.96.0.1";
pub(super) const DNS_ADDRESS: &str = "10.96.0.10";
pub(super) const POD_CIDR: &str = "10.244.0.0/16";

/// One Kubernetes node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub datacenter: String,
    pub zone: String,
    /// From 1: the third byte of its addresses.
    index: u8,
}

impl Node {
    fn new(name: &str, datacenter: &str, zone: &str, index: u8) -> Self {
        Self {
            name: name.to_owned(),
            datacenter: datacenter.to_owned(),
            zone: format!("{datacenter}-{zone}"),
            index,
        }
    }

    pub fn namespace(&self) -> String {
        format!("quorate-{}", self.name)
    }

    /// The hub's end of the node's link.
    pub fn link(&self) -> String {
        format!("n{}", self.index)
    }

    pub fn address(&self) -> String {
        format!("172.30.{}.2", self.index)
    }

    pub fn gateway(&self) -> String {
        format!("172.30.{}.1", self.index)
    }

    pub fn pod_cidr(&self) -> String {
        format!("10.244.{}.0/24", self.index)
    }

    /// Everything that lives on this node, as address ranges; without the hub's end of its link.
    pub fn cidrs(&self) -> [String; 2] {
        [format!("{}/32", self.address()), self.pod_cidr()]
    }
}

/// The nodes of the cluster, in order.
#[derive(Debug, Clone)]
pub struct Topology {
    pub nodes: Vec<Node>,
}

impl Default for Topology {
    /// Three datacenters, one of them with two zones.
    fn default() -> Self {
        let nodes = vec![
            Node::new("dc-a-1", "dc-a", "z1", 1),
            Node::new("dc-a-2", "dc-a", "z2", 2),
            Node::new("dc-b-1", "dc-b", "z1", 3),
            Node::new("dc-c-1", "dc-c", "z1", 4),
        ];
        Self { nodes }
    }
}

impl Topology {
    pub fn datacenters(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.nodes.iter().map(|node| node.datacenter.as_str()).collect();
        names.dedup();
        names
    }

    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The address ranges of a whole datacenter; empty when there is none of that name.
    pub fn cidrs_of(&self, datacenter: &str) -> Vec<String> {
        self.nodes
            .iter()
            .filter(|node| node.datacenter == datacenter)
            .flat_map(Node::cidrs)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_datacenters_and_one_of_them_has_two_zones() {
        let topology = Topology::default();
        assert_eq!(topology.datacenters(), ["dc-a", "dc-b", "dc-c"]);
        let zones: Vec<&str> = topology.nodes.iter().map(|node| node.zone.as_str()).collect();
        assert_eq!(zones, ["dc-a-z1", "dc-a-z2", "dc-b-z1", "dc-c-z1"]);
    }

    #[test]
    fn addresses_of_a_datacenter_cover_nodes_and_pods() {
        let cidrs = Topology::default().cidrs_of("dc-b");
        assert_eq!(cidrs, ["172.30.3.2/32", "10.244.3.0/24"]);
    }
}
