//! The identity of nodes towards Kubernetes: one that may do nothing. Nodes never talk to the API server.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::metadata;
use crate::{ValidStore, names};

pub(super) fn build(store: &ValidStore) -> ServiceAccount {
    let name = names::service_account(store.name.as_str());
    ServiceAccount {
        metadata: metadata::child(store, name, metadata::common_labels(store)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
