//! What is wrong with a command's words, in Redis' texts.

use std::fmt::Write;

use bytes::Bytes;

/// Display is the whole answer, prefix included.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    #[error("ERR unknown command '{name}', with args beginning with: {preview}")]
    Unknown { name: String, preview: String },
    #[error("ERR unknown subcommand '{name}'. Try {container} HELP.")]
    UnknownSubcommand { name: String, container: String },
    #[error("ERR '{0}' is not supported yet")]
    NotOffered(String),
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(&'static str),
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    #[error("ERR value is not a valid float")]
    NotFloat,
    #[error("ERR value is out of range, value must between {0} and {1}")]
    OutOfRange(i64, i64),
    #[error("ERR invalid expire time in '{0}' command")]
    ExpireTime(&'static str),
    #[error("ERR invalid cursor")]
    Cursor,
    /// An answer that only one command gives.
    #[error("{0}")]
    Other(String),
}

/// How much of a client's words is shown to it again, as Redis.
const PREVIEW_MAX: usize = 128;

impl CommandError {
    pub(super) fn unknown(name: &[u8], rest: &[Bytes]) -> Self {
        let mut preview = String::new();
        for word in rest {
            if preview.len() >= PREVIEW_MAX {
                break;
            }
            let shown = shown(word, PREVIEW_MAX - preview.len());
            write!(preview, "'{shown}' ").expect("writing to a string does not fail");
        }
        Self::Unknown { name: shown(name, PREVIEW_MAX), preview }
    }

    pub(super) fn unknown_subcommand(name: &[u8], container: &str) -> Self {
        Self::UnknownSubcommand {
            name: shown(name, PREVIEW_MAX),
            container: container.to_ascii_uppercase(),
        }
    }

    pub(super) fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }
}

/// The begin of a word. C strings end at a zero byte, and so does what Redis shows.
fn shown(word: &[u8], bytes_max: usize) -> String {
    let cut = &word[..word.len().min(bytes_max)];
    let cut = cut.split(|byte| *byte == 0).next().unwrap_or(cut);
    String::from_utf8_lossy(cut).into_owned()
}
