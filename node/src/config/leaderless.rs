//! What a node of a store without leaders may be told.

use std::time::Duration;

use quorate_replication::leaderless::Settings;
use serde::Deserialize;

use super::ConfigError;
use super::file::{ms, within};

#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LeaderlessFile {
    exchange_interval_ms: Option<u64>,
    exchange_bytes_per_second: Option<u64>,
    collect_interval_ms: Option<u64>,
}

impl LeaderlessFile {
    pub(super) fn parse(self) -> Result<Settings, ConfigError> {
        let base = Settings::default();
        let exchange_interval = within(
            "leaderless.exchange_interval_ms",
            self.exchange_interval_ms,
            ms(base.exchange_interval),
            100,
            86_400_000,
        )?;
        let exchange_bytes_per_second = within(
            "leaderless.exchange_bytes_per_second",
            self.exchange_bytes_per_second,
            base.exchange_bytes_per_second,
            64 << 10,
            1 << 40,
        )?;
        let collect_interval = within(
            "leaderless.collect_interval_ms",
            self.collect_interval_ms,
            ms(base.collect_interval),
            100,
            86_400_000,
        )?;
        Ok(Settings {
            exchange_interval: Duration::from_millis(exchange_interval),
            exchange_bytes_per_second,
            collect_interval: Duration::from_millis(collect_interval),
            ..base
        })
    }
}
