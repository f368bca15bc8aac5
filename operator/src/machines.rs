//! The labels of the cluster's machines: in which region and zone a pod runs.
//!
//! They hardly ever change and a cluster may have thousands, so all reconciles share one list of a few seconds' age.
//! Where the operator may not read them there are none, and zones come from the pods' own labels.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use quorate_plan::Machine;
use tokio::sync::Mutex;

use crate::error::{Error, Verb};

/// How old the list may be. A machine that is younger is not known yet, and pods on it have no zone for so long.
const AGE_MAX: Duration = Duration::from_secs(10);

type Labels = BTreeMap<String, Machine>;

#[derive(Default)]
pub struct Machines {
    /// Held while listing, so that reconciles that come meanwhile wait for the same answer.
    listed: Mutex<Option<(Instant, Labels)>>,
}

impl Machines {
    pub(crate) async fn labels(&self, client: &Client) -> Result<Labels, Error> {
        let mut listed = self.listed.lock().await;
        if let Some((at, labels)) = &*listed
            && at.elapsed() < AGE_MAX
        {
            return Ok(labels.clone());
        }
        let at = Instant::now();
        let labels = list(client).await?;
        *listed = Some((at, labels.clone()));
        Ok(labels)
    }
}

async fn list(client: &Client) -> Result<Labels, Error> {
    let api: Api<Node> = Api::all(client.clone());
    match api.list_metadata(&ListParams::default()).await {
        Ok(found) => {
            let named = found.into_iter().map(|machine| {
                let labels = machine.labels().clone();
                (machine.name_any(), Machine { labels })
            });
            Ok(named.collect())
        }
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            tracing::debug!("machines may not be read: zones come from the pods' labels");
            Ok(Labels::new())
        }
        Err(source) => Err(Error::Api {
            verb: Verb::List,
            kind: "Node".to_owned(),
            name: "of the cluster".to_owned(),
            source,
        }),
    }
}
