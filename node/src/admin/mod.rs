//! The admin HTTP API: health, metrics and what the operator asks. The paths and types are `quorate_model::admin`'s.
//!
//! It shows and forwards; it decides nothing. It has a port of its own, which clients are not given.

mod answers;
mod report;
mod rollbacks;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use quorate_group::host::{Failure, Reply, Request, Status};
use quorate_model::admin::{
    Bootstrap, ErrorCode, Handover, NodeReport, ProposeTopology, Proposed, Readiness,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::driver::Pulse;
use crate::metrics::Metrics;
use crate::peer::Remote;
use crate::rollback::Rollbacks;
use crate::router::Requester;
use answers::{Body, Refused};

pub use report::About;

/// The driver wakes at least every 100 ms; a disk that holds it up for this long is worth a restart.
const PULSE_MAX: Duration = Duration::from_secs(10);
const PROPOSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// What the API shows. Cloning is cheap.
#[derive(Clone)]
pub struct Admin {
    pub about: Arc<About>,
    pub requester: Requester,
    pub status: Arc<ArcSwap<Status>>,
    pub metrics: Metrics,
    pub pulse: Arc<Pulse>,
    pub clock: Clock,
    /// Cancelled when the node begins to stop.
    pub stopping: CancellationToken,
    /// Set once the host has recovered.
    pub rollbacks: Arc<OnceLock<Rollbacks>>,
}

/// Serves until `over`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    admin: Admin,
    listener: TcpListener,
    over: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/readyz/caught-up", get(caught_up))
        .route("/metrics", get(metrics))
        .route("/v1/report", get(report))
        .route("/v1/bootstrap", post(bootstrap))
        .route("/v1/topology", post(topology))
        .route("/v1/handover", post(handover))
        .route("/v1/rollbacks", get(rollbacks::list))
        .route("/v1/rollbacks/{name}", get(rollbacks::read).delete(rollbacks::delete))
        .route("/v1/rollbacks/{name}/replay", post(rollbacks::replay))
        .fallback(answers::no_such_path)
        .with_state(admin);
    axum::serve(listener, router).with_graceful_shutdown(over.cancelled_owned()).await
}

async fn livez(State(admin): State<Admin>) -> Response {
    let age = match admin.pulse.age(&admin.clock) {
        None => return "starting\n".into_response(),
        Some(age) if age < PULSE_MAX => return "ok\n".into_response(),
        Some(age) => age,
    };
    let text = format!("the driver made no progress for {} ms\n", age.as_millis());
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn readyz(State(admin): State<Admin>) -> Response {
    readiness(admin.not_serving())
}

async fn caught_up(State(admin): State<Admin>) -> Response {
    let mut reasons = admin.not_serving();
    let view = admin.requester.table().view();
    reasons.extend(report::not_caught_up(&view, &admin.status.load()));
    readiness(reasons)
}

fn readiness(reasons: Vec<String>) -> Response {
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, reasons })).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match admin.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn report(State(admin): State<Admin>) -> Json<NodeReport> {
    let view = admin.requester.table().view();
    let not_serving = admin.not_serving();
    let rollbacks = admin.rollbacks.get().map(Rollbacks::list).unwrap_or_default();
    let status = admin.status.load();
    Json(report::report(&admin.about, &admin.clock, &view, &status, not_serving, rollbacks))
}

async fn bootstrap(
    State(admin): State<Admin>,
    Body(request): Body<Bootstrap>,
) -> Result<Json<Proposed>, Refused> {
    if request.node != admin.about.node {
        let message = format!("this is node {}, not {}", admin.about.node, request.node);
        return Err(Refused::new(ErrorCode::WrongNode, message));
    }
    answers::check_topology(&request.topology, admin.about.store)?;
    let epoch = request.topology.epoch;
    let here = Request::Bootstrap { topology: Box::new(request.topology) };
    match admin.here(here).await.map_err(Refused::from)? {
        Reply::Proposed { epoch } => Ok(Json(Proposed { epoch })),
        Reply::Value { .. }
        | Reply::Waited { .. }
        | Reply::HandedOver { .. }
        | Reply::Topology(_)
        | Reply::Index(_)
        | Reply::Read { .. }
        | Reply::Seen { .. }
        | Reply::Known(_)
        | Reply::Done => Ok(Json(Proposed { epoch })),
    }
}

async fn topology(
    State(admin): State<Admin>,
    Body(request): Body<ProposeTopology>,
) -> Result<Json<Proposed>, Refused> {
    let ProposeTopology { expected, topology } = request;
    answers::check_topology(&topology, admin.about.store)?;
    if topology.epoch != expected.next() {
        let message =
            format!("`topology.epoch` must be {}, not {}", expected.next(), topology.epoch);
        return Err(Refused::new(ErrorCode::Invalid, message));
    }
    let epoch = topology.epoch;
    let propose = Remote::ProposeTopology { expected, topology };
    let deadline = Instant::now() + PROPOSAL_TIMEOUT;
    match admin.requester.ask(propose, deadline).await.map_err(Refused::from)? {
        Reply::Proposed { epoch } => Ok(Json(Proposed { epoch })),
        Reply::Value { .. }
        | Reply::Waited { .. }
        | Reply::HandedOver { .. }
        | Reply::Topology(_)
        | Reply::Index(_)
        | Reply::Read { .. }
        | Reply::Seen { .. }
        | Reply::Known(_)
        | Reply::Done => Ok(Json(Proposed { epoch })),
    }
}

async fn handover(State(admin): State<Admin>) -> Result<Json<Handover>, Refused> {
    match admin.here(Request::Handover).await.map_err(Refused::from)? {
        Reply::HandedOver { moved, kept } => {
            let kept = kept.iter().map(ToString::to_string).collect();
            Ok(Json(Handover { moved, kept }))
        }
        Reply::Value { .. }
        | Reply::Waited { .. }
        | Reply::Proposed { .. }
        | Reply::Topology(_)
        | Reply::Index(_)
        | Reply::Read { .. }
        | Reply::Seen { .. }
        | Reply::Known(_)
        | Reply::Done => Ok(Json(Handover { moved: Vec::new(), kept: Vec::new() })),
    }
}

impl Admin {
    async fn here(&self, request: Request) -> Result<Reply, Failure> {
        let sent = self.requester.wires().here(request, None);
        sent.map_err(|_| Failure::Overloaded)?.outcome().await
    }

    /// Why the node does not serve; empty when it does.
    fn not_serving(&self) -> Vec<String> {
        let mut reasons = report::not_serving(
            &self.requester.table().view(),
            &self.status.load(),
            self.about.node,
        );
        if self.stopping.is_cancelled() {
            reasons.push("the node is stopping".to_owned());
        }
        reasons
    }
}
