//! Any target of the fuzz crate, under libFuzzer: the one that `QUORATE_FUZZ_TARGET` names.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use quorate_fuzz::Target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("QUORATE_FUZZ_TARGET").expect("QUORATE_FUZZ_TARGET names a target");
    quorate_fuzz::target(&name).expect("QUORATE_FUZZ_TARGET names a target")
});

fuzz_target!(|data: &[u8]| TARGET.run(data));
