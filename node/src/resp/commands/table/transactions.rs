//! The commands of transactions: rows of the table, nothing else.

use crate::resp::commands::Spec;
use crate::resp::commands::parse::transactions;

pub(super) const TRANSACTIONS: &[Spec] = &[
    Spec::new(
        "discard",
        1,
        "noscript loading stale fast allow_busy",
        "@fast @transaction",
        transactions::discard,
    )
    .about("transactions", "2.0.0", "Gives a transaction up."),
    Spec::new(
        "exec",
        1,
        "noscript loading stale skip_slowlog",
        "@slow @transaction",
        transactions::exec,
    )
    .about("transactions", "1.2.0", "Runs a transaction, all of it or nothing."),
    Spec::new(
        "multi",
        1,
        "noscript loading stale fast allow_busy",
        "@fast @transaction",
        transactions::multi,
    )
    .about("transactions", "1.2.0", "Begins a transaction: what follows is kept until EXEC."),
    Spec::new(
        "once",
        -3,
        "write denyoom noscript movablekeys",
        "@write @slow @transaction",
        transactions::once,
    )
    .about("transactions", "", "Does a write once for a token, and answers it again."),
    Spec::new(
        "unwatch",
        1,
        "noscript loading stale fast allow_busy",
        "@fast @transaction",
        transactions::unwatch,
    )
    .about("transactions", "2.2.0", "Forgets what was watched."),
    Spec::new(
        "watch",
        -2,
        "noscript loading stale fast allow_busy",
        "@fast @transaction",
        transactions::watch,
    )
    .about(
        "transactions",
        "2.2.0",
        "Lets the next EXEC run only if these keys are as they are now.",
    )
    .keys("RO", 1, -1, 1),
];
