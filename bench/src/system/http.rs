//! One HTTP request, one answer: admin APIs and metrics.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail};

const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn get(address: &str, path: &str) -> Result<String> {
    let (status, body) = exchange(address, "GET", path, "")?;
    if status != 200 {
        bail!("GET {path}: {status} {body}");
    }
    Ok(body)
}

/// The answer, whatever its status.
pub(super) fn get_any(address: &str, path: &str) -> Result<String> {
    exchange(address, "GET", path, "").map(|(_, body)| body)
}

pub(super) fn post(address: &str, path: &str, body: &str) -> Result<String> {
    let (status, answer) = exchange(address, "POST", path, body)?;
    if status != 200 {
        bail!("POST {path}: {status} {answer}");
    }
    Ok(answer)
}

fn exchange(address: &str, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
    let at = address.to_socket_addrs()?.next().context("no address")?;
    let mut stream = TcpStream::connect_timeout(&at, TIMEOUT)
        .with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    // Version 1.0, so that the answer comes in one piece and ends with the connection.
    let request = format!(
        "{method} {path} HTTP/1.0\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    split(&String::from_utf8_lossy(&answer))
}

fn split(answer: &str) -> Result<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_body_are_split() {
        let (status, body) = split("HTTP/1.0 503 Busy\r\nx: y\r\n\r\n{}").unwrap();
        assert_eq!((status, body.as_str()), (503, "{}"));
        assert!(split("nonsense").is_err());
    }
}
