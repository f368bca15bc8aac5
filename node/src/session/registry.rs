//! The open connections, for CLIENT LIST, INFO and CLIENT KILL.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::Ends;
use crate::resp::Protocol;
use crate::resp::commands::ClientFilter;

/// Numbers connections from 1, never one twice.
#[derive(Debug, Default)]
pub(super) struct Registry {
    last: AtomicU64,
    clients: Mutex<BTreeMap<u64, Arc<Client>>>,
}

/// What others may see of a connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: u64,
    pub(super) ends: Ends,
    /// Cancelled by CLIENT KILL.
    pub(super) killed: CancellationToken,
    since: Instant,
    details: Mutex<Details>,
}

/// What changes while it is open; names are bounded where they are read.
#[derive(Clone, Debug)]
pub(super) struct Details {
    pub(super) name: String,
    pub(super) library_name: String,
    pub(super) library_version: String,
    pub(super) protocol: Protocol,
    pub(super) read_only: bool,
    pub(super) last_command: &'static str,
    pub(super) last_active: Instant,
    pub(super) input_bytes: usize,
    pub(super) output_bytes: usize,
}

impl Registry {
    pub(super) fn open(&self, ends: Ends) -> Arc<Client> {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let since = Instant::now();
        let client = Arc::new(Client {
            id,
            ends,
            killed: CancellationToken::new(),
            since,
            details: Mutex::new(Details {
                name: String::new(),
                library_name: String::new(),
                library_version: String::new(),
                protocol: Protocol::Resp2,
                read_only: false,
                last_command: "NULL",
                last_active: since,
                input_bytes: 0,
                output_bytes: 0,
            }),
        });
        self.clients.lock().insert(id, Arc::clone(&client));
        client
    }

    pub(super) fn close(&self, id: u64) {
        self.clients.lock().remove(&id);
    }

    pub(super) fn len(&self) -> usize {
        self.clients.lock().len()
    }

    pub(super) fn matching(&self, filter: &ClientFilter) -> Vec<Arc<Client>> {
        self.clients
            .lock()
            .values()
            .filter(|client| client.matches(filter))
            .map(Arc::clone)
            .collect()
    }
}

impl Client {
    pub(super) fn change(&self, change: impl FnOnce(&mut Details)) {
        change(&mut self.details.lock());
    }

    pub(super) fn details(&self) -> Details {
        self.details.lock().clone()
    }

    /// The line of CLIENT LIST. Fields that mean nothing here have the value of a Redis that does not use them.
    pub(super) fn line(&self) -> String {
        let now = Instant::now();
        let Details {
            name,
            library_name,
            library_version,
            protocol,
            read_only,
            last_command,
            last_active,
            input_bytes,
            output_bytes,
        } = self.details();
        let (id, Ends { peer, local }) = (self.id, &self.ends);
        let age = now.duration_since(self.since).as_secs();
        let idle = now.duration_since(last_active).as_secs();
        let flags = if read_only { "r" } else { "N" };
        let resp = match protocol {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        };
        format!(
            "id={id} addr={peer} laddr={local} fd=-1 name={name} age={age} idle={idle} flags={flags} db=0 sub=0 \
             psub=0 ssub=0 multi=-1 qbuf={input_bytes} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 \
             obl={output_bytes} oll=0 omem=0 tot-mem={} events=r cmd={last_command} user=default redir=-1 \
             resp={resp} lib-name={library_name} lib-ver={library_version}",
            input_bytes + output_bytes,
        )
    }

    fn matches(&self, filter: &ClientFilter) -> bool {
        let ClientFilter { ids, peer, local, user, normal } = filter;
        ids.as_ref().is_none_or(|ids| ids.contains(&self.id))
            && peer.as_ref().is_none_or(|peer| *peer == self.ends.peer)
            && local.as_ref().is_none_or(|local| *local == self.ends.local)
            && user.as_ref().is_none_or(|user| user == "default")
            && normal.unwrap_or(true)
    }
}
