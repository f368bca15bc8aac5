//! The data plane's shell: everything that touches tokio.
//!
//! A thin shell around a synchronous host: sockets to commands, commands to the one thread that owns the host, its
//! outputs to links and clients. What is decided about data is decided below, in `quorate-group`.

pub mod admin;
pub mod clock;
pub mod config;
pub mod dev;
pub mod driver;
pub mod metrics;
pub mod node;
pub mod peer;
pub mod resp;
pub mod rollback;
pub mod router;
pub mod session;

/// The process cannot start, for a reason that is not its configuration.
pub const EXIT_FAILURE: u8 = 1;
/// The configuration or the command line is wrong.
pub const EXIT_CONFIGURATION: u8 = 2;
/// The disk or the log cannot be trusted any more: nothing else was written.
pub const EXIT_FATAL: i32 = 3;
/// Stopped by a second signal, before what was in flight had finished.
pub const EXIT_CUT_SHORT: i32 = 130;
