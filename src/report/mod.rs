//! Reports for people: what a replay found.

pub mod replay;
