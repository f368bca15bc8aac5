//! Every key's history is linearizable: some order of its operations, each between its call and its answer, explains
//! every answer (Herlihy and Wing, 1990). The search is Wing and Gong's with Lowe's memory of states seen.
//!
//! An operation without an answer may have taken effect at any time after its call, or never. INV-24, INV-25, INV-56, INV-65, INV-67,
//! INV-105.

use std::collections::HashSet;

use bytes::Bytes;
use quorate_model::Time;

/// One operation on one key, as its client saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    pub(crate) called: Time,
    /// `None`: no answer, or one that says that the effect is unknown.
    pub(crate) answered: Option<Time>,
    pub(crate) action: Action,
}

/// What was asked, and what was answered where the answer tells something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Set {
        value: Bytes,
    },
    Get {
        found: Option<Bytes>,
    },
    Delete {
        existed: Option<bool>,
    },
    /// `result` is the number after the increment.
    Increment {
        result: Option<i64>,
    },
    /// SET NX: whether it was set.
    SetIfAbsent {
        value: Bytes,
        set: Option<bool>,
    },
}

type State = Option<Bytes>;

/// # Errors
/// The calls, in order, that no order explains.
pub(crate) fn check(calls: &[Call]) -> Result<(), String> {
    let mut search = Search::new(calls);
    if search.explains() {
        return Ok(());
    }
    let mut lines = vec!["no order of these calls explains their answers:".to_owned()];
    for call in calls {
        let answered = call.answered.map_or_else(|| "?".to_owned(), |at| at.0.to_string());
        lines.push(format!("  {}..{answered} {:?}", call.called.0, call.action));
    }
    Err(lines.join("\n"))
}

/// What the action leaves when it runs on `state`, if its answer agrees.
fn step(state: &State, action: &Action) -> Option<State> {
    match action {
        Action::Set { value } => Some(Some(value.clone())),
        Action::Get { found } => (found == state).then(|| state.clone()),
        Action::Delete { existed } => {
            existed.is_none_or(|existed| existed == state.is_some()).then_some(None)
        }
        Action::Increment { result } => {
            let before: i64 = match state {
                None => 0,
                Some(text) => str::from_utf8(text).ok()?.parse().ok()?,
            };
            let after = before + 1;
            result
                .is_none_or(|result| result == after)
                .then(|| Some(Bytes::from(after.to_string())))
        }
        Action::SetIfAbsent { value, set } => {
            let would = state.is_none();
            let after = if would { Some(value.clone()) } else { state.clone() };
            set.is_none_or(|set| set == would).then_some(after)
        }
    }
}

/// A doubly linked list of call and return events, from which linearized operations are lifted.
struct Search<'a> {
    calls: &'a [Call],
    /// For event `e`: operation and whether it is the return. Event 0 is the head.
    events: Vec<(usize, bool)>,
    next: Vec<usize>,
    previous: Vec<usize>,
    return_of: Vec<usize>,
    known_left: usize,
}

const END: usize = usize::MAX;

impl<'a> Search<'a> {
    fn new(calls: &'a [Call]) -> Self {
        let mut order: Vec<(Time, bool, usize)> = Vec::with_capacity(calls.len() * 2);
        for (operation, call) in calls.iter().enumerate() {
            order.push((call.called, false, operation));
            order.push((call.answered.unwrap_or(Time(u64::MAX)), true, operation));
        }
        // At equal times the call comes first: the two may be concurrent.
        order.sort_unstable();
        let mut events = vec![(END, false)];
        let mut return_of = vec![END; calls.len()];
        for (_, is_return, operation) in order {
            if is_return {
                return_of[operation] = events.len();
            }
            events.push((operation, is_return));
        }
        let count = events.len();
        let next = (1..=count).map(|event| if event == count { END } else { event }).collect();
        let previous = (0..count).map(|event| event.wrapping_sub(1)).collect();
        let known_left = calls.iter().filter(|call| call.answered.is_some()).count();
        Self { calls, events, next, previous, return_of, known_left }
    }

    fn explains(&mut self) -> bool {
        let mut state: State = None;
        let mut done = vec![0u64; self.calls.len().div_ceil(64)];
        let mut seen: HashSet<(Vec<u64>, State)> = HashSet::new();
        let mut undo: Vec<(usize, State)> = Vec::new();
        let mut event = self.next[0];
        while self.known_left > 0 {
            let (operation, is_return) =
                if event == END { (END, true) } else { self.events[event] };
            if is_return {
                // Every operation that could come first here was tried: take the last one back.
                let Some((last, before)) = undo.pop() else { return false };
                let (operation, _) = self.events[last];
                self.put_back(last);
                done[operation / 64] &= !(1 << (operation % 64));
                state = before;
                event = self.next[last];
                continue;
            }
            let mut advanced = None;
            if let Some(after) = step(&state, &self.calls[operation].action) {
                done[operation / 64] |= 1 << (operation % 64);
                if seen.insert((done.clone(), after.clone())) {
                    advanced = Some(after);
                } else {
                    done[operation / 64] &= !(1 << (operation % 64));
                }
            }
            match advanced {
                Some(after) => {
                    undo.push((event, std::mem::replace(&mut state, after)));
                    self.lift(event);
                    event = self.next[0];
                }
                None => event = self.next[event],
            }
        }
        true
    }

    fn lift(&mut self, call: usize) {
        let (operation, _) = self.events[call];
        for event in [call, self.return_of[operation]] {
            let (previous, next) = (self.previous[event], self.next[event]);
            self.next[previous] = next;
            if next != END {
                self.previous[next] = previous;
            }
        }
        self.known_left -= usize::from(self.calls[operation].answered.is_some());
    }

    fn put_back(&mut self, call: usize) {
        let (operation, _) = self.events[call];
        for event in [self.return_of[operation], call] {
            let (previous, next) = (self.previous[event], self.next[event]);
            self.next[previous] = event;
            if next != END {
                self.previous[next] = event;
            }
        }
        self.known_left += usize::from(self.calls[operation].answered.is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(called: u64, answered: Option<u64>, action: Action) -> Call {
        Call { called: Time(called), answered: answered.map(Time), action }
    }

    fn set(value: &'static str) -> Action {
        Action::Set { value: value.into() }
    }

    fn get(found: Option<&'static str>) -> Action {
        Action::Get { found: found.map(Bytes::from) }
    }

    #[test]
    fn a_sequential_history_is_explained() {
        let calls = [
            call(0, Some(1), set("a")),
            call(2, Some(3), get(Some("a"))),
            call(4, Some(5), Action::Delete { existed: Some(true) }),
            call(6, Some(7), get(None)),
            call(8, Some(9), Action::Increment { result: Some(1) }),
        ];
        assert_eq!(check(&calls), Ok(()));
    }

    #[test]
    fn a_stale_read_is_caught() {
        let calls = [
            call(0, Some(1), set("a")),
            call(2, Some(3), set("b")),
            call(4, Some(5), get(Some("a"))),
        ];
        assert!(check(&calls).is_err());
    }

    #[test]
    fn concurrent_calls_may_go_either_way() {
        for found in ["a", "b"] {
            let calls = [
                call(0, Some(10), set("a")),
                call(0, Some(10), set("b")),
                call(11, Some(12), get(Some(found))),
            ];
            assert_eq!(check(&calls), Ok(()));
        }
    }

    #[test]
    fn an_unknown_write_may_happen_late_or_never_but_not_both() {
        let late = [
            call(0, None, set("a")),
            call(5, Some(6), get(None)),
            call(7, Some(8), get(Some("a"))),
        ];
        assert_eq!(check(&late), Ok(()));
        let never = [call(0, None, set("a")), call(5, Some(6), get(None))];
        assert_eq!(check(&never), Ok(()));
        let undone = [
            call(0, None, set("a")),
            call(5, Some(6), get(Some("a"))),
            call(7, Some(8), get(None)),
        ];
        assert!(check(&undone).is_err());
    }

    #[test]
    fn a_lost_increment_is_caught() {
        let one = || Action::Increment { result: Some(1) };
        let calls = [call(0, Some(1), one()), call(2, Some(3), one())];
        assert!(check(&calls).is_err());
    }
}
