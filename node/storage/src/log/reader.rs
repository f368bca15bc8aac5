//! Reading entries back: from memory while they are not on the disk, else from their segments, where every record's checksum
//! is verified again (INV-44).

use bytes::Bytes;
use quorate_model::{GroupId, LogIndex, Position};

use super::codec::{self, Stored};
use super::places::Place;
use super::{Body, EntryKind, Log, LogError};
use crate::disk::Disk;

/// One read of the disk spans at most this much, unless a single record is longer.
const SPAN_BYTES_MAX: u64 = 1 << 20;
/// Records of other groups between two entries are read along when they are at most this much.
const GAP_BYTES_MAX: u64 = 16 << 10;

/// An entry as it is read: where it stands, what the host said it is, its payload.
pub type Entry = (Position, EntryKind, Bytes);

impl<D: Disk> Log<D> {
    /// Entries from `from` on, without gaps, until their payloads reach `bytes_max`; at least one if there is one. Empty when
    /// `from` was released or lies beyond the last entry.
    ///
    /// # Errors
    /// [`LogError::Read`], [`LogError::Damaged`]: nothing that fails its checksum is ever given out.
    pub fn read(
        &self,
        group: GroupId,
        from: LogIndex,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, LogError> {
        let mut entries = Vec::new();
        let Some(log) = self.groups.get(&group) else { return Ok(entries) };
        let mut budget = bytes_max;
        let mut index = from;
        while log.holds(index) {
            let before = entries.len();
            if let Some(entry) = log.volatile(index) {
                entries.push((entry.position, entry.kind, entry.payload.clone()));
            } else {
                self.read_run(group, index, budget, &mut entries)?;
            }
            let added = &entries[before..];
            assert!(!added.is_empty(), "an entry that the log holds is in memory or has a place");
            let bytes: usize = added.iter().map(|(_, _, payload)| payload.len()).sum();
            index = LogIndex(index.0 + added.len() as u64);
            if bytes >= budget {
                break;
            }
            budget -= bytes;
        }
        Ok(entries)
    }

    /// Entries that stand near each other in one segment, with one read.
    fn read_run(
        &self,
        group: GroupId,
        from: LogIndex,
        budget: usize,
        entries: &mut Vec<Entry>,
    ) -> Result<(), LogError> {
        let log = self.groups.get(&group).expect("the caller found it");
        let mut run: Vec<Place> = Vec::new();
        let (mut index, mut payloads) = (from, 0_u64);
        while log.holds(index) && log.volatile(index).is_none() {
            let place = self.places.entry(group, index).expect("a settled entry has a place");
            let goes_on = run.first().zip(run.last()).is_none_or(|(first, last)| {
                place.follows(last) && place.end() - u64::from(first.offset) <= SPAN_BYTES_MAX
            });
            if !goes_on || (!run.is_empty() && payloads >= budget as u64) {
                break;
            }
            run.push(place);
            payloads += u64::from(place.bytes);
            index = index.next();
        }
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(()) };
        let span = self.read_span(*first, last.end())?;
        for (place, index) in run.iter().zip(from.0..) {
            let begin = usize::try_from(place.offset - first.offset).expect("within the span");
            let bytes = span.slice(begin..begin + place.bytes as usize);
            entries.push(checked(group, LogIndex(index), *place, &bytes)?);
        }
        Ok(())
    }

    fn read_span(&self, first: Place, end: u64) -> Result<Bytes, LogError> {
        let file = first.segment.file();
        let bytes = usize::try_from(end - u64::from(first.offset)).expect("bounded by a record");
        let span = self
            .disk
            .read(&file, u64::from(first.offset), bytes)
            .map_err(|source| LogError::Read { file: file.clone(), source })?;
        if span.len() < bytes {
            let offset = u64::from(first.offset) + span.len() as u64;
            return Err(LogError::Damaged {
                file,
                offset,
                reason: "the file ends here".to_owned(),
            });
        }
        Ok(span)
    }
}

fn checked(
    group: GroupId,
    index: LogIndex,
    place: Place,
    bytes: &Bytes,
) -> Result<Entry, LogError> {
    let damaged = |reason: String| LogError::Damaged {
        file: place.segment.file(),
        offset: u64::from(place.offset),
        reason,
    };
    let (Stored { record, .. }, length) =
        codec::decode(bytes).map_err(|malformed| damaged(malformed.to_string()))?;
    match record.body {
        Body::Entry { position, kind, payload }
            if record.group == group && position.index == index && length == bytes.len() =>
        {
            Ok((position, kind, payload))
        }
        Body::Entry { .. }
        | Body::Cut { .. }
        | Body::HardState { .. }
        | Body::Start { .. }
        | Body::Forget => Err(damaged("another record stands here".to_owned())),
    }
}

impl Place {
    fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.bytes)
    }

    /// Whether it stands a little after `before` in the same segment.
    fn follows(&self, before: &Self) -> bool {
        let begin = u64::from(self.offset);
        self.segment == before.segment
            && begin >= before.end()
            && begin - before.end() <= GAP_BYTES_MAX
    }
}
