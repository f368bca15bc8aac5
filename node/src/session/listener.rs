//! Takes connections of one port: the one place where client links are made.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::counters::add;
use super::{Ends, Port, Sessions, Store};

/// A peer that is gone without a word is noticed after about so long, as in Redis.
const KEEPALIVE: Duration = Duration::from_secs(300);
/// How long to wait after an accept that failed: out of file descriptors, mostly.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

impl<S: Store> Sessions<S> {
    /// Serves connections of one port until `shutdown`, then lets what is in flight finish and returns.
    pub async fn listen(
        self: Arc<Self>,
        listener: TcpListener,
        port: Port,
        shutdown: CancellationToken,
    ) {
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    self.take(stream, peer, port, &tasks, &shutdown);
                }
                Err(error) => {
                    warn!(%error, ?port, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
        drop(listener);
        tasks.close();
        tasks.wait().await;
    }

    fn take(
        self: &Arc<Self>,
        mut stream: TcpStream,
        peer: SocketAddr,
        port: Port,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) {
        if self.registry.len() >= self.settings.connections_max {
            add(&self.counters.rejected, 1);
            // A few bytes into an empty socket buffer: this does not wait.
            tasks.spawn(async move {
                let text = b"-ERR max number of clients reached\r\n";
                if let Err(error) = stream.write_all(text).await {
                    debug!(%error, "a rejected client went away");
                }
            });
            return;
        }
        let Ok(local) = prepare(&stream) else { return };
        let ends = Ends { peer: peer.to_string(), local: local.to_string() };
        let session = Arc::clone(self).serve(stream.into_split(), port, ends, shutdown.clone());
        tasks.spawn(session);
    }
}

fn prepare(stream: &TcpStream) -> std::io::Result<SocketAddr> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)?;
    stream.local_addr()
}
