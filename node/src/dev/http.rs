//! The little HTTP that `dev` and the tests need: one request to an admin API, one JSON answer.

use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use quorate_model::admin::{ErrorBody, Readiness};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("cannot connect to {address}")]
    Connect {
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the request failed")]
    Request(#[from] hyper::Error),
    #[error("the request cannot be built")]
    Build(#[from] hyper::http::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("refused")]
    Refused(#[source] ErrorBody),
    #[error("answered {0}")]
    Status(StatusCode),
    #[error("the answer cannot be read")]
    Json(#[from] serde_json::Error),
}

/// # Errors
/// See [`HttpError`].
pub async fn get<T: DeserializeOwned>(address: &str, path: &str) -> Result<T, HttpError> {
    let (status, body) = exchange(address, Method::GET, path, Bytes::new()).await?;
    read(status, &body)
}

/// # Errors
/// See [`HttpError`].
pub async fn post<T: DeserializeOwned>(
    address: &str,
    path: &str,
    body: &impl Serialize,
) -> Result<T, HttpError> {
    let body = Bytes::from(serde_json::to_vec(body)?);
    let (status, body) = exchange(address, Method::POST, path, body).await?;
    read(status, &body)
}

/// An answer that is not JSON: the metrics.
///
/// # Errors
/// See [`HttpError`].
pub async fn text(address: &str, path: &str) -> Result<String, HttpError> {
    let (status, body) = exchange(address, Method::GET, path, Bytes::new()).await?;
    if !status.is_success() {
        return Err(HttpError::Status(status));
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Both answers of `/readyz` are readable.
///
/// # Errors
/// See [`HttpError`].
pub async fn readiness(address: &str) -> Result<Readiness, HttpError> {
    let (_, body) = exchange(address, Method::GET, "/readyz", Bytes::new()).await?;
    Ok(serde_json::from_slice(&body)?)
}

fn read<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T, HttpError> {
    if status.is_success() {
        return Ok(serde_json::from_slice(body)?);
    }
    Err(serde_json::from_slice(body).map_or(HttpError::Status(status), HttpError::Refused))
}

async fn exchange(
    address: &str,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), HttpError> {
    let exchange = exchange_unbounded(address, method, path, body);
    tokio::time::timeout(TIMEOUT, exchange).await.unwrap_or(Err(HttpError::Timeout))
}

async fn exchange_unbounded(
    address: &str,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), HttpError> {
    let connected = TcpStream::connect(address).await;
    let stream =
        connected.map_err(|source| HttpError::Connect { address: address.to_owned(), source })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, address)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((status, body))
}
