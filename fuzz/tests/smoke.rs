//! Every target over its corpus and a bounded number of mutations, the same ones at every run.

use std::panic::{AssertUnwindSafe, catch_unwind};

use quorate_fuzz::{Mutator, Target, target, targets};

const MUTATIONS: u64 = 3_000;

fn smoke(name: &str) {
    let target = target(name).expect("the list below is checked");
    let corpus = target.corpus().expect("the corpus is in the repository");
    assert!(!corpus.is_empty(), "{name} begins with nothing");
    corpus.iter().for_each(|input| run(target, input));
    let mut mutator = Mutator::new(1);
    for _ in 0..MUTATIONS {
        run(target, &mutator.next(&corpus));
    }
}

fn run(target: &Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target.run(input))) {
        let digits: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("{}: the input in hexadecimal digits: {digits}", target.name);
        std::panic::resume_unwind(panic);
    }
}

macro_rules! smoke {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                smoke(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_here() {
            let here = [$(stringify!($name)),*];
            let all: Vec<&str> = targets().iter().map(|target| target.name).collect();
            assert_eq!(all, here);
        }
    };
}

smoke!(
    resp_requests,
    resp_commands,
    peer_frames,
    log_segments,
    snapshot_pages,
    entries,
    evaluation,
    stored_formats,
    identities,
    session_tokens,
    rollback_files,
);
