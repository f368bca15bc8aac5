//! How clients and peers find nodes: `-rw` the nodes that lead, `-ro` those that follow, `-r` all that serve, and a
//! headless one with a name for each node.
//!
//! Every node takes every command on port 6379 and forwards it, so `-rw` is about the shortest way, not about who may
//! write. A node can lead one shard and follow another: it is then behind both `-rw` and `-ro`. Where there are no leaders all
//! three have every node. Where every datacenter has leaders each has its own three, `<store>-<datacenter>-rw` and so on: clients that
//! use them stay near, and read what they wrote.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use quorate_api::labels;
use quorate_model::Datacenter;

use super::metadata;
use crate::{ValidStore, names};

pub(super) fn all(store: &ValidStore) -> Vec<Service> {
    let name = store.name.as_str();
    // Without leaders every node takes reads and writes alike.
    let with_leaders = store.leaderless().is_none();
    let leaders = with_leaders.then_some((labels::ROLE, labels::ROLE_LEADER));
    let followers = with_leaders.then_some((labels::READ_REPLICA, "true"));
    let mut services = vec![
        headless(store),
        clients(store, names::service_read_write(name), None, leaders),
        clients(store, names::service_read_only(name), None, followers),
        clients(store, names::service_read(name), None, None),
    ];
    if store.multi_leader().is_some() {
        for datacenter in store.datacenters.iter().map(|one| &one.name) {
            let local = names::services_in(name, datacenter);
            let here = Some(datacenter);
            services.push(clients(store, local.read_write, here, leaders));
            services.push(clients(store, local.read_only, here, followers));
            services.push(clients(store, local.read, here, None));
        }
    }
    services
}

fn clients(
    store: &ValidStore,
    name: String,
    within: Option<&Datacenter>,
    only: Option<(&str, &str)>,
) -> Service {
    let mut selector = metadata::selector(store);
    let within = within.map(|datacenter| (labels::DATACENTER, datacenter.as_str()));
    selector.extend(metadata::labelled(within));
    selector.extend(metadata::labelled(only));
    let mut service = service(
        store,
        name,
        ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(selector),
            ports: Some(vec![
                port("redis", names::PORT_PLAIN),
                port("redis-cluster", names::PORT_CLUSTER),
            ]),
            ..ServiceSpec::default()
        },
    );
    // By it a Service goes with its datacenter.
    service.metadata.labels.get_or_insert_default().extend(metadata::labelled(within));
    service
}

/// Peers must find each other before they are ready, so unready nodes are published too.
fn headless(store: &ValidStore) -> Service {
    service(
        store,
        names::service_headless(store.name.as_str()),
        ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(metadata::selector(store)),
            ports: Some(vec![
                port("redis", names::PORT_PLAIN),
                port("redis-cluster", names::PORT_CLUSTER),
                port("peer", names::PORT_PEER),
                port("admin", names::PORT_ADMIN),
            ]),
            ..ServiceSpec::default()
        },
    )
}

fn service(store: &ValidStore, name: String, spec: ServiceSpec) -> Service {
    let labels: BTreeMap<_, _> = metadata::common_labels(store);
    Service {
        metadata: metadata::child(store, name, labels),
        spec: Some(spec),
        ..Service::default()
    }
}

fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        protocol: Some("TCP".to_owned()),
        // By number: a port's name may be up to 15 characters and may change, its number is the contract.
        target_port: Some(IntOrString::Int(number)),
        ..ServicePort::default()
    }
}
