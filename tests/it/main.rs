//! One binary for all integration tests: one link, shared helpers.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod banking;
mod benign;
mod evidence;
mod explain;
mod hostile;
mod layering;
mod learn;
mod noise;
mod oddities;
mod picture;
mod policies;
mod replay;
mod rules;
mod sim;
mod store;
