//! The CustomResourceDefinitions as text. `cargo xtask crds` writes `crds/` and the chart's template from it.

/// Every CRD, one YAML document each.
///
/// # Errors
/// When a schema cannot be written as YAML.
pub(crate) fn yaml() -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(&quorate_api::crd())
}
