//! A client in each datacenter of a store, of a node there.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result};
use quorate_e2e::cluster::progress::Probe;

use crate::scenario::Scenario;

pub(crate) const DATACENTERS: [&str; 3] = ["dc-a", "dc-b", "dc-c"];
const AGREE_IN: Duration = Duration::from_secs(60);

/// A node of each datacenter. Its address cannot be asked for once the datacenter is cut off.
pub(crate) struct Nodes<'a> {
    given: &'a Scenario,
    hosts: Vec<String>,
}

impl<'a> Nodes<'a> {
    pub(crate) fn of(given: &'a Scenario) -> Result<Self> {
        Self::in_the_first(given, DATACENTERS.len())
    }

    pub(crate) fn in_the_first(given: &'a Scenario, count: usize) -> Result<Self> {
        let first = |name: &&str| {
            let hosts = given.hosts_within(name)?;
            hosts.into_iter().next().context("each datacenter has a node")
        };
        Ok(Self { given, hosts: DATACENTERS[..count].iter().map(first).collect::<Result<_>>()? })
    }

    pub(crate) fn say(&self, at: usize, words: &[&str]) -> Result<String> {
        self.given.redis_within(DATACENTERS[at], &self.hosts[at], words)
    }

    /// What stands, without the context.
    pub(crate) fn values(&self, at: usize, key: &str) -> Result<Vec<String>> {
        let said = self.say(at, &["VGET", key])?;
        let mut values: Vec<String> =
            said.lines().skip(1).map(|line| line.trim().to_owned()).collect();
        values.sort_unstable();
        Ok(values)
    }

    pub(crate) fn keys(&self, at: usize) -> Result<Vec<String>> {
        let names = self.say(at, &["KEYS", "*"])?;
        let mut names: Vec<String> = names.lines().map(|name| name.trim().to_owned()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Waits until all datacenters read the same, which is as wanted.
    pub(crate) fn agree<T: PartialEq + Debug>(
        &self,
        what: &str,
        read: impl Fn(usize) -> Result<T>,
        is_wanted: impl Fn(&T) -> bool,
    ) -> Result<T> {
        self.given.wait_for(what, AGREE_IN, || {
            let mut found = (0..self.hosts.len()).map(&read).collect::<Result<Vec<_>>>()?;
            let equal = found.iter().all(|one| is_wanted(one) && *one == found[0]);
            Ok(if equal {
                Probe::Ready(found.swap_remove(0))
            } else {
                Probe::Waiting(format!("{found:?}"))
            })
        })
    }
}
