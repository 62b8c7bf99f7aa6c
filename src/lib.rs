//! kmswatch watches how AWS KMS keys are used and changed.
//!
//! It reads CloudTrail records, live from EventBridge through SQS or from captured files, runs
//! them through a streaming rule engine, and publishes alerts to SNS so that a pager rings.

pub mod alert;
pub mod cli;
pub mod config;
pub mod engine;
pub mod event;
pub mod keys;
pub mod pipeline;
pub mod report;
pub mod rule;
pub mod sink;
pub mod source;
pub mod store;
pub mod telemetry;
pub mod time;
pub mod web;
