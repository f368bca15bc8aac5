//! The data plane's shell: everything that touches tokio.

pub mod resp;
pub mod session;
