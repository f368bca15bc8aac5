//! Planted bad plans, each of which must be caught.
