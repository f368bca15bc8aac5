//! A namespace of a test's own, and what tests do in it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace as Object, Pod};
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::{Api, Resource};

use super::{Connected, MINUTE, eventually};
use crate::cluster::Kubectl;
use crate::cluster::progress::Probe;

pub struct Namespace<'a> {
    connected: &'a Connected,
    kubectl: Kubectl,
    name: String,
}

impl<'a> Namespace<'a> {
    pub(super) async fn create(connected: &'a Connected, prefix: &str) -> Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let name = format!("{prefix}-{:x}", since.as_millis());
        let object = Object {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            ..Object::default()
        };
        Api::<Object>::all(connected.client.clone())
            .create(&PostParams::default(), &object)
            .await?;
        Ok(Self { connected, kubectl: connected.cluster.kubectl()?, name })
    }

    pub(super) async fn delete(&self) -> Result<()> {
        let all = Api::<Object>::all(self.connected.client.clone());
        eventually("the namespace's deletion to be accepted", MINUTE, async || {
            all.delete(&self.name, &DeleteParams::default()).await?;
            Ok(Probe::Ready(()))
        })
        .await?;
        // Kubelets that lost the API server ask it again half a minute later, and only then see that pods are to go.
        eventually("the namespace's end", 4 * MINUTE, async || {
            Ok(match all.get_opt(&self.name).await? {
                None => Probe::Ready(()),
                Some(left) => Probe::Waiting(format!("{:?}", left.status)),
            })
        })
        .await
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn connected(&self) -> &Connected {
        self.connected
    }

    /// The typed API of a kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.connected.client.clone(), &self.name)
    }

    /// kubectl in this namespace.
    pub async fn kubectl<'b>(&self, args: impl IntoIterator<Item = &'b str>) -> Result<String> {
        let mut command = self.kubectl.command(["--namespace", &self.name]);
        command.args(args);
        tokio::task::spawn_blocking(move || crate::cluster::command::output(&mut command)).await?
    }

    /// Applies manifests that do not name a namespace.
    pub async fn apply(&self, manifests: &str) -> Result<()> {
        let mut command = self.kubectl.command(["--namespace", &self.name]);
        command.args(["apply", "--server-side", "--filename", "-"]);
        let manifests = manifests.to_owned();
        tokio::task::spawn_blocking(move || {
            crate::cluster::command::output_of_input(&mut command, &manifests)
        })
        .await??;
        Ok(())
    }

    /// Runs a program in a pod's first container.
    pub async fn exec(&self, pod: &str, program: &[&str]) -> Result<String> {
        self.kubectl(["exec", pod, "--"].into_iter().chain(program.iter().copied())).await
    }

    /// The pods with these labels, in the order of their names.
    pub async fn pods(&self, labels: &str) -> Result<Vec<Pod>> {
        let found = self.api::<Pod>().list(&ListParams::default().labels(labels)).await?;
        Ok(found.items)
    }

    /// Waits until exactly so many pods with these labels exist and all are ready.
    pub async fn wait_for_ready_pods(
        &self,
        labels: &str,
        count: usize,
        limit: Duration,
    ) -> Result<Vec<Pod>> {
        eventually(&format!("{count} ready pods with {labels}"), limit, async || {
            let pods = self.pods(labels).await?;
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            Ok(if ready == count && pods.len() == count {
                Probe::Ready(pods)
            } else {
                Probe::Waiting(format!("{} exist, {ready} are ready", pods.len()))
            })
        })
        .await
    }

    /// The address of a running pod.
    pub async fn pod_address(&self, pod: &str) -> Result<String> {
        let found = self.api::<Pod>().get(pod).await?;
        match found.status.and_then(|status| status.pod_ip) {
            Some(address) => Ok(address),
            None => bail!("pod {pod} has no address"),
        }
    }
}

/// Whether a pod is ready and stays: one that is being deleted does not count.
fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}
