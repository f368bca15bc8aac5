//! The CustomResourceDefinition that is installed: the derived one, made strict.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::ReplicatedStore;

/// The definition of `ReplicatedStore`, as `crds/` and the chart carry it.
///
/// Optional fields lose `nullable`, which the derive adds: the API server then prunes an explicit null before it
/// fills in defaults, so that `storage: null` means the same as no `storage`, and rules need not think of null.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    let mut crd = ReplicatedStore::crd();
    for version in &mut crd.spec.versions {
        if let Some(root) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) {
            forbid_null(root);
        }
    }
    crd
}

fn forbid_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    for property in schema.properties.iter_mut().flat_map(|all| all.values_mut()) {
        forbid_null(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => forbid_null(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(forbid_null),
        None => {}
    }
    match &mut schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(value)) => forbid_null(value),
        Some(JSONSchemaPropsOrBool::Bool(_)) | None => {}
    }
}
