//! The pipeline: [`plan`] says what is to be done, the driver does it.

pub mod plan;
pub mod replay;
