//! What users are told.
