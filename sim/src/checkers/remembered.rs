//! Keeps an eye on INV-106: a session is not answered from less than it has written and seen.
//!
//! By values, not by vectors: nobody else writes to a session's own counter and its own set, and a counter that everybody only
//! increments never goes back. What one replica alone held may be lost with it: then nothing is promised.

/// What one session knows for certain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    /// Its own counter: increments that were acknowledged, and those that perhaps were.
    added: i64,
    perhaps: i64,
    /// The most that it was shown of the counter that all have.
    shown: i64,
    /// Its own set: which, and how many members it has.
    pub(crate) set: u64,
    members: i64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    Add,
    Count,
    AddToAll,
    CountAll,
    Join,
    Clear,
    Members,
}

impl Session {
    /// Its call was answered with this number; `None` where nobody knows whether it was done.
    pub(crate) fn note(&mut self, call: Call, answer: Option<i64>) -> Result<(), String> {
        match (call, answer) {
            (Call::Add, None) => self.perhaps += 1,
            // Beside its own there is what the coordinator knows: at least what the session has written.
            (Call::Add, Some(_)) => self.added += 1,
            (Call::Count, Some(found)) => {
                let (least, most) = (self.added, self.added + self.perhaps);
                if !(least..=most).contains(&found) {
                    return Err(format!("{found} of {least} to {most} own increments"));
                }
            }
            (Call::AddToAll | Call::CountAll, Some(found)) => {
                if found < self.shown {
                    return Err(format!("{found} increments after {} were shown", self.shown));
                }
                self.shown = found;
            }
            // It may take effect whenever it likes: that set is left alone.
            (Call::Join | Call::Clear, None) => {
                self.set += 1;
                self.members = 0;
            }
            (Call::Join, Some(_)) => self.members = 1,
            (Call::Clear, Some(_)) => self.members = 0,
            (Call::Members, Some(found)) => {
                if found != self.members {
                    return Err(format!("{found} members of {}", self.members));
                }
            }
            (Call::Count | Call::AddToAll | Call::CountAll | Call::Members, None) => {}
        }
        Ok(())
    }
}
