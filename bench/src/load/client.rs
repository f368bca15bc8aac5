//! One closed-loop client over one connection, whatever the system.

use anyhow::{Result, bail};
use bytes::Bytes;

use super::cassandra::Cassandra;
use super::etcd::Etcd;
use super::keys::VALUE_BYTES;
use super::resp::{Reply, Resp};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    Resp,
    Etcd,
    Cassandra,
}

/// What a client does over and over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Operation {
    Set,
    /// Redis only: each SET is followed by `WAIT 1 0`, and counts once both are answered.
    SetWait,
    Get,
}

#[derive(Debug)]
pub(crate) enum Client {
    Resp(Resp),
    Etcd(Etcd),
    Cassandra(Cassandra),
}

impl Client {
    pub(crate) async fn connect(protocol: Protocol, address: &str) -> Result<Self> {
        Ok(match protocol {
            Protocol::Resp => Self::Resp(Resp::connect(address).await?),
            Protocol::Etcd => Self::Etcd(Etcd::connect(address).await?),
            Protocol::Cassandra => Self::Cassandra(Cassandra::connect(address).await?),
        })
    }

    /// Sends the operation for each of the keys at once and waits for all answers.
    pub(crate) async fn exchange(
        &mut self,
        operation: Operation,
        keys: &[&Bytes],
        value: &Bytes,
    ) -> Result<()> {
        match self {
            Self::Resp(resp) => exchange_resp(resp, operation, keys, value).await,
            Self::Etcd(etcd) => exchange_etcd(etcd, operation, keys, value).await,
            Self::Cassandra(cassandra) => {
                exchange_cassandra(cassandra, operation, keys, value).await
            }
        }
    }

    pub(crate) async fn set(&mut self, key: &Bytes, value: &Bytes) -> Result<()> {
        self.exchange(Operation::Set, &[key], value).await
    }

    /// Many writes, as fast as the system takes them.
    pub(crate) async fn load(&mut self, entries: &[(Bytes, Bytes)]) -> Result<()> {
        match self {
            Self::Etcd(etcd) => etcd.puts(entries).await,
            Self::Cassandra(cassandra) => cassandra.puts(entries).await,
            Self::Resp(resp) => {
                for (key, value) in entries {
                    resp.queue(&[b"SET", key, value]);
                }
                resp.flush().await?;
                for _ in entries {
                    expect_ok(&resp.reply().await?)?;
                }
                Ok(())
            }
        }
    }

    /// A clone, where clones share connections.
    pub(super) fn shared(&self) -> Option<Self> {
        match self {
            Self::Resp(_) => None,
            Self::Etcd(etcd) => Some(Self::Etcd(etcd.clone())),
            Self::Cassandra(cassandra) => Some(Self::Cassandra(cassandra.clone())),
        }
    }

    /// A read of the strongest kind that the system has.
    pub(crate) async fn get(&mut self, key: &Bytes) -> Result<Option<Bytes>> {
        match self {
            Self::Etcd(etcd) => etcd.get(key, false).await,
            Self::Cassandra(cassandra) => cassandra.get(key).await,
            Self::Resp(resp) => {
                let reply = resp.call(&[b"GET", key]).await?;
                if reply == Reply::Null {
                    return Ok(None);
                }
                let Reply::Bulk(value) = reply else { bail!("GET was answered with {reply:?}") };
                Ok(Some(value))
            }
        }
    }
}

/// Adds the operation to what `flush` sends.
pub(super) fn queue(resp: &mut Resp, operation: Operation, key: &Bytes, value: &Bytes) {
    match operation {
        Operation::Set => resp.queue(&[b"SET", key, value]),
        Operation::Get => resp.queue(&[b"GET", key]),
        Operation::SetWait => {
            resp.queue(&[b"SET", key, value]);
            resp.queue(&[b"WAIT", b"1", b"0"]);
        }
    }
}

/// Takes the replies of one operation.
pub(super) async fn settle(resp: &mut Resp, operation: Operation) -> Result<()> {
    let reply = resp.reply().await?;
    match operation {
        Operation::Set => expect_ok(&reply),
        Operation::Get => {
            let whole = matches!(&reply, Reply::Bulk(found) if found.len() == VALUE_BYTES);
            if whole { Ok(()) } else { bail!("GET was answered with {reply:?}") }
        }
        Operation::SetWait => {
            expect_ok(&reply)?;
            let waited = resp.reply().await?;
            let held = matches!(waited, Reply::Integer(replicas) if replicas >= 1);
            if held { Ok(()) } else { bail!("WAIT was answered with {waited:?}") }
        }
    }
}

async fn exchange_resp(
    resp: &mut Resp,
    operation: Operation,
    keys: &[&Bytes],
    value: &Bytes,
) -> Result<()> {
    for key in keys {
        queue(resp, operation, key, value);
    }
    resp.flush().await?;
    for _ in keys {
        settle(resp, operation).await?;
    }
    Ok(())
}

async fn exchange_etcd(
    etcd: &mut Etcd,
    operation: Operation,
    keys: &[&Bytes],
    value: &Bytes,
) -> Result<()> {
    for key in keys {
        match operation {
            Operation::Set => etcd.put(key, value).await?,
            Operation::SetWait => bail!("etcd has no WAIT"),
            Operation::Get => match etcd.get(key, false).await? {
                Some(found) if found.len() == value.len() => {}
                other => bail!("a range was answered with {other:?}"),
            },
        }
    }
    Ok(())
}

async fn exchange_cassandra(
    cassandra: &Cassandra,
    operation: Operation,
    keys: &[&Bytes],
    value: &Bytes,
) -> Result<()> {
    for key in keys {
        match operation {
            Operation::Set => cassandra.put(key, value).await?,
            Operation::SetWait => bail!("Cassandra has no WAIT"),
            Operation::Get => match cassandra.get(key).await? {
                Some(found) if found.len() == value.len() => {}
                other => bail!("a SELECT was answered with {other:?}"),
            },
        }
    }
    Ok(())
}

fn expect_ok(reply: &Reply) -> Result<()> {
    let ok = matches!(reply, Reply::Text(text) if &text[..] == b"OK");
    if ok { Ok(()) } else { bail!("SET was answered with {reply:?}") }
}
