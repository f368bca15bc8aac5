//! A client of etcd: its calls as gRPC over HTTP/2, encoded by hand.

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request};
use tokio::net::TcpStream;

use super::protobuf::{self, GRPC_PREFIX};

const WINDOW_BYTES: u32 = 1 << 20;

/// Cheap to clone; clones share the connection, each call is a stream of its own.
#[derive(Clone, Debug)]
pub(crate) struct Etcd {
    sender: SendRequest<Bytes>,
    authority: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Call {
    Range,
    Put,
    Txn,
}

impl Etcd {
    pub(crate) async fn connect(address: &str) -> Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(stream)
            .await?;
        tokio::spawn(async move {
            // Whoever waits for an answer is told that the connection ended.
            connection.await.ok();
        });
        Ok(Self { sender, authority: address.to_owned() })
    }

    pub(crate) async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.call(Call::Put, protobuf::put(key, value)).await.map(drop)
    }

    pub(crate) async fn puts(&mut self, entries: &[(Bytes, Bytes)]) -> Result<()> {
        self.call(Call::Txn, protobuf::puts(entries)).await.map(drop)
    }

    /// Linearizable, unless `serializable`.
    pub(crate) async fn get(&mut self, key: &[u8], serializable: bool) -> Result<Option<Bytes>> {
        let answer = self.call(Call::Range, protobuf::range(key, serializable)).await?;
        protobuf::first_value(answer.get(GRPC_PREFIX..).context("an answer without a message")?)
    }

    async fn call(&mut self, method: Call, message: Bytes) -> Result<Bytes> {
        let path = match method {
            Call::Range => "Range",
            Call::Put => "Put",
            Call::Txn => "Txn",
        };
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}/etcdserverpb.KV/{path}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        std::future::poll_fn(|context| self.sender.poll_ready(context)).await?;
        let (response, mut body) = self.sender.send_request(request, false)?;
        body.send_data(message, true)?;
        let (head, mut body) = response.await?.into_parts();
        let mut answer = BytesMut::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            answer.extend_from_slice(&chunk);
        }
        // An answer that is nothing but an error has its status among the headers.
        let trailers = body.trailers().await?.unwrap_or(head.headers);
        check_status(&trailers)?;
        Ok(answer.freeze())
    }
}

fn check_status(trailers: &HeaderMap) -> Result<()> {
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    match text("grpc-status") {
        "0" => Ok(()),
        status => bail!("gRPC status {status}: {}", text("grpc-message")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_status_0_is_success() {
        let with = |status: &'static str| {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", http::HeaderValue::from_static(status));
            trailers
        };
        assert!(check_status(&with("0")).is_ok());
        assert!(check_status(&with("14")).is_err());
        assert!(check_status(&HeaderMap::new()).is_err());
    }
}
