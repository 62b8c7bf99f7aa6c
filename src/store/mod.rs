//! Stores: engine state and outbox, committed together.
//!
//! Invariant: [`StateStore::commit`] returns only when everything in the [`Commit`] is durable, or
//! nothing of it is.

pub mod memory;
pub mod redb;

use crate::alert::Alert;
pub use crate::engine::StateDelta;

/// Orders the outbox; given out by the store, ascending.
pub type OutboxSeq = u64;

/// What one batch changes, all or nothing.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Changed rows; of several for one key the last counts.
    pub deltas: Vec<StateDelta>,
    /// Alerts to send.
    pub outbox: Vec<Alert>,
}

/// What a store held when it was opened.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// All rows, in key order.
    pub rows: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why a store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Cannot be read or written now (disk full, I/O error): nothing was committed.
    #[error("state store {path}: {reason}")]
    Io {
        /// The file.
        path: String,
        /// What the system said and what to do.
        reason: String,
    },
    /// Another process has it open.
    #[error("state store {path} is in use by another process; run one kmswatch per store")]
    Busy {
        /// The file.
        path: String,
    },
    /// Written by a newer kmswatch, or not a store at all.
    #[error("state store {path}: {reason}")]
    Format {
        /// The file.
        path: String,
        /// What was found and what to do.
        reason: String,
    },
}

/// Durable state with an outbox. Blocking: the pipeline calls it from threads that may block.
pub trait StateStore: Send + Sync {
    /// Everything committed so far.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn restore(&self) -> Result<Restored, StoreError>;
    /// Makes a batch durable, all or nothing.
    ///
    /// # Errors
    /// When it is not durable; nothing of it is visible then.
    fn commit(&self, commit: &Commit) -> Result<(), StoreError>;
    /// The oldest alerts of the outbox after `after`, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn pending(&self, after: Option<OutboxSeq>, limit: usize) -> Result<Vec<(OutboxSeq, Alert)>, StoreError>;
    /// How many alerts are in the outbox.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn pending_len(&self) -> Result<u64, StoreError>;
    /// Removes alerts up to and including `through`: every sink has them.
    ///
    /// # Errors
    /// When it is not durable; the alerts will be delivered again.
    fn delivered(&self, through: OutboxSeq) -> Result<(), StoreError>;
}
