//! kmswatch watches how AWS KMS keys are used and changed.
//!
//! It reads CloudTrail records, live from EventBridge through SQS or from captured files, runs them
//! through a streaming rule engine, and publishes alerts to SNS so that a pager rings within seconds
//! of the call. This page is the map; each module opens with what it is for, its invariant, and what
//! it must not do.
//!
//! # One record's path
//!
//! ```text
//! source ──► event ──► keys ──► rule ──► engine ──► store ──► source.ack
//! (bytes)   (decode,  (which   (which   (windows,  (state +      │
//!            who,      domain,  rules    incidents) outbox, one   ▼
//!            key)      expected match?)             transaction) sink (from the outbox)
//!            ?)
//! ```
//!
//! 1. [`source`] yields a delivery and does not look inside.
//! 2. [`event`] opens the envelope ([`event::envelope`]), decodes each record by projection
//!    ([`event::record`]) and says who used which key ([`event::derive`]).
//! 3. [`keys`] adds the key's domain and judges the use against the inventory ([`keys::expect`]).
//! 4. [`rule`] finds the rules that match, through an index that may only over-approximate.
//! 5. [`engine`] applies each match to the state of its (rule, group); [`engine::group`] is the pure
//!    function that opens, extends and joins incidents.
//! 6. [`alert`] makes what a person reads of each change.
//! 7. [`pipeline::plan`] turns a batch of deliveries into one commit, the receipts to acknowledge and
//!    the account of every record; [`pipeline::drive`] carries that out: commit to the [`store`], only
//!    then acknowledge, and let each [`sink`] drain the outbox.
//!
//! Beside that path, [`kms`] asks KMS what it says of its keys: for an inventory to begin with
//! ([`report::inventory`]), and so that the picture of the keys ([`keys::picture`]) knows what was
//! there before the first record.
//!
//! # What always holds
//!
//! - Nothing is acknowledged before its effects are durable.
//! - State is a set: repetition, order within the allowed lateness, restarts and replicas end in the
//!   same incidents. The oracle in the engine's tests is the definition, written naively.
//! - Time is event time and an argument. Up to [`pipeline::plan`] nothing reads a clock, a file or a
//!   network; `tests/it/layering.rs` reads the source and fails on a forbidden edge.
//! - The account closes: received = applied + duplicate + filtered + late + parked.
//! - Everything has a limit, and what happens there is counted.

pub mod alert;
pub mod cli;
pub mod config;
pub mod engine;
pub mod event;
pub mod keys;
pub mod kms;
pub mod pipeline;
pub mod report;
pub mod rule;
pub mod sim;
pub mod sink;
pub mod source;
pub mod store;
pub mod telemetry;
pub mod time;
pub mod web;
