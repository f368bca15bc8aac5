//! Replica, log and state store joined: still synchronous, still without tokio.
//!
//! [`host::Host`] is everything a node replicates: it turns the protocol's outputs into disk operations and messages
//! and their completions into inputs. The node and the simulation drive the same host. [`keyspace`] is the state
//! machine: commands on keys evaluated into row changes; `cells` is the same without a leader.

mod cells;
pub mod entry;
pub mod host;
pub mod keyspace;
mod nesting;
mod operation;
pub mod session;
mod value;

pub use operation::{
    CollectionKind, Combination, Comparison, DeleteCondition, Expiry, FloatText, HomeOf, KeyType,
    Operation, Part, Read, ScanCursor, SetCondition, TtlUnit, Version, Write,
};
pub use value::{Value, ValueError};
