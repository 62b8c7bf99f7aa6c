//! Sinks: where alerts go. One file an adapter.
//!
//! Invariant: a sink returns success only when the other side has the alert. It may be asked to
//! deliver the same alert again and passes on the alert's stable id for the receiver to tell.

pub mod file;
pub mod sns;
pub mod terminal;

use crate::alert::Alert;

/// Why an alert was not delivered; the class decides what the pipeline does.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Try again after a pause.
    #[error("{0}")]
    Retry(String),
    /// This alert will never be taken: dead-letter it and say so.
    #[error("{0}")]
    Permanent(String),
}

/// A place that alerts go to.
pub trait Sink: Send + Sync {
    /// Its name in logs and metrics.
    fn name(&self) -> &str;
    /// Hands one alert over.
    fn deliver(&self, alert: &Alert) -> impl Future<Output = Result<(), SinkError>> + Send;
}
