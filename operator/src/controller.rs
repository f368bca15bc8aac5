//! Wakes reconciles: watches stores and what belongs to them, and runs one reconcile per store at a time.
//!
//! A wake-up carries a store's name and nothing else; the reconcile looks for itself and never learns the reason.
//! Stores are read through `DeserializeGuard`, so one that does not parse is one store's trouble, not the watch's.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::channel::mpsc;
use futures::{FutureExt, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use quorate_api::{ReplicatedStore, labels};
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::error::{Error, Persistence, pause_after};
use crate::health::Vitals;
use crate::lookout;
use crate::memory::StoreKey;
use crate::metrics::Outcome;
use crate::reconcile::{self, Pass};
use crate::run::Stop;

/// A store, or what is left of one that does not parse.
pub type Guarded = DeserializeGuard<ReplicatedStore>;

/// How many stores are reconciled at once.
const CONCURRENCY: u16 = 8;
/// How long wake-ups of one store are gathered.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// Runs over all namespaces until `stop`, for tests that want the controller whole.
pub async fn run_until(context: Context, stop: impl Future<Output = ()> + Send + 'static) {
    run(Arc::new(context), None, &Vitals::new(), stop.boxed().shared()).await;
}

/// Runs until `stop`, then lets running reconciles end.
pub(crate) async fn run(
    context: Arc<Context>,
    namespace: Option<&str>,
    vitals: &Vitals,
    stop: Stop,
) {
    let (wake, woken) = mpsc::channel(lookout::WAKE_UPS_MAX);
    let lookout = tokio::spawn(lookout::watch(
        Arc::clone(&context.nodes),
        Arc::clone(&context.memory),
        vitals.clone(),
        wake,
    ));
    let client = &context.client;
    let ours =
        watcher::Config::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::OPERATOR));
    let reconciles =
        Controller::new(scoped::<Guarded>(client, namespace), watcher::Config::default())
            .with_config(Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
            .owns(scoped::<StatefulSet>(client, namespace), ours.clone())
            .owns(scoped::<Service>(client, namespace), ours.clone())
            .owns(scoped::<ConfigMap>(client, namespace), ours.clone())
            .owns(scoped::<PodDisruptionBudget>(client, namespace), ours.clone())
            .watches(scoped::<Pod>(client, namespace), ours, |pod: Pod| store_of_pod(&pod))
            .reconcile_on(woken.map(|store| object_ref(&store)))
            .graceful_shutdown_on(stop)
            .run(reconcile_one, on_error, Arc::clone(&context));
    reconciles
        .for_each(|outcome| async {
            context.metrics.stores(context.memory.stores_count());
            // What a reconcile returns was logged where it was handled; what remains is the watch's own.
            if let Err(error @ kube::runtime::controller::Error::QueueError(_)) = outcome {
                tracing::warn!(%error, "a watch failed and is started again");
            }
        })
        .await;
    lookout.abort();
}

async fn reconcile_one(seen: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Error> {
    let store = StoreKey { namespace: seen.namespace().unwrap_or_default(), name: seen.name_any() };
    let began = Instant::now();
    let pass = reconcile::reconcile(&context, &store);
    let outcome = match tokio::time::timeout(reconcile::DEADLINE, pass).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::Deadline(reconcile::DEADLINE)),
    };
    let label = match &outcome {
        Ok(Pass::Settled | Pass::Gone) => Outcome::Settled,
        Ok(Pass::Progressing) => Outcome::Progressing,
        Ok(Pass::Invalid) => Outcome::Invalid,
        Err(error) => match error.persistence() {
            Persistence::Transient => Outcome::Transient,
            Persistence::Terminal => Outcome::Terminal,
        },
    };
    context.metrics.reconciled(label, began.elapsed());
    let pass = outcome?;
    context.memory.succeeded(&store);
    Ok(match pass {
        Pass::Settled | Pass::Invalid => Action::requeue(context.pace.settled),
        Pass::Progressing => Action::requeue(context.pace.progressing),
        Pass::Gone => Action::await_change(),
    })
}

fn on_error(seen: Arc<Guarded>, error: &Error, context: Arc<Context>) -> Action {
    let store = StoreKey { namespace: seen.namespace().unwrap_or_default(), name: seen.name_any() };
    let failures = context.memory.failed(&store);
    let pause = pause_after(error.persistence(), failures);
    tracing::warn!(
        namespace = store.namespace,
        store = store.name,
        error = error.sentence(),
        failures,
        retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
        "reconcile failed"
    );
    Action::requeue(pause)
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Pods belong to their StatefulSet; their label says to which store.
fn store_of_pod(pod: &Pod) -> Option<ObjectRef<Guarded>> {
    let name = pod.labels().get(labels::STORE)?;
    Some(ObjectRef::new(name).within(&pod.namespace()?))
}

fn object_ref(store: &StoreKey) -> ObjectRef<Guarded> {
    ObjectRef::new(&store.name).within(&store.namespace)
}
