//! The operator's own HTTP: `/livez`, `/readyz`, `/metrics`. It answers from memory and never calls the API server,
//! so an API server that is down makes no operator restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::metrics::Metrics;

/// How old the last sign of progress may be. Well above any deadline that a loop can sit in.
pub(crate) const PROGRESS_AGE_MAX: Duration = Duration::from_secs(90);

/// Signs of life, written by the loops and read by the probes.
#[derive(Clone)]
pub(crate) struct Vitals {
    shared: Arc<Shared>,
}

struct Shared {
    start: Instant,
    /// Milliseconds after `start` of the last sign of progress.
    progress_ms: AtomicU64,
    ready: AtomicBool,
}

impl Vitals {
    #[must_use]
    pub(crate) fn new() -> Self {
        let shared = Shared {
            start: Instant::now(),
            progress_ms: AtomicU64::new(0),
            ready: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A loop of this process went round.
    pub(crate) fn progressed(&self) {
        let elapsed = u64::try_from(self.shared.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.shared.progress_ms.store(elapsed, Ordering::Relaxed);
    }

    /// The API server was reached and the kind is installed. Standing by is ready too.
    pub(crate) fn is_ready(&self) {
        self.shared.ready.store(true, Ordering::Relaxed);
    }

    fn live(&self) -> bool {
        let last = Duration::from_millis(self.shared.progress_ms.load(Ordering::Relaxed));
        self.shared.start.elapsed().saturating_sub(last) < PROGRESS_AGE_MAX
    }

    fn ready(&self) -> bool {
        self.shared.ready.load(Ordering::Relaxed)
    }
}

impl Default for Vitals {
    fn default() -> Self {
        Self::new()
    }
}

/// The routes.
pub(crate) fn router(vitals: Vitals, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(vitals)
        .route("/metrics", get(move || std::future::ready(page(&metrics))))
}

async fn livez(State(vitals): State<Vitals>) -> (StatusCode, &'static str) {
    if vitals.live() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no loop has gone round for 90 s\n")
    }
}

async fn readyz(State(vitals): State<Vitals>) -> (StatusCode, &'static str) {
    if vitals.ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the API server has not been reached yet\n")
    }
}

fn page(metrics: &Metrics) -> impl IntoResponse + use<> {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, OPENMETRICS)], metrics.text())
}

/// Asks `url` once.
///
/// # Errors
/// When there is no answer in time, or it is not 200.
pub(crate) async fn probe(url: http::Uri) -> anyhow::Result<()> {
    const DEADLINE: Duration = Duration::from_secs(10);
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<http_body_util::Empty<hyper::body::Bytes>>();
    let answer = tokio::time::timeout(DEADLINE, client.get(url.clone()))
        .await
        .with_context(|| format!("{url} did not answer within {} s", DEADLINE.as_secs()))?
        .with_context(|| format!("cannot reach {url}"))?;
    anyhow::ensure!(answer.status() == StatusCode::OK, "{url} answered {}", answer.status());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readiness_follows_the_first_contact_with_the_api_server() {
        let vitals = Vitals::new();
        assert_eq!(readyz(State(vitals.clone())).await.0, StatusCode::SERVICE_UNAVAILABLE);
        vitals.is_ready();
        assert_eq!(readyz(State(vitals.clone())).await.0, StatusCode::OK);
        assert_eq!(livez(State(vitals)).await.0, StatusCode::OK);
    }
}
