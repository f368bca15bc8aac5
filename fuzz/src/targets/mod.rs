//! One file for each reader.

mod entries;
mod evaluation;
mod identities;
mod log_segments;
mod peer_frames;
mod resp_commands;
mod resp_requests;
mod rollback_files;
mod session_tokens;
mod snapshot_pages;
mod stored_formats;

use crate::Target;
use crate::memory::Bound;

/// What is read becomes structures of about this many times the bytes, more than once in a check.
const USUAL: Bound = Bound { per_byte: 1024, beside: 4 << 20 };

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "resp_requests",
        check: resp_requests::check,
        seeds: resp_requests::seeds,
        memory: USUAL,
    },
    Target {
        name: "resp_commands",
        check: resp_commands::check,
        seeds: resp_commands::seeds,
        memory: USUAL,
    },
    Target {
        name: "peer_frames",
        check: peer_frames::check,
        seeds: peer_frames::seeds,
        memory: USUAL,
    },
    Target {
        name: "log_segments",
        check: log_segments::check,
        seeds: log_segments::seeds,
        // Segments are read in pieces of a mebibyte, at every opening.
        memory: Bound { per_byte: 4096, beside: 32 << 20 },
    },
    Target {
        name: "snapshot_pages",
        check: snapshot_pages::check,
        seeds: snapshot_pages::seeds,
        memory: USUAL,
    },
    Target { name: "entries", check: entries::check, seeds: entries::seeds, memory: USUAL },
    Target {
        name: "evaluation",
        check: evaluation::check,
        seeds: evaluation::seeds,
        // SETRANGE makes a string as long as its offset says, up to a string's bound, in a few copies.
        memory: Bound { per_byte: 1 << 20, beside: 1 << 30 },
    },
    Target {
        name: "stored_formats",
        check: stored_formats::check,
        seeds: stored_formats::seeds,
        memory: USUAL,
    },
    Target {
        name: "identities",
        check: identities::check,
        seeds: identities::seeds,
        memory: USUAL,
    },
    Target {
        name: "session_tokens",
        check: session_tokens::check,
        seeds: session_tokens::seeds,
        memory: USUAL,
    },
    Target {
        name: "rollback_files",
        check: rollback_files::check,
        seeds: rollback_files::seeds,
        memory: USUAL,
    },
];
