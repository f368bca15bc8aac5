//! The state machine of a shard: operations evaluated into row changes and answers.
//!
//! Written by the leader before the log (row images), applied blindly by every replica after it.
