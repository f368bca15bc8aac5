//! The disk of a node: plain files in one directory.
//!
//! Two threads of its own: one carries out writes and syncs in order, one creates and removes files, so that
//! preallocating the next segment never stands before a batch. Knows nothing of what the bytes mean.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use bytes::Bytes;

use super::{Completion, Disk, FileName, Operation, OperationId};

/// Preallocation makes so many zeros durable, then leaves the device to others for as long as that took: a batch never waits
/// for more than a few milliseconds.
const PREALLOCATION_STEP_BYTES: u64 = 1 << 20;
/// What is written at once. The page cache keeps it in one piece, and a sync of a later batch walks all blocks of each piece that
/// the batch touched: with pieces of 2 MiB a sync took 100 us of processor, with these 75 us, and counted as 2 MiB dirtied.
const PREALLOCATION_PIECE_BYTES: usize = 4 << 10;

/// A removed file that the next one is made of: mostly its pages are still in memory, where fresh ones were most of what
/// filling a file with zeros cost, and its blocks are on the disk.
const SPARE: &str = "spare";

/// Who is told of completions: called on the disk's threads, must not block.
pub type OnCompletion = Box<dyn Fn(Completion) + Send + Sync>;

/// Files in one directory. Dropping it waits for what was submitted.
pub struct Files {
    directory: PathBuf,
    open: OpenFiles,
    lanes: Option<Lanes>,
    threads: Vec<JoinHandle<()>>,
}

struct Lanes {
    writes: Sender<(OperationId, Operation)>,
    names: Sender<(OperationId, Operation)>,
}

/// The files that were used last, opened once.
#[derive(Clone)]
struct OpenFiles {
    directory: PathBuf,
    files: Arc<Mutex<Vec<OpenFile>>>,
}

type OpenFile = (FileName, Arc<File>);

/// How many files stay open.
const OPEN_FILES_MAX: usize = 16;

impl Files {
    /// Creates the directory where it is missing.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(directory: impl Into<PathBuf>, on_completion: OnCompletion) -> io::Result<Self> {
        let directory = directory.into();
        fs::create_dir_all(&directory)?;
        let open = OpenFiles { directory: directory.clone(), files: Arc::default() };
        let on_completion = Arc::new(on_completion);
        let (writes, written) = mpsc::channel();
        let (names, named) = mpsc::channel();
        let mut threads = Vec::with_capacity(2);
        for (name, lane) in [("log-writes", written), ("log-names", named)] {
            let (open, on_completion) = (open.clone(), Arc::clone(&on_completion));
            threads.push(
                thread::Builder::new()
                    .name(name.to_owned())
                    .spawn(move || carry_out_all(&open, &lane, &on_completion))?,
            );
        }
        Ok(Self { directory, open, lanes: Some(Lanes { writes, names }), threads })
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.lanes = None;
        for thread in self.threads.drain(..) {
            // A lane that panicked has said so already.
            drop(thread.join());
        }
    }
}

impl Disk for Files {
    fn submit(&mut self, id: OperationId, operation: Operation) {
        let lanes = self.lanes.as_ref().expect("set until the disk is dropped");
        let lane = match &operation {
            Operation::Write { .. } | Operation::Sync { .. } => &lanes.writes,
            Operation::Create { .. } | Operation::Remove { .. } | Operation::Truncate { .. } => {
                &lanes.names
            }
        };
        lane.send((id, operation)).expect("a lane ends only when the disk is dropped");
    }

    fn perform(&mut self, operation: &Operation) -> io::Result<()> {
        self.open.carry_out(operation)
    }

    fn list(&self) -> io::Result<Vec<FileName>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_file() && name != SPARE {
                names.push(FileName(name));
            }
        }
        names.sort();
        Ok(names)
    }

    fn length(&self, file: &FileName) -> io::Result<u64> {
        Ok(self.open.file(file)?.metadata()?.len())
    }

    fn read(&self, file: &FileName, offset: u64, bytes_max: usize) -> io::Result<Bytes> {
        let file = self.open.file(file)?;
        let length = file.metadata()?.len();
        let there = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; bytes_max.min(there)];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes.into())
    }
}

fn carry_out_all(
    open: &OpenFiles,
    lane: &Receiver<(OperationId, Operation)>,
    on_completion: &OnCompletion,
) {
    while let Ok((id, operation)) = lane.recv() {
        let result = open.carry_out(&operation);
        on_completion(Completion { id, result });
    }
}

impl OpenFiles {
    fn carry_out(&self, operation: &Operation) -> io::Result<()> {
        match operation {
            Operation::Create { file, bytes } => self.create(file, *bytes),
            Operation::Write { file, offset, parts } => {
                write_at(&*self.file(file)?, *offset, parts)
            }
            Operation::Sync { file } => self.file(file)?.sync_data(),
            Operation::Remove { file } => {
                self.forget(file);
                // One is enough: files are created one at a time. An older one goes with this.
                fs::rename(self.path(file), self.directory.join(SPARE))?;
                sync_directory(&self.directory)
            }
            Operation::Truncate { file, bytes } => {
                let file = self.file(file)?;
                file.set_len(*bytes)?;
                file.sync_all()
            }
        }
    }

    /// Real zeros rather than a hole: a sync of a batch then writes no metadata, and the disk cannot be full in its middle. It
    /// has its name when it is all zeros, never before.
    fn create(&self, name: &FileName, bytes: u64) -> io::Result<()> {
        self.forget(name);
        let spare = self.directory.join(SPARE);
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&spare)?;
        let filled = fill(&mut file, bytes)
            .and_then(|()| file.set_len(bytes))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&spare, self.path(name)));
        if let Err(error) = filled {
            // A full disk must not stay full of zeros.
            drop(fs::remove_file(&spare));
            return Err(error);
        }
        sync_directory(&self.directory)
    }

    fn file(&self, name: &FileName) -> io::Result<Arc<File>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = files.iter().position(|(open, _)| open == name) {
            // The last used stands last.
            files[found..].rotate_left(1);
            let (_, file) = files.last().expect("one was just found");
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(OpenOptions::new().read(true).write(true).open(self.path(name))?);
        if files.len() == OPEN_FILES_MAX {
            files.remove(0);
        }
        files.push((name.clone(), Arc::clone(&file)));
        Ok(file)
    }

    fn forget(&self, name: &FileName) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|(open, _)| open != name);
    }

    fn path(&self, name: &FileName) -> PathBuf {
        self.directory.join(&name.0)
    }
}

fn fill(file: &mut File, bytes: u64) -> io::Result<()> {
    let step = vec![0; usize::try_from(PREALLOCATION_STEP_BYTES.min(bytes)).unwrap_or(0)];
    let mut left = bytes;
    while left > 0 {
        let began = Instant::now();
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(step.len());
        for piece in step[..now].chunks(PREALLOCATION_PIECE_BYTES) {
            file.write_all(piece)?;
        }
        file.sync_data()?;
        left -= now as u64;
        if left > 0 {
            thread::sleep(began.elapsed());
        }
    }
    Ok(())
}

/// Only the lane of writes moves the file's cursor; reads name their offset.
fn write_at(mut file: &File, offset: u64, parts: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut left = slices.as_mut_slice();
    file.seek(SeekFrom::Start(offset))?;
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes names in the directory durable.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
