//! The checker of histories against another one: stateright's tester, which searches in its own way, must come to the same verdict
//! on small random histories, explicable ones and others, with calls that were never answered.

use bytes::Bytes;
use quorate_model::Time;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use stateright::semantics::register::{Register, RegisterOp, RegisterRet};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use super::linearizability::{Action, Call, check};

const HISTORIES: u64 = 20_000;
const CALLS_MAX: usize = 7;
/// Few moments, so that calls overlap and meet.
const MOMENTS: u64 = 12;

fn text(value: u8) -> Bytes {
    value.to_string().into()
}

fn number(text: &Bytes) -> u8 {
    str::from_utf8(text).unwrap().parse().unwrap()
}

/// What a key does, written down a second time.
#[derive(Clone, Debug, PartialEq)]
struct Key(Option<u8>);

#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Done,
    Found(Option<u8>),
    Was(bool),
    Number(u8),
}

impl SequentialSpec for Key {
    type Op = Action;
    type Ret = Answer;

    fn invoke(&mut self, action: &Action) -> Answer {
        match action {
            Action::Set { value } => {
                self.0 = Some(number(value));
                Answer::Done
            }
            Action::Get { .. } => Answer::Found(self.0),
            Action::Delete { .. } => Answer::Was(self.0.take().is_some()),
            Action::Increment { .. } => {
                let next = self.0.unwrap_or(0) + 1;
                self.0 = Some(next);
                Answer::Number(next)
            }
            Action::SetIfAbsent { value, .. } => {
                let absent = self.0.is_none();
                self.0.get_or_insert(number(value));
                Answer::Was(absent)
            }
        }
    }
}

fn any_action(random: &mut ChaCha8Rng) -> Action {
    let value = text(random.random_range(1..=3));
    match random.random_range(0..8) {
        0..2 => Action::Set { value },
        2..5 => Action::Get { found: None },
        5 => Action::Delete { existed: None },
        6 => Action::Increment { result: None },
        _ => Action::SetIfAbsent { value, set: None },
    }
}

fn register_action(random: &mut ChaCha8Rng) -> Action {
    if random.random_bool(0.4) {
        Action::Set { value: text(random.random_range(1..=3)) }
    } else {
        Action::Get { found: None }
    }
}

/// Each call takes effect at some moment between its call and its answer, and says what it found; then some are not answered, of
/// which some had no effect, and now and then an answer is made up.
fn history(
    random: &mut ChaCha8Rng,
    mut action: impl FnMut(&mut ChaCha8Rng) -> Action,
) -> Vec<Call> {
    let count = random.random_range(2..=CALLS_MAX);
    let mut points: Vec<(u64, Call)> = (0..count)
        .map(|_| {
            let called = random.random_range(0..MOMENTS);
            let answered = random.random_range(called..=MOMENTS);
            let point = random.random_range(called..=answered);
            let action = action(random);
            (point, Call { called: Time(called), answered: Some(Time(answered)), action })
        })
        .collect();
    points.sort_by_key(|(point, _)| *point);
    let made_up = random.random_bool(0.5);
    let mut key = Key(None);
    for (_, call) in &mut points {
        if random.random_bool(0.2) {
            call.answered = None;
            if random.random_bool(0.5) {
                continue;
            }
        }
        let answer = key.invoke(&call.action);
        let lies = made_up && random.random_bool(0.3);
        let any = random.random_range(0..=3_u8);
        match (&mut call.action, answer) {
            (Action::Get { found }, Answer::Found(state)) => {
                let state = if lies { Some(any).filter(|any| *any > 0) } else { state };
                *found = state.map(text);
            }
            (
                Action::Delete { existed: was } | Action::SetIfAbsent { set: was, .. },
                Answer::Was(is),
            ) => {
                *was = call.answered.map(|_| is != lies);
            }
            (Action::Increment { result }, Answer::Number(next)) => {
                let next = if lies { any } else { next };
                *result = call.answered.map(|_| i64::from(next));
            }
            (Action::Set { .. }, Answer::Done) => {}
            (action, answer) => panic!("{answer:?} is no answer to {action:?}"),
        }
    }
    let calls = points.into_iter().map(|(_, call)| call);
    // A read without an answer says nothing, as in the simulation's histories.
    calls
        .filter(|call| call.answered.is_some() || !matches!(call.action, Action::Get { .. }))
        .collect()
}

/// Calls and answers in the order of their times; at one moment calls come first.
fn verdict<S: SequentialSpec + Clone>(
    begin: S,
    calls: &[Call],
    translated: impl Fn(&Action) -> (S::Op, S::Ret),
) -> bool
where
    S::Op: Clone + std::fmt::Debug,
    S::Ret: Clone + std::fmt::Debug + PartialEq,
{
    let mut events: Vec<(Time, bool, usize)> = Vec::new();
    for (thread, call) in calls.iter().enumerate() {
        events.push((call.called, false, thread));
        events.extend(call.answered.map(|answered| (answered, true, thread)));
    }
    events.sort_unstable();
    let mut tester = LinearizabilityTester::new(begin);
    for (_, answers, thread) in events {
        let (asked, answered) = translated(&calls[thread].action);
        if answers {
            tester.on_return(thread, answered).unwrap();
        } else {
            tester.on_invoke(thread, asked).unwrap();
        }
    }
    tester.is_consistent()
}

/// Compares the verdicts on many histories, and says how many were refused.
fn compare(seed: u64, theirs: impl Fn(&[Call]) -> bool, action: fn(&mut ChaCha8Rng) -> Action) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut refused = 0;
    for _ in 0..HISTORIES {
        let calls = history(&mut random, action);
        let explained = check(&calls).is_ok();
        assert_eq!(explained, theirs(&calls), "{calls:#?}");
        refused += u64::from(!explained);
    }
    // Enough of both kinds to say something.
    assert!((HISTORIES / 20..HISTORIES * 19 / 20).contains(&refused), "{refused}");
}

#[test]
fn a_register_is_judged_as_by_stateright() {
    let theirs = |calls: &[Call]| {
        verdict(Register(None), calls, |action| match action {
            Action::Set { value } => (RegisterOp::Write(Some(number(value))), RegisterRet::WriteOk),
            Action::Get { found } => {
                (RegisterOp::Read, RegisterRet::ReadOk(found.as_ref().map(number)))
            }
            other @ (Action::Delete { .. }
            | Action::Increment { .. }
            | Action::SetIfAbsent { .. }) => panic!("{other:?} is nothing of a register"),
        })
    };
    compare(1, theirs, register_action);
}

#[test]
fn every_action_is_judged_as_by_stateright() {
    let theirs = |calls: &[Call]| {
        verdict(Key(None), calls, |action| {
            let answer = match action {
                Action::Set { .. } => Answer::Done,
                Action::Get { found } => Answer::Found(found.as_ref().map(number)),
                Action::Delete { existed: was } | Action::SetIfAbsent { set: was, .. } => {
                    Answer::Was(was.unwrap_or_default())
                }
                Action::Increment { result } => {
                    Answer::Number(u8::try_from(result.unwrap_or_default()).unwrap())
                }
            };
            (action.clone(), answer)
        })
    };
    compare(2, theirs, any_action);
}
