//! The link to the nodes: their admin HTTP API behind the [`Nodes`] trait, each request with a deadline.
//!
//! This is the only room that opens a connection to a node, in one place ([`HttpNodes::new`]), so that TLS has one
//! place to come to. It holds no opinion: an unanswered request is [`NodeError`], never "the node is down". Every
//! answer is bounded in size and time before it is parsed.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use quorate_model::admin::{Bootstrap, ErrorBody, Handover, NodeReport, ProposeTopology, Proposed};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest answer that is read: a report of 16,384 replicas with their followers stays below it.
pub const ANSWER_BYTES_MAX: usize = 32 << 20;
/// How long a report may take. A node that answers later is Unknown in this pass.
pub const REPORT_DEADLINE: Duration = Duration::from_millis(1_500);
/// How long a change (bootstrap, topology) may take: the node answers when its meta group has committed it.
pub const CHANGE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a handover may take: every leadership moves before the node answers.
pub const HANDOVER_DEADLINE: Duration = Duration::from_secs(20);
const CONNECT_DEADLINE: Duration = Duration::from_millis(1_000);
const IDLE_CONNECTION_MAX: Duration = Duration::from_secs(20);

/// What a node is asked. `admin` is its admin address.
pub trait Nodes: Send + Sync + 'static {
    fn report(&self, admin: SocketAddr) -> BoxFuture<'_, Result<NodeReport, NodeError>>;

    fn bootstrap<'a>(
        &'a self,
        admin: SocketAddr,
        first: &'a Bootstrap,
    ) -> BoxFuture<'a, Result<Proposed, NodeError>>;

    fn propose<'a>(
        &'a self,
        admin: SocketAddr,
        change: &'a ProposeTopology,
    ) -> BoxFuture<'a, Result<Proposed, NodeError>>;

    fn handover(&self, admin: SocketAddr) -> BoxFuture<'_, Result<Handover, NodeError>>;
}

/// Why a request to a node gave no answer that counts.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("the node at {admin} did not answer within {} ms", deadline.as_millis())]
    Deadline { admin: SocketAddr, deadline: Duration },
    #[error("cannot reach the node at {admin}: {reason}")]
    Unreachable { admin: SocketAddr, reason: String },
    #[error("the node at {admin} answered {status} with a body that is not of this API: {reason}")]
    Answer { admin: SocketAddr, status: StatusCode, reason: String },
    #[error("the node at {admin} refused")]
    Refused {
        admin: SocketAddr,
        status: StatusCode,
        #[source]
        body: ErrorBody,
    },
}

/// [`Nodes`] over HTTP/1.1.
#[derive(Clone)]
pub struct HttpNodes {
    http: Client<HttpConnector, Full<Bytes>>,
}

impl HttpNodes {
    #[must_use]
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_DEADLINE));
        connector.set_nodelay(true);
        let http = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_CONNECTION_MAX)
            .pool_max_idle_per_host(2)
            .build(connector);
        Self { http }
    }

    async fn ask<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        method: Method,
        admin: SocketAddr,
        path: &'static str,
        question: Option<&Q>,
        deadline: Duration,
    ) -> Result<A, NodeError> {
        let unreachable = |reason: String| NodeError::Unreachable { admin, reason };
        let body = match question {
            Some(question) => {
                serde_json::to_vec(question).map_err(|error| unreachable(error.to_string()))?
            }
            None => Vec::new(),
        };
        let uri = Uri::builder()
            .scheme("http")
            .authority(admin.to_string())
            .path_and_query(path)
            .build()
            .map_err(|error| unreachable(error.to_string()))?;
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| unreachable(error.to_string()))?;
        let exchange = async {
            let answer = self.http.request(request).await.map_err(|e| unreachable(chain(&e)))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(|error| unreachable(error.to_string()))?
                .to_bytes();
            Ok((status, body))
        };
        let (status, body) = tokio::time::timeout(deadline, exchange)
            .await
            .map_err(|_| NodeError::Deadline { admin, deadline })??;
        read_answer(admin, status, &body)
    }
}

impl Default for HttpNodes {
    fn default() -> Self {
        Self::new()
    }
}

impl Nodes for HttpNodes {
    fn report(&self, admin: SocketAddr) -> BoxFuture<'_, Result<NodeReport, NodeError>> {
        Box::pin(self.ask(Method::GET, admin, "/v1/report", None::<&()>, REPORT_DEADLINE))
    }

    fn bootstrap<'a>(
        &'a self,
        admin: SocketAddr,
        first: &'a Bootstrap,
    ) -> BoxFuture<'a, Result<Proposed, NodeError>> {
        Box::pin(self.ask(Method::POST, admin, "/v1/bootstrap", Some(first), CHANGE_DEADLINE))
    }

    fn propose<'a>(
        &'a self,
        admin: SocketAddr,
        change: &'a ProposeTopology,
    ) -> BoxFuture<'a, Result<Proposed, NodeError>> {
        Box::pin(self.ask(Method::POST, admin, "/v1/topology", Some(change), CHANGE_DEADLINE))
    }

    fn handover(&self, admin: SocketAddr) -> BoxFuture<'_, Result<Handover, NodeError>> {
        Box::pin(self.ask(Method::POST, admin, "/v1/handover", None::<&()>, HANDOVER_DEADLINE))
    }
}

fn read_answer<A: DeserializeOwned>(
    admin: SocketAddr,
    status: StatusCode,
    body: &[u8],
) -> Result<A, NodeError> {
    let foreign =
        |error: serde_json::Error| NodeError::Answer { admin, status, reason: error.to_string() };
    if status.is_success() {
        return serde_json::from_slice(body).map_err(foreign);
    }
    let body = serde_json::from_slice(body).map_err(foreign)?;
    Err(NodeError::Refused { admin, status, body })
}

/// An error with its causes on one line: the connector's own text alone says only "error trying to connect".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::Json;
    use axum::routing::{get, post};
    use quorate_model::admin::ErrorCode;
    use quorate_model::{Epoch, Topology};

    use super::*;

    async fn serve(app: axum::Router) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let admin = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        admin
    }

    fn proposal() -> ProposeTopology {
        let topology = Topology {
            store: quorate_model::StoreId(1),
            epoch: Epoch(2),
            members: Default::default(),
            meta_voters: Default::default(),
            shards: Vec::new(),
            policy: Default::default(),
            mode: Default::default(),
        };
        ProposeTopology { expected: Epoch(1), topology }
    }

    #[tokio::test]
    async fn change_is_posted_and_its_answer_read() {
        let app = axum::Router::new().route(
            "/v1/topology",
            post(|Json(change): Json<ProposeTopology>| async move {
                Json(Proposed { epoch: change.topology.epoch })
            }),
        );
        let admin = serve(app).await;
        let proposed = HttpNodes::new().propose(admin, &proposal()).await.unwrap();
        assert_eq!(proposed.epoch, Epoch(2));
    }

    #[tokio::test]
    async fn refusal_carries_the_nodes_own_words() {
        let refusal =
            ErrorBody { code: ErrorCode::EpochMoved, message: "the epoch is 9".to_owned() };
        let app = axum::Router::new().route(
            "/v1/topology",
            post(move || async move { (StatusCode::CONFLICT, Json(refusal)) }),
        );
        let admin = serve(app).await;
        let error = HttpNodes::new().propose(admin, &proposal()).await.unwrap_err();
        let NodeError::Refused { body, .. } = error else { panic!("{error}") };
        assert_eq!(body.code, ErrorCode::EpochMoved);
    }

    #[tokio::test]
    async fn foreign_answer_is_an_error_not_a_report() {
        let app = axum::Router::new().route("/v1/report", get(|| async { "hello" }));
        let admin = serve(app).await;
        let error = HttpNodes::new().report(admin).await.unwrap_err();
        assert!(matches!(error, NodeError::Answer { .. }), "{error}");
    }

    #[tokio::test]
    async fn silence_ends_at_the_deadline() {
        let app =
            axum::Router::new().route("/v1/report", get(std::future::pending::<&'static str>));
        let admin = serve(app).await;
        let error = HttpNodes::new().report(admin).await.unwrap_err();
        assert!(matches!(error, NodeError::Deadline { .. }), "{error}");
    }
}
