//! The configuration that all nodes of a store share. What differs per pod is in its environment.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use quorate_api::LogLevel;

use super::metadata;
use crate::{ValidStore, names};

/// The key in the ConfigMap, and so the name of the file.
pub(super) const FILE: &str = "node.yaml";

pub(super) fn build(store: &ValidStore) -> ConfigMap {
    let name = names::config_map(store.name.as_str());
    ConfigMap {
        metadata: metadata::child(store, name, metadata::common_labels(store)),
        data: Some(BTreeMap::from([(FILE.to_owned(), file(store))])),
        ..ConfigMap::default()
    }
}

fn file(store: &ValidStore) -> String {
    format!(
        "log_level: {}\nlisten:\n  plain: \"[::]:{}\"\n  cluster: \"[::]:{}\"\n  peer: \"[::]:{}\"\n  admin: \"[::]:{}\"\n",
        log_level(store.log_level),
        names::PORT_PLAIN,
        names::PORT_CLUSTER,
        names::PORT_PEER,
        names::PORT_ADMIN,
    )
}

const fn log_level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}
