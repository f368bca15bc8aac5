//! `quorate-operator`: nothing but the process itself. The TLS provider comes first, before anything can open a link.

use std::process::ExitCode;

fn main() -> ExitCode {
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        // Only possible when another provider was installed before main's first line, that is, never.
        return ExitCode::FAILURE;
    }
    quorate_operator::cli::main()
}
