//! One run as a finding or none: asserts of the code under test count as findings like any other.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use quorate_model::planted::Bug;

use crate::kind::Kind;
use crate::run::{Summary, Violation, run};
use crate::verdict::Broken;

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on a failed assert is kept for [`attempt`] instead of being written at once.
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|info| PANIC.set(info.to_string())));
}

/// Runs a seed, with a bug planted if the program was built for it.
///
/// # Errors
/// What was broken.
pub fn attempt(
    kind: Kind,
    seed: u64,
    traced: bool,
    bug: Option<Bug>,
) -> Result<Summary, Box<Violation>> {
    plant(bug);
    let outcome = catch_unwind(AssertUnwindSafe(|| run(kind, seed, traced)));
    plant(None);
    match outcome {
        Ok(Ok(summary)) => Ok(summary),
        Ok(Err(violation)) => Err(Box::new(violation)),
        Err(_) => {
            let broken = Broken { checker: "assert", what: PANIC.take() };
            Err(Box::new(Violation { kind, seed, broken, trace: String::new() }))
        }
    }
}

#[cfg(feature = "planted")]
fn plant(bug: Option<Bug>) {
    quorate_model::planted::plant(bug);
}

#[cfg(not(feature = "planted"))]
fn plant(bug: Option<Bug>) {
    assert!(bug.is_none(), "this program was built without the feature `planted`");
}
