//! One pass for one store: observe, validate, plan, check, apply, act, status.
//!
//! ```text
//! observe   resource, children, machines, a report from every node      (this crate)
//! validate  the resource becomes a ValidStore, or errors with their fix (plan)
//! plan      children, labels, at most one disruptive action             (plan)
//! check     an independent look at the plan                             (plan)
//! apply     what differs, in the plan's order                           (this crate)
//! act       the one action                                              (this crate)
//! status    what users are told, when it differs                        (plan, this crate)
//! ```
//!
//! A pass knows a store's name and nothing else: neither why it was woken nor what an earlier pass did. It may be cut
//! off between any two calls; the next one looks again and goes on from there.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use quorate_api::ReplicatedStore;
use quorate_plan::{
    Next, Observed, Outcome, Plan, PodLabels, ValidStore, WaitingOn, check, labels_of, plan,
    validate,
};
use serde_json::json;

use crate::act::Actor;
use crate::apply::Applier;
use crate::context::Context;
use crate::error::{Error, Persistence, Verb};
use crate::memory::StoreKey;
use crate::metrics::Acted;
use crate::{malformed, observe, status};

/// How long a pass may take: above the longest action, a handover.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How many passes in a row must fail before a failure that may pass is worth a condition.
const FAILURES_SHOWN_MIN: u32 = 3;

/// How a pass ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pass {
    /// Everything is as asked for, or left alone on purpose.
    Settled,
    /// Something was done, or is waited for.
    Progressing,
    /// The resource cannot be carried out as it is written.
    Invalid,
    /// The resource is gone, or going: Kubernetes takes its children with it.
    Gone,
}

/// Does one pass.
///
/// # Errors
/// What could not be read or written. Whatever was done before stays done.
pub async fn reconcile(context: &Context, store: &StoreKey) -> Result<Pass, Error> {
    let resource = match observe::resource(context, store).await? {
        None => {
            context.memory.forget(store);
            return Ok(Pass::Gone);
        }
        Some(DeserializeGuard(Err(invalid))) => {
            malformed::report(context, store, &invalid).await?;
            return Ok(Pass::Invalid);
        }
        Some(DeserializeGuard(Ok(resource))) => resource,
    };
    if resource.metadata.deletion_timestamp.is_some() {
        context.memory.forget(store);
        return Ok(Pass::Gone);
    }
    let status = resource.status.clone().unwrap_or_default();
    let observed = Box::pin(observe::observe(context, store, status)).await?;
    context.memory.leaders_are_seen(store);
    match validate(&resource) {
        Ok(valid) => Box::pin(follow(context, store, &resource, &valid, &observed)).await,
        Err(errors) => {
            let labelled = label_leaders(context, store, resource.uid(), &observed).await;
            let outcome = Outcome::Invalid { errors: &errors };
            publish(context, &resource, &observed, outcome).await?;
            labelled?;
            Ok(Pass::Invalid)
        }
    }
}

/// Plans, checks and carries out.
async fn follow(
    context: &Context,
    key: &StoreKey,
    resource: &ReplicatedStore,
    store: &ValidStore,
    observed: &Observed,
) -> Result<Pass, Error> {
    let plan = plan(store, observed);
    let violations = check(store, observed, &plan);
    if !violations.is_empty() {
        tracing::error!(namespace = key.namespace, store = key.name, ?violations, "plan refused");
        let outcome = Outcome::Refused { store, plan: &plan, violations: &violations };
        publish(context, resource, observed, outcome).await?;
        return Ok(Pass::Progressing);
    }
    let carried_out = carry_out(context, store, observed, &plan).await;
    let failure = carried_out.as_ref().err().filter(|error| is_worth_showing(context, key, error));
    let sentence = failure.map(Error::sentence);
    let outcome = Outcome::Planned { store, plan: &plan, failure: sentence.as_deref() };
    let published = publish(context, resource, observed, outcome).await;
    carried_out.and(published)?;
    Ok(match &plan.next {
        Next::Settled => Pass::Settled,
        Next::Wait(reasons) if reasons.contains(&WaitingOn::Paused) => Pass::Settled,
        Next::Wait(_) | Next::Act(_) => Pass::Progressing,
    })
}

/// Applies the plan's parts in their order, then its action. Labels follow a failover even when a child cannot be
/// applied: the two have nothing to do with each other.
async fn carry_out(
    context: &Context,
    store: &ValidStore,
    observed: &Observed,
    plan: &Plan,
) -> Result<(), Error> {
    let Plan { children, prune, pod_labels, claim_growth, next } = plan;
    let applier = Applier {
        client: &context.client,
        metrics: &context.metrics,
        namespace: &store.namespace,
        owner_uid: &store.uid,
    };
    let applied = async {
        if let Some(children) = children {
            applier.children(children, &observed.children).await?;
        }
        for object in prune {
            applier.prune(object, &observed.children).await?;
        }
        Ok::<(), Error>(())
    }
    .await;
    label(&applier, pod_labels).await?;
    applied?;
    for claim in claim_growth {
        let size = json!({ "spec": { "resources": { "requests": { "storage": claim.size } } } });
        applier
            .merge::<PersistentVolumeClaim>(Verb::Grow, &claim.claim, &claim.uid, None, size)
            .await?;
    }
    match next {
        Next::Act(action) => {
            let nodes = &*context.nodes;
            let actor = Actor { applier: &applier, nodes, children: &observed.children };
            let acted = actor.act(action).await;
            context.metrics.acted(if acted.is_ok() { Acted::Done } else { Acted::Failed });
            acted
        }
        Next::Wait(_) | Next::Settled => Ok(()),
    }
}

/// Lets the labels follow the leaders of a store that is otherwise left alone: clients must find them.
pub(crate) async fn label_leaders(
    context: &Context,
    store: &StoreKey,
    uid: Option<String>,
    observed: &Observed,
) -> Result<(), Error> {
    let Some(owner_uid) = uid else { return Ok(()) };
    let Ok(id) = owner_uid.parse() else { return Ok(()) };
    let applier = Applier {
        client: &context.client,
        metrics: &context.metrics,
        namespace: &store.namespace,
        owner_uid: &owner_uid,
    };
    label(&applier, &labels_of(id, observed)).await
}

async fn label(applier: &Applier<'_>, pod_labels: &[PodLabels]) -> Result<(), Error> {
    for pod in pod_labels {
        let change = json!({ "metadata": { "labels": pod.labels } });
        applier.merge::<Pod>(Verb::Label, &pod.pod, &pod.uid, None, change).await?;
    }
    Ok(())
}

async fn publish(
    context: &Context,
    resource: &ReplicatedStore,
    observed: &Observed,
    outcome: Outcome<'_>,
) -> Result<(), Error> {
    let report = quorate_plan::report(resource, observed, outcome);
    status::publish(context, resource, report).await
}

/// A conflict that the next pass resolves is not worth a condition that comes and goes.
fn is_worth_showing(context: &Context, store: &StoreKey, error: &Error) -> bool {
    match error.persistence() {
        Persistence::Terminal => true,
        Persistence::Transient => context.memory.failures(store) + 1 >= FAILURES_SHOWN_MIN,
    }
}
