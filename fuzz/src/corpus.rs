//! The committed inputs: `corpus/<target>/<name>`, in the order of their names.

use std::path::PathBuf;
use std::{fs, io};

#[must_use]
pub fn corpus_directory(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// # Errors
/// When there is one and it cannot be read.
pub fn corpus_of(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let entries = match fs::read_dir(corpus_directory(target)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort_unstable();
    paths.into_iter().map(fs::read).collect()
}
