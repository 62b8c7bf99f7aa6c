//! Sources: where deliveries come from. One file an adapter; none looks inside a body.
//!
//! Invariant: a delivery is given back ([`Source::ack`]) only when the pipeline says that its
//! effects are durable; what is never acknowledged comes again.

pub mod capture;
pub mod directory;
pub mod sqs;

use crate::time::EventTime;

/// The handle that acknowledges a delivery. Its meaning belongs to the source that made it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Receipt(pub String);

/// A body as it came, and how to acknowledge it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The bytes; possibly an envelope, possibly compressed.
    pub body: Vec<u8>,
    /// For [`Source::ack`].
    pub receipt: Receipt,
    /// Names the delivery in messages: an SQS message id, or a file's path.
    pub label: String,
    /// When the source was given the body, if it knows (SQS `SentTimestamp`).
    pub sent_at: Option<EventTime>,
    /// How often it was delivered, this time included.
    pub receive_count: u32,
}

/// What became of a call to [`Source::receive`].
#[derive(Debug)]
pub enum Received {
    /// Deliveries; may be empty when a long poll ended without any.
    Batch(Vec<Delivery>),
    /// The source ended and never yields again (a drained `--once` run).
    End,
}

/// Why a source failed; the class decides what the pipeline does.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Try again after a pause.
    #[error("{0}")]
    Retry(String),
    /// Trying again cannot help: stop.
    #[error("{0}")]
    Fatal(String),
}

/// A place that deliveries come from. Shared by many pollers, hence `&self`.
pub trait Source: Send + Sync {
    /// Waits for deliveries, at most for the source's own poll time.
    fn receive(&self) -> impl Future<Output = Result<Received, SourceError>> + Send;
    /// Acknowledges; returns the receipts that the source did not take, to be tried again. One that it
    /// never takes comes again by itself.
    fn ack(&self, receipts: &[Receipt]) -> impl Future<Output = Result<Vec<Receipt>, SourceError>> + Send;
    /// Gives a delivery up to the source's own dead-letter path: it is never acknowledged. The
    /// source stops extending its claim on it.
    fn park(&self, receipt: &Receipt) -> impl Future<Output = Result<(), SourceError>> + Send;
    /// Gives back what was neither acknowledged nor parked, so that another may have it at once.
    fn close(&self) -> impl Future<Output = ()> + Send;
}
