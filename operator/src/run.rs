//! The operator's life: reach the API server, be elected, reconcile, end in order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use kube::api::ListParams;
use kube::{Api, Client};
use quorate_api::ReplicatedStore;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::RunArgs;
use crate::client::HttpNodes;
use crate::context::Context;
use crate::controller;
use crate::health::{self, Vitals};
use crate::lease::{Election, Timing};
use crate::metrics::Metrics;

/// How long running reconciles may take to end. Below the Deployment's terminationGracePeriodSeconds.
const GRACE: Duration = Duration::from_secs(25);
/// How often the API server is tried while it cannot be reached at start.
const CONTACT_RETRY: Duration = Duration::from_secs(2);
const CONTACT_DEADLINE: Duration = Duration::from_secs(10);

/// Resolves when the process is told to end; every clone sees it.
pub(crate) type Stop = Shared<BoxFuture<'static, ()>>;

/// Runs until a signal (then `Ok`) or until leadership is lost (then an error: the process ends, so that nothing it
/// began goes on beside its successor).
///
/// # Errors
/// See above; also when the API server cannot be configured or the port for health cannot be bound.
pub(crate) async fn run(args: RunArgs) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let metrics = Metrics::new();
    let vitals = Vitals::new();
    let listener = TcpListener::bind(args.http)
        .await
        .with_context(|| format!("cannot serve health and metrics at {}", args.http))?;
    let routes = health::router(vitals.clone(), metrics.clone());
    let health = tokio::spawn(async move { axum::serve(listener, routes).await });

    let client = Client::try_default().await.context("no way to the API server is configured")?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespace = ?args.namespace, "started");
    let outcome = tokio::select! {
        outcome = serve(&args, client, &vitals, &metrics, &stop) => outcome,
        ended = health => Err(anyhow::anyhow!("the health server ended: {ended:?}")),
        () = stop.clone().then(|()| tokio::time::sleep(GRACE)) => {
            Err(anyhow::anyhow!("reconciles did not end within {} s", GRACE.as_secs()))
        }
    };
    tracing::info!("ended");
    outcome
}

async fn serve(
    args: &RunArgs,
    client: Client,
    vitals: &Vitals,
    metrics: &Metrics,
    stop: &Stop,
) -> anyhow::Result<()> {
    tokio::select! {
        () = contact(&client, args.namespace.as_deref(), vitals) => {}
        () = stop.clone() => return Ok(()),
    }
    let nodes = Arc::new(HttpNodes::new());
    let context =
        Arc::new(Context::new(client.clone(), nodes, metrics.clone(), args.pod_name.clone()));
    let namespace = args.namespace.as_deref();
    if args.no_leader_election {
        metrics.leading(true);
        controller::run(context, namespace, vitals, stop.clone()).await;
        return Ok(());
    }
    let timing = Timing::default();
    let mut election =
        Election::new(client, &args.pod_namespace, &args.lease, &args.pod_name, timing);
    tokio::select! {
        () = election.won(vitals) => {}
        () = stop.clone() => {
            // The attempt that was cut short may have won.
            election.release().await;
            return Ok(());
        }
    }
    metrics.leading(true);
    tracing::info!("leading");
    tokio::select! {
        () = controller::run(context, namespace, vitals, stop.clone()) => {
            election.release().await;
            Ok(())
        }
        lost = election.lost() => Err(lost.into()),
    }
}

/// Waits until the API server answers and knows the kind.
async fn contact(client: &Client, namespace: Option<&str>, vitals: &Vitals) {
    let stores: Api<kube::core::PartialObjectMeta<ReplicatedStore>> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let one = ListParams::default().limit(1);
    loop {
        match tokio::time::timeout(CONTACT_DEADLINE, stores.list_metadata(&one)).await {
            Ok(Ok(_)) => return vitals.is_ready(),
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot list ReplicatedStores: is the CRD installed?");
            }
            Err(_) => tracing::warn!("the API server does not answer"),
        }
        vitals.progressed();
        tokio::time::sleep(CONTACT_RETRY).await;
    }
}

fn stop_signal() -> anyhow::Result<Stop> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let told = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to end");
    };
    Ok(told.boxed().shared())
}
