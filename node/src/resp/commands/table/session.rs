//! The command of sessions, which is ours: rows of the table, nothing else.

use crate::resp::commands::Spec;
use crate::resp::commands::parse::{container, help, session};

const CATEGORIES: &str = "@slow @connection";
const FLAGS: &str = "noscript loading stale";

pub(super) const SESSION: &[Spec] = &[Spec::new("session", -2, "", "@slow", container)
    .about("connection", "", "What the connection's reads and writes are promised.")
    .subcommands(&[
        Spec::new("session|get", 2, FLAGS, CATEGORIES, session::get).about(
            "connection",
            "",
            "What is in force.",
        ),
        Spec::new("session|help", 2, "loading stale", CATEGORIES, help).about(
            "connection",
            "",
            "Lists the subcommands.",
        ),
        Spec::new("session|reset", 2, FLAGS, CATEGORIES, session::reset).about(
            "connection",
            "",
            "Forgets what was written and seen, and goes back to the store's defaults.",
        ),
        Spec::new("session|resume", 3, FLAGS, CATEGORIES, session::resume).about(
            "connection",
            "",
            "Goes on with the session of a token.",
        ),
        Spec::new("session|set", -4, FLAGS, CATEGORIES, session::set).about(
            "connection",
            "",
            "Asks for guarantees.",
        ),
        Spec::new("session|token", 2, FLAGS, CATEGORIES, session::token).about(
            "connection",
            "",
            "What another connection goes on with.",
        ),
    ])];
