//! The keyspace's answer as the command's.

use quorate_group::{Value, ValueError};

use super::transaction::Answers;
use crate::resp::Reply;
use crate::resp::commands::Shape;

/// How what was executed becomes the answer.
#[derive(Debug)]
pub(super) enum Shaping {
    One(Shape),
    Transaction(Answers),
}

impl Shaping {
    pub(super) fn reply(self, command: &str, value: Value) -> Reply {
        match self {
            Self::One(one) => shape(one, command, value),
            Self::Transaction(answers) => answers.reply(value),
        }
    }
}

/// `command` is the command's name, for errors that name it.
pub(super) fn shape(shape: Shape, command: &str, value: Value) -> Reply {
    if let Value::Error(error) = value {
        return Reply::Error(error_text(&error, command));
    }
    match shape {
        Shape::AsIs => Reply::Value(value),
        Shape::WasSet => Reply::Integer(i64::from(value == Value::Ok)),
        Shape::Done => Reply::Ok,
        Shape::Map => with_list(value, |items| Reply::Map(pairs(items))),
        Shape::Set => with_list(value, |items| Reply::Set(replies(items))),
        Shape::Pairs => with_list(value, |items| Reply::Pairs(pairs(items))),
        Shape::Scanned => with_list(value, |items| {
            let items = items.into_iter().map(|item| {
                // Cursors are text, so that clients with small integers keep them whole.
                if let Value::Integer(cursor) = item {
                    Reply::text(cursor.to_string())
                } else {
                    Reply::Value(item)
                }
            });
            Reply::List(items.collect())
        }),
        Shape::IfExists(number) => {
            if value == Value::Integer(0) {
                Reply::Nil
            } else {
                Reply::Integer(number)
            }
        }
    }
}

fn with_list(value: Value, reply: impl FnOnce(Vec<Value>) -> Reply) -> Reply {
    if let Value::List(items) = value { reply(items) } else { Reply::Value(value) }
}

fn replies(items: Vec<Value>) -> Vec<Reply> {
    items.into_iter().map(Reply::Value).collect()
}

/// What comes in turn, two by two.
fn pairs(items: Vec<Value>) -> Vec<(Reply, Reply)> {
    let mut items = items.into_iter();
    let mut pairs = Vec::with_capacity(items.len() / 2);
    while let (Some(name), Some(value)) = (items.next(), items.next()) {
        pairs.push((Reply::Value(name), Reply::Value(value)));
    }
    pairs
}

fn error_text(error: &ValueError, command: &str) -> String {
    match error {
        ValueError::ExpireTime(_) => format!("ERR invalid expire time in '{command}' command"),
        ValueError::WrongType
        | ValueError::NotInteger
        | ValueError::NotFloat
        | ValueError::Overflow
        | ValueError::NotFinite
        | ValueError::KeyTooLong(_)
        | ValueError::TooLong(_)
        | ValueError::TooManyKeys(_)
        | ValueError::FieldNotInteger
        | ValueError::FieldNotFloat
        | ValueError::FieldTooLong(_)
        | ValueError::TooManyElements(_)
        | ValueError::AnswerTooLong(_)
        | ValueError::NoSuchKey
        | ValueError::Nested
        | ValueError::TokenLength(_)
        | ValueError::TokenUsed
        | ValueError::AnswerNotKept(_)
        | ValueError::Siblings(_)
        | ValueError::TooManySiblings(_)
        | ValueError::UnknownContext
        | ValueError::NeedsLeader
        | ValueError::NotOffered
        | ValueError::NeedsNoLeader
        | ValueError::FieldSiblings(_)
        | ValueError::NotAmongLeaders
        | ValueError::NotLinearizable
        | ValueError::NeedsLeaders
        | ValueError::NoHome
        | ValueError::NoDatacenter(_)
        | ValueError::HomesApart
        | ValueError::WatchedAway(_)
        | ValueError::NotWithHomes => error.to_string(),
    }
}
