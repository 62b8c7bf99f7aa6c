//! One binary for all integration tests: one link, shared helpers.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod benign;
mod explain;
mod layering;
mod noise;
mod replay;
mod rules;
mod store;
