//! Carries out a plan's one action. Each is safe to repeat: the preconditions are in the action.

use std::net::SocketAddr;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use quorate_model::admin::{Bootstrap, ErrorCode, ProposeTopology};
use quorate_plan::{Action, Children, HandOver};
use serde_json::json;

use crate::apply::Applier;
use crate::client::{NodeError, Nodes};
use crate::error::{Error, Verb};
use crate::observe::admin_address;

/// What actions are carried out with.
pub(crate) struct Actor<'a> {
    pub(crate) applier: &'a Applier<'a>,
    pub(crate) nodes: &'a dyn Nodes,
    /// As observed by the pass that made the plan.
    pub(crate) children: &'a Children,
}

impl Actor<'_> {
    pub(crate) async fn act(&self, action: &Action) -> Result<(), Error> {
        tracing::info!(namespace = self.applier.namespace, ?action, "acting");
        match action {
            // The status of this pass contains the choice: writing it is the action.
            Action::RecordBootstrap(_) => Ok(()),
            Action::Bootstrap { pod, request } => self.bootstrap(pod, request).await,
            Action::ProposeTopology { via, request, why: _ } => self.propose(via, request).await,
            Action::RestartPod { pod, uid, hand_over, why: _ } => {
                self.restart(pod, uid, *hand_over).await
            }
            Action::ScaleDown { stateful_set, uid, resource_version, from: _, to } => {
                let change = json!({ "spec": { "replicas": to } });
                let version = Some(resource_version.as_str());
                self.applier
                    .merge::<StatefulSet>(Verb::Scale, stateful_set, uid, version, change)
                    .await
            }
            Action::ReplaceVolume { node: _, claim, claim_uid, pod, pod_uid } => {
                self.delete_claim(claim, claim_uid).await?;
                match pod_uid {
                    Some(uid) => self.applier.delete_pod(pod, uid).await,
                    None => Ok(()),
                }
            }
            Action::DeleteClaim { claim, uid } => self.delete_claim(claim, uid).await,
        }
    }

    async fn bootstrap(&self, pod: &str, first: &Bootstrap) -> Result<(), Error> {
        const WHAT: &str = "start the store on its first node";
        let admin = self.address(pod).ok_or(Error::NoNode { what: WHAT })?;
        match self.nodes.bootstrap(admin, first).await {
            Ok(_) => Ok(()),
            Err(NodeError::Refused { body, .. }) if body.code == ErrorCode::AlreadyBootstrapped => {
                Ok(())
            }
            Err(source) => Err(Error::Node { what: WHAT, source }),
        }
    }

    /// Asks one member after another until one knows the outcome. Asking again is safe: the epoch is compared.
    async fn propose(&self, via: &[String], change: &ProposeTopology) -> Result<(), Error> {
        const WHAT: &str = "change the topology";
        let mut outcome = Err(Error::NoNode { what: WHAT });
        for admin in via.iter().filter_map(|pod| self.address(pod)) {
            match self.nodes.propose(admin, change).await {
                Ok(_) => return Ok(()),
                Err(NodeError::Refused { body, .. }) if body.code == ErrorCode::EpochMoved => {
                    tracing::debug!(%body, "the topology moved on: looking again");
                    return Ok(());
                }
                Err(source) => {
                    tracing::debug!(%source, %admin, "asking the next member");
                    outcome = Err(Error::Node { what: WHAT, source });
                }
            }
        }
        outcome
    }

    async fn restart(&self, pod: &str, uid: &str, hand_over: HandOver) -> Result<(), Error> {
        match (hand_over, self.address(pod)) {
            (HandOver::First, Some(admin)) => match self.nodes.handover(admin).await {
                Ok(handover) => tracing::info!(pod, ?handover, "handed over"),
                // It hands over on SIGTERM too; a node that cannot is the one that most needs the restart.
                Err(error) => tracing::warn!(pod, %error, "no handover before the restart"),
            },
            (HandOver::First, None) | (HandOver::NotNeeded, _) => {}
        }
        self.applier.delete_pod(pod, uid).await
    }

    async fn delete_claim(&self, claim: &str, uid: &str) -> Result<(), Error> {
        self.applier
            .delete_seen::<PersistentVolumeClaim>(self.children.claims.get(claim), uid)
            .await
    }

    fn address(&self, pod: &str) -> Option<SocketAddr> {
        self.children.pods.get(pod).and_then(admin_address)
    }
}
