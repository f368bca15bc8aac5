//! What can be wrong with a configuration: always one field, always by the name that the file gives it.

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("configuration: `{field}` is missing")]
    Missing { field: &'static str },
    #[error("configuration: `{field}`: {reason}")]
    Field { field: &'static str, reason: String },
    #[error("configuration: `--config`: cannot read {path}")]
    Unreadable {
        path: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("configuration: the file is not valid: {0}")]
    File(#[source] serde_yaml::Error),
}

impl ConfigError {
    pub(super) fn field(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Field { field, reason: reason.into() }
    }
}
