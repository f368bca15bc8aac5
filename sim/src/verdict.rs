//! What a run is found to have broken, and who found it.

/// What is violated, by the name of the checker: its file in `checkers/`, or `cluster` for what shows in running at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    pub checker: &'static str,
    pub what: String,
}

pub(crate) type Verdict = Result<(), Broken>;

impl Broken {
    pub(crate) fn new(checker: &'static str, what: impl Into<String>) -> Self {
        Self { checker, what: what.into() }
    }
}

/// Puts a checker's name to what it says.
pub(crate) trait By<T> {
    fn by(self, checker: &'static str) -> Result<T, Broken>;
}

impl<T> By<T> for Result<T, String> {
    fn by(self, checker: &'static str) -> Result<T, Broken> {
        self.map_err(|what| Broken { checker, what })
    }
}
