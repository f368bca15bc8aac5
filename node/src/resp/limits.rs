//! What a request may consist of.

/// Checked against the announced sizes, before anything of that size is allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// How many arguments a request may have.
    pub arguments_max: u32,
    /// How long one argument may be.
    pub bulk_bytes_max: u32,
    /// How long an inline request, or a header line, may be.
    pub inline_bytes_max: u32,
    /// How long the whole of a request may be.
    pub request_bytes_max: u32,
    /// Whether the client has yet to authenticate: other error texts, as Redis.
    pub authenticated: bool,
}

impl Limits {
    /// What a client gets before it has authenticated: as Redis, 10 arguments of 16 KiB.
    #[must_use]
    pub const fn unauthenticated(self) -> Self {
        Self { arguments_max: 10, bulk_bytes_max: 16_384, authenticated: false, ..self }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            arguments_max: 1_048_576,
            bulk_bytes_max: 512 << 20,
            inline_bytes_max: 64 << 10,
            request_bytes_max: 1 << 30,
            authenticated: true,
        }
    }
}
