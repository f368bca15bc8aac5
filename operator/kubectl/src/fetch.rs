//! Reads what there is to show: the resource, its pods, a report from each node with a deadline. Asks nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use http::Method;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use quorate_api::ReplicatedStore;
use quorate_model::admin::NodeReport;
use quorate_plan::names;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// How long a node may take to answer through the API server.
const REPORT_DEADLINE: Duration = Duration::from_secs(3);

/// A store as it is seen from outside.
pub(crate) struct Seen {
    pub(crate) store: ReplicatedStore,
    pub(crate) pods: BTreeMap<String, Pod>,
    /// By pod; a node that did not answer has the reason instead.
    pub(crate) reports: BTreeMap<String, Result<NodeReport, String>>,
}

pub(crate) async fn see(client: &Client, namespace: &str, name: &str) -> anyhow::Result<Seen> {
    let stores: Api<ReplicatedStore> = Api::namespaced(client.clone(), namespace);
    let Some(mut store) = stores.get_opt(name).await.context("cannot read the store")? else {
        bail!("there is no ReplicatedStore {name} in namespace {namespace}");
    };
    store.managed_fields_mut().clear();
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let of_store = ListParams::default().labels(&names::selector(name));
    let pods = pods.list(&of_store).await.context("cannot list the store's pods")?;
    let pods: BTreeMap<String, Pod> = pods
        .into_iter()
        .map(|mut pod| {
            pod.managed_fields_mut().clear();
            (pod.name_any(), pod)
        })
        .collect();
    let mut asked = JoinSet::new();
    for pod in pods.keys() {
        let (client, namespace, pod) = (client.clone(), namespace.to_owned(), pod.clone());
        asked.spawn(async move {
            let answer =
                tokio::time::timeout(REPORT_DEADLINE, ask(&client, &namespace, &pod)).await;
            let report = match answer {
                Ok(Ok(report)) => Ok(report),
                Ok(Err(error)) => Err(format!("{error:#}")),
                Err(_) => Err(format!("no answer within {} s", REPORT_DEADLINE.as_secs())),
            };
            (pod, report)
        });
    }
    let reports = asked.join_all().await.into_iter().collect();
    Ok(Seen { store, pods, reports })
}

async fn ask(client: &Client, namespace: &str, pod: &str) -> anyhow::Result<NodeReport> {
    let text = ask_node(client, namespace, pod, Method::GET, "/v1/report").await?;
    Ok(serde_json::from_str(&text)?)
}

/// What a node's admin API answers, through the API server.
pub(crate) async fn ask_node(
    client: &Client,
    namespace: &str,
    pod: &str,
    method: Method,
    path: &str,
) -> anyhow::Result<String> {
    let port = names::PORT_ADMIN;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{path}");
    let request = http::Request::builder().method(method).uri(path).body(Vec::new())?;
    Ok(client.request_text(request).await?)
}

impl Seen {
    pub(crate) fn as_json(&self) -> anyhow::Result<Value> {
        let reports: BTreeMap<&String, Value> = self
            .reports
            .iter()
            .map(|(pod, report)| {
                let value = match report {
                    Ok(report) => serde_json::to_value(report)?,
                    Err(reason) => json!({ "unknown": reason }),
                };
                Ok((pod, value))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(json!({ "store": self.store, "pods": self.pods, "reports": reports }))
    }
}
