//! Where replicas go.
