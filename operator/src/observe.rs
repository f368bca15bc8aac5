//! Looks: the resource, its children, the machines, and a report from every node, all within one deadline.
//!
//! Children are listed from the API server and not from a watch's cache: a stale cache that met a reused name is how
//! operators delete live volumes. A node that does not answer is Unknown, with the age of its last good report.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::time::{Instant, SystemTime};

use futures::future::{join_all, try_join};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use quorate_api::{ReplicatedStore, ReplicatedStoreStatus};
use quorate_plan::{Children, Observed, Reported, names};
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::controller::Guarded;
use crate::error::{Error, Verb};
use crate::memory::{Dated, PodUid, StoreKey, Watched};
use crate::metrics::NodeAnswer;

/// The resource as it stands, or what is left of one that does not parse.
pub(crate) async fn resource(
    context: &Context,
    store: &StoreKey,
) -> Result<Option<Guarded>, Error> {
    let stores: Api<Guarded> = Api::namespaced(context.client.clone(), &store.namespace);
    stores.get_opt(&store.name).await.map_err(|source| Error::Api {
        verb: Verb::Read,
        kind: ReplicatedStore::kind(&()).into_owned(),
        name: store.name.clone(),
        source,
    })
}

/// Everything else that a plan is made from.
pub(crate) async fn observe(
    context: &Context,
    store: &StoreKey,
    status: ReplicatedStoreStatus,
) -> Result<Observed, Error> {
    let (children, machines) =
        try_join(children(context, store), context.machines.labels(&context.client)).await?;
    let reports = reports(context, store, &children).await;
    Ok(Observed { now: now(), status, children, reports, machines })
}

/// Where a pod's admin API is, once it has an address.
pub(crate) fn admin_address(pod: &Pod) -> Option<SocketAddr> {
    let ip: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    Some(SocketAddr::new(ip, u16::try_from(names::PORT_ADMIN).ok()?))
}

async fn children(context: &Context, store: &StoreKey) -> Result<Children, Error> {
    let ((stateful_sets, pods, claims), (services, config_maps, service_accounts), budgets) = tokio::try_join!(
        async {
            tokio::try_join!(list(context, store), list(context, store), list(context, store))
        },
        async {
            tokio::try_join!(list(context, store), list(context, store), list(context, store))
        },
        list(context, store),
    )?;
    Ok(Children {
        stateful_sets,
        pods,
        claims,
        services,
        config_maps,
        service_accounts,
        disruption_budgets: budgets,
    })
}

async fn list<K>(context: &Context, store: &StoreKey) -> Result<BTreeMap<String, K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(context.client.clone(), &store.namespace);
    let ours = ListParams::default().labels(&names::selector(&store.name));
    let found = api.list(&ours).await.map_err(|source| list_failed::<K>(store, source))?;
    Ok(found.into_iter().map(|object| (object.name_any(), object)).collect())
}

/// A report from every pod, asked at once.
async fn reports(
    context: &Context,
    store: &StoreKey,
    children: &Children,
) -> BTreeMap<String, Reported> {
    let addressed = children.pods.iter().filter_map(|(name, pod)| {
        let watched = Watched { name: name.clone(), admin: admin_address(pod)? };
        Some((PodUid(pod.uid()?), watched))
    });
    context.memory.set_pods(store, addressed.collect());
    let asked = children
        .pods
        .iter()
        .map(async |(name, pod)| (name.clone(), ask(context, store, pod).await));
    join_all(asked).await.into_iter().collect()
}

async fn ask(context: &Context, store: &StoreKey, pod: &Pod) -> Reported {
    let (Some(uid), Some(admin)) = (pod.uid().map(PodUid), admin_address(pod)) else {
        return Reported::Unknown { reason: "the pod has no address yet".to_owned() };
    };
    let reason = match context.nodes.report(admin).await {
        Ok(report) if report.name == pod.name_any() => {
            context.metrics.asked_node(NodeAnswer::Answered);
            let at = Instant::now();
            context.memory.learn(store, &uid, report.clone(), at);
            return known(Dated { at, report });
        }
        Ok(report) => format!("another node, {}, answers at the pod's address", report.name),
        Err(error) => error.to_string(),
    };
    context.metrics.asked_node(NodeAnswer::Unknown);
    match context.memory.last(store, &uid) {
        Some(last) => known(last),
        None => Reported::Unknown { reason },
    }
}

fn known(dated: Dated) -> Reported {
    Reported::Known { report: Box::new(dated.report), age: dated.at.elapsed() }
}

pub(crate) fn now() -> Time {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    // Whole seconds: what Kubernetes keeps of a time.
    Time(k8s_openapi::jiff::Timestamp::from_second(seconds).unwrap_or_default())
}

fn list_failed<K: Resource<DynamicType = ()>>(store: &StoreKey, source: kube::Error) -> Error {
    let kind = K::kind(&()).into_owned();
    Error::Api { verb: Verb::List, kind, name: format!("of {}", store.name), source }
}
