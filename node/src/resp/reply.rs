//! What a client is answered, before it is bytes.

use std::borrow::Cow;

use bytes::Bytes;
use quorate_group::Value;

/// Which encoding a connection has asked for (HELLO).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    Ok,
    Nil,
    /// As [`Reply::Nil`], but an absent array to clients of RESP2.
    NilList,
    Integer(i64),
    Bulk(Bytes),
    /// A bulk string of ours.
    Text(Cow<'static, str>),
    Status(Cow<'static, str>),
    /// Begins with its prefix, `ERR` or another.
    Error(String),
    List(Vec<Self>),
    Set(Vec<Self>),
    Map(Vec<(Self, Self)>),
    /// A list of pairs to clients of RESP3, a flat one to the others.
    Pairs(Vec<(Self, Self)>),
    /// Text for people: verbatim in RESP3, a bulk string in RESP2.
    Verbatim(String),
    /// What the keyspace answered.
    Value(Value),
}

impl Reply {
    pub fn text(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Text(text.into())
    }

    pub fn error(text: impl Into<String>) -> Self {
        Self::Error(text.into())
    }

    pub fn texts(texts: impl IntoIterator<Item = &'static str>) -> Self {
        Self::List(texts.into_iter().map(Self::text).collect())
    }

    /// An integer of a size or a count.
    #[must_use]
    pub fn count(count: u64) -> Self {
        Self::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }
}
