//! Reports for people and for other tools: what a replay found, what is wrong with rules, what their
//! examples came to, what they cover; and evidence for auditors.
//!
//! Invariant: pure; the command line prints and writes.

pub mod check;
pub mod drift;
pub mod evidence;
pub mod examples;
pub mod explain;
pub mod inventory;
pub mod keys;
pub mod replay;
pub mod rules;
