//! Writes children: server-side apply with one field manager, only when something differs, and deletes that can hit
//! nothing but the object that was seen.
//!
//! A child that exists and is not this store's own is never taken over, although a forced apply would.

mod difference;

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use quorate_plan::build::Desired;
use quorate_plan::{Children, Prune};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Verb};
use crate::metrics::{Metrics, Written};

/// The field manager of every apply. Changing it would orphan the fields that earlier versions own.
pub(crate) const FIELD_MANAGER: &str = quorate_api::labels::OPERATOR;

/// A kind that stores have as children.
pub(crate) trait Child:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Child for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Writes on behalf of one store.
pub(crate) struct Applier<'a> {
    pub(crate) client: &'a Client,
    pub(crate) metrics: &'a Metrics,
    pub(crate) namespace: &'a str,
    /// The store's uid: what makes a child this store's own.
    pub(crate) owner_uid: &'a str,
}

impl Applier<'_> {
    /// Makes the children as wanted, in the order of [`Desired`]: what pods refer to comes before the pods.
    pub(crate) async fn children(&self, wanted: &Desired, live: &Children) -> Result<(), Error> {
        // Destructured without `..`: a kind that is added to either side must be dealt with here.
        let Desired { service_account, config_map, services, disruption_budget, stateful_sets } =
            wanted;
        let Children {
            stateful_sets: live_stateful_sets,
            pods: _,
            claims: _,
            services: live_services,
            config_maps: live_config_maps,
            service_accounts: live_service_accounts,
            disruption_budgets: live_disruption_budgets,
        } = live;
        self.keep([service_account], live_service_accounts).await?;
        self.keep([config_map], live_config_maps).await?;
        self.keep(services, live_services).await?;
        self.keep(disruption_budget, live_disruption_budgets).await?;
        self.keep(stateful_sets, live_stateful_sets).await
    }

    /// Deletes an object of the store that is no longer wanted.
    pub(crate) async fn prune(&self, prune: &Prune, live: &Children) -> Result<(), Error> {
        match prune {
            Prune::DisruptionBudget { name, uid } => {
                self.delete_seen(live.disruption_budgets.get(name), uid).await
            }
            Prune::StatefulSet { name, uid } => {
                self.delete_seen(live.stateful_sets.get(name), uid).await
            }
            Prune::Service { name, uid } => self.delete_seen(live.services.get(name), uid).await,
        }
    }

    /// Deletes exactly the object that was seen: neither a successor of its name (uid) nor a state of it that nobody
    /// looked at (resourceVersion). Nothing happens when what was seen is not what the plan means.
    pub(crate) async fn delete_seen<K: Child>(
        &self,
        seen: Option<&K>,
        uid: &str,
    ) -> Result<(), Error> {
        let Some(seen) = seen.filter(|seen| seen.uid().as_deref() == Some(uid)) else {
            return Ok(());
        };
        if seen.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        self.delete::<K>(&seen.name_any(), uid, seen.resource_version()).await
    }

    /// Deletes the pod with this uid. Its resourceVersion moves with every probe and is no precondition.
    pub(crate) async fn delete_pod(&self, name: &str, uid: &str) -> Result<(), Error> {
        self.delete::<Pod>(name, uid, None).await
    }

    /// Merges `change` into an object, with its uid, and where given its resourceVersion, as preconditions.
    pub(crate) async fn merge<K: Child>(
        &self,
        verb: Verb,
        name: &str,
        uid: &str,
        resource_version: Option<&str>,
        mut change: Value,
    ) -> Result<(), Error> {
        change["metadata"]["uid"] = Value::from(uid);
        if let Some(version) = resource_version {
            change["metadata"]["resourceVersion"] = Value::from(version);
        }
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..Default::default() };
        self.api::<K>()
            .patch_metadata(name, &params, &Patch::Merge(change))
            .await
            .map_err(|source| failed::<K>(verb, name, source))?;
        self.metrics.wrote(Written::Merge);
        Ok(())
    }

    async fn keep<'w, K: Child>(
        &self,
        wanted: impl IntoIterator<Item = &'w K>,
        live: &BTreeMap<String, K>,
    ) -> Result<(), Error> {
        for child in wanted {
            if self.is_due(child, live.get(&child.name_any())).await? {
                self.apply(child).await?;
            }
        }
        Ok(())
    }

    async fn delete<K: Child>(
        &self,
        name: &str,
        uid: &str,
        resource_version: Option<String>,
    ) -> Result<(), Error> {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version };
        let params = DeleteParams::background().preconditions(preconditions);
        match self.api::<K>().delete(name, &params).await {
            Ok(_) => {
                self.metrics.wrote(Written::Delete);
                tracing::info!(namespace = self.namespace, kind = %K::kind(&()), name, "deleted");
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(source) => Err(failed::<K>(Verb::Delete, name, source)),
        }
    }

    fn api<K: Child>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    async fn is_due<K: Child>(&self, wanted: &K, live: Option<&K>) -> Result<bool, Error> {
        let name = wanted.name_any();
        let Some(live) = live else {
            // Not among what the labels found: absent, or somebody else's.
            let there = self
                .api::<K>()
                .get_metadata_opt(&name)
                .await
                .map_err(|source| failed::<K>(Verb::Read, &name, source))?;
            return match there {
                Some(there) if !self.owns(&there) => Err(foreign::<K>(name)),
                Some(_) | None => Ok(true),
            };
        };
        if !self.owns(live) {
            return Err(foreign::<K>(name));
        }
        if live.meta().deletion_timestamp.is_some() {
            // It comes back when it is gone: what is applied to it would go with it.
            return Ok(false);
        }
        let encode = |child: &K| {
            serde_json::to_value(child).map_err(|source| Error::Encode {
                kind: K::kind(&()).into_owned(),
                name: child.name_any(),
                source,
            })
        };
        Ok(difference::differs(&encode(wanted)?, &encode(live)?, FIELD_MANAGER))
    }

    async fn apply<K: Child>(&self, child: &K) -> Result<(), Error> {
        let name = child.name_any();
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.api::<K>()
            .patch(&name, &params, &Patch::Apply(child))
            .await
            .map_err(|source| failed::<K>(Verb::Apply, &name, source))?;
        self.metrics.wrote(Written::Apply);
        tracing::info!(namespace = self.namespace, kind = %K::kind(&()), name, "applied");
        Ok(())
    }

    fn owns<K: ResourceExt>(&self, child: &K) -> bool {
        child.owner_references().iter().any(|owner| owner.uid == self.owner_uid)
    }
}

fn failed<K: Child>(verb: Verb, name: &str, source: kube::Error) -> Error {
    Error::Api { verb, kind: K::kind(&()).into_owned(), name: name.to_owned(), source }
}

fn foreign<K: Child>(name: String) -> Error {
    Error::Foreign { kind: K::kind(&()).into_owned(), name }
}
