//! Everything that reads bytes from outside or from a disk, as functions of bytes: a reader may refuse, and never panics,
//! takes memory for what is not there, or gives out what was not written.
//!
//! Each target is one function, called in three ways: by the smoke test with the committed corpus and a bounded number of
//! mutations, by the program of this crate for as long as one likes (`cargo xtask fuzz`), both on the stable toolchain, and
//! by libFuzzer, guided by coverage (`cargo xtask fuzz --guided`, in `libfuzzer/`).
//!
//! A mutation hardly ever keeps a checksum right. So a target whose format has one takes its input in two ways, as its
//! first byte says: as it is, and as the content under checksums that the target computes.

mod corpus;
mod input;
mod memory;
mod mutator;
mod targets;

pub use corpus::{corpus_directory, corpus_of};
pub use mutator::Mutator;

/// The longest input that is made.
pub const INPUT_BYTES_MAX: usize = 16 << 10;

/// One reader.
#[derive(Debug)]
pub struct Target {
    pub name: &'static str,
    check: fn(&[u8]),
    /// Inputs that are valid, made by the code of today: what mutations begin with.
    seeds: fn() -> Vec<Vec<u8>>,
    memory: memory::Bound,
}

impl Target {
    /// # Panics
    /// When the reader does what it may not: that is the finding.
    pub fn run(&self, input: &[u8]) {
        self.memory.check(input.len(), || (self.check)(input));
    }

    /// Its seeds, and what is committed for it: regressions, and inputs that reach what seeds do not.
    ///
    /// # Errors
    /// When the corpus cannot be read.
    pub fn corpus(&self) -> std::io::Result<Vec<Vec<u8>>> {
        let mut inputs = (self.seeds)();
        inputs.extend(corpus_of(self.name)?);
        Ok(inputs)
    }
}

#[must_use]
pub fn targets() -> &'static [Target] {
    targets::TARGETS
}

#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    targets().iter().find(|target| target.name == name)
}
