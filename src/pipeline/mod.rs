//! The pipeline: [`plan`] says what is to be done, the driver does it.

pub mod backoff;
pub mod drive;
pub mod health;
pub mod learn;
pub mod outbox;
pub mod plan;
pub mod replay;
pub mod survey;
