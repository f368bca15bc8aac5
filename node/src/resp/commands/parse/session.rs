//! What a session is promised: SESSION.

use quorate_model::{ReadPreference, ReadYourWrites};

use super::Parsed;
use crate::resp::commands::arguments::{Options, text, upper};
use crate::resp::commands::{
    Arguments, Command, CommandError, DurabilityOption, SessionCommand, SessionOption,
};
use crate::resp::parse_integer;

/// As long as the textbook's minute.
const WINDOW_MS: u64 = 60_000;
/// An hour: more is no freshness.
const MS_MAX: i64 = 3_600_000;
const PATTERNS_MAX: i64 = 16;
const WORD_BYTES_MAX: usize = 256;

pub(in super::super) fn set(arguments: &Arguments<'_>) -> Parsed {
    let mut words = arguments.options(2);
    let mut options = Vec::new();
    while let Some(name) = words.next() {
        options.push(option(&upper(name), &mut words)?);
    }
    session(SessionCommand::Set(options))
}

pub(in super::super) fn get(_: &Arguments<'_>) -> Parsed {
    session(SessionCommand::Get)
}

pub(in super::super) fn token(_: &Arguments<'_>) -> Parsed {
    session(SessionCommand::Token)
}

pub(in super::super) fn resume(arguments: &Arguments<'_>) -> Parsed {
    session(SessionCommand::Resume(arguments.owned(2)))
}

pub(in super::super) fn reset(_: &Arguments<'_>) -> Parsed {
    session(SessionCommand::Reset)
}

fn option(name: &str, words: &mut Options<'_>) -> Result<SessionOption, CommandError> {
    Ok(match name {
        "READS" => SessionOption::Reads(match upper(words.value()?).as_str() {
            "LEADER" => ReadPreference::Leader,
            "REPLICA" => ReadPreference::Replica,
            _ => return Err(wrong(name, "LEADER or REPLICA")),
        }),
        "READ-YOUR-WRITES" => SessionOption::ReadYourWrites(read_your_writes(name, words)?),
        "MONOTONIC" => SessionOption::Monotonic(on(name, words)?),
        "PREFIX" => SessionOption::Prefix(on(name, words)?),
        "STALENESS" => {
            let word = words.value()?;
            let off = upper(word) == "OFF";
            SessionOption::Staleness(if off { None } else { Some(ms(name, word)?) })
        }
        "WAIT" => SessionOption::Wait(ms(name, words.value()?)?),
        "DURABILITY" => SessionOption::Durability(match upper(words.value()?).as_str() {
            "STORE" => DurabilityOption::Store,
            "QUORUM" => DurabilityOption::Quorum,
            "SYNC" => DurabilityOption::Sync,
            followers => match followers.parse() {
                Ok(followers) => DurabilityOption::Followers(followers),
                Err(_) => return Err(wrong(name, "STORE, QUORUM, SYNC or a number of followers")),
            },
        }),
        "DURABILITY-TIMEOUT" => match ms(name, words.value()?)? {
            0 => return Err(wrong(name, "more than no milliseconds")),
            ms => SessionOption::DurabilityTimeout(ms),
        },
        "USER" => SessionOption::User(word(name, words)?),
        _ => {
            let known = "READS, READ-YOUR-WRITES, MONOTONIC, PREFIX, STALENESS, WAIT, DURABILITY, \
                         DURABILITY-TIMEOUT and USER";
            return Err(CommandError::other(format!("ERR the options of a session are {known}")));
        }
    })
}

fn read_your_writes(name: &str, words: &mut Options<'_>) -> Result<ReadYourWrites, CommandError> {
    match upper(words.value()?).as_str() {
        "OFF" => Ok(ReadYourWrites::Off),
        "POSITION" => Ok(ReadYourWrites::Position),
        "WINDOW" => {
            let given = words.peek().filter(|word| parse_integer(word).is_some()).cloned();
            match given {
                None => Ok(ReadYourWrites::Window { ms: WINDOW_MS }),
                Some(word) => {
                    words.next();
                    Ok(ReadYourWrites::Window { ms: ms(name, &word)? })
                }
            }
        }
        "OWNER" => {
            let count = words.integer()?;
            if !(1..=PATTERNS_MAX).contains(&count) {
                return Err(wrong(name, "OWNER and how many patterns follow, 1 to 16"));
            }
            let patterns = (0..count).map(|_| word(name, words)).collect::<Result<_, _>>()?;
            Ok(ReadYourWrites::Owner { patterns })
        }
        _ => Err(wrong(name, "OFF, POSITION, WINDOW [ms], or OWNER <count> <pattern>...")),
    }
}

fn on(name: &str, words: &mut Options<'_>) -> Result<bool, CommandError> {
    match upper(words.value()?).as_str() {
        "ON" => Ok(true),
        "OFF" => Ok(false),
        _ => Err(wrong(name, "ON or OFF")),
    }
}

fn ms(name: &str, word: &[u8]) -> Result<u64, CommandError> {
    let ms = parse_integer(word).filter(|ms| (0..=MS_MAX).contains(ms));
    let ms = ms.and_then(|ms| u64::try_from(ms).ok());
    ms.ok_or_else(|| wrong(name, "milliseconds, 0 to 3600000"))
}

fn word(name: &str, words: &mut Options<'_>) -> Result<String, CommandError> {
    let word = words.value()?;
    if word.len() > WORD_BYTES_MAX {
        return Err(wrong(name, "words of 256 bytes at most"));
    }
    Ok(text(word))
}

fn wrong(name: &str, takes: &str) -> CommandError {
    CommandError::other(format!("ERR {name} takes {takes}"))
}

const fn session(command: SessionCommand) -> Parsed {
    Ok(Command::Session(command))
}
