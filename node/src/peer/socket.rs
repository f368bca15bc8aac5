//! The one place where connections between nodes are made. Encryption will be added here and nowhere else.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// A connection between two nodes.
pub(super) type Connection = TcpStream;

/// How long unacknowledged bytes may be under way before the kernel gives the connection up.
const USER_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(2);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// How often another attempt is begun while those before go on: what is lost the kernel sends again after a second, and then ever later, so
/// that a line would be open again for long before anybody notices.
const ATTEMPT_EVERY: Duration = Duration::from_millis(400);

/// Connects to `host:port`, resolving the name anew: its address may have changed since the last time.
///
/// # Errors
/// What the last address answered. `ConnectionRefused` only if every address refused, so that it means that no
/// process listens there.
pub(super) async fn dial(address: &str) -> io::Result<Connection> {
    let resolved = tokio::net::lookup_host(address).await?;
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut first = true;
    for address in resolved {
        match tokio::time::timeout(DIAL_TIMEOUT, connect(address)).await {
            Ok(Ok(connection)) => return prepare(connection),
            Ok(Err(error)) => {
                if first || error.kind() != io::ErrorKind::ConnectionRefused {
                    failure = error;
                }
            }
            Err(_) => failure = io::ErrorKind::TimedOut.into(),
        }
        first = false;
    }
    Err(failure)
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    loop {
        attempts.spawn(TcpStream::connect(address));
        tokio::select! {
            Some(Ok(outcome)) = attempts.join_next() => return outcome,
            () = tokio::time::sleep(ATTEMPT_EVERY) => {}
        }
    }
}

/// Prepares a connection that was accepted.
///
/// # Errors
/// What the kernel says: the connection is closed already.
pub(super) fn accepted(connection: TcpStream) -> io::Result<Connection> {
    prepare(connection)
}

fn prepare(connection: TcpStream) -> io::Result<Connection> {
    connection.set_nodelay(true)?;
    let socket = SockRef::from(&connection);
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive)?;
    Ok(connection)
}
