//! Records: from delivered bytes to fields that rules read, callers and keys resolved.
//!
//! [`envelope`] opens what a source delivered, [`record`] decodes one CloudTrail record by
//! projection, [`principal`], [`key`] and [`operation`] say who did what to which key.
//!
//! Invariant: pure. Text of a record is data; nothing here trusts it.

pub mod derive;
pub mod envelope;
mod facts;
pub mod field;
pub mod glob;
pub mod key;
pub mod operation;
pub mod policy;
pub mod principal;
pub mod record;
pub mod selectors;
pub mod split;
pub mod unpack;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The identity of a record: CloudTrail's `eventID`, or a hash of its bytes where it has none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId(Arc<str>);

impl EventId {
    /// Longest id kept as it is; a longer one is replaced by its hash.
    pub const MAX_BYTES: usize = 128;

    /// The id as CloudTrail wrote it, or its hash when it is absurdly long.
    #[must_use]
    pub fn new(id: &str) -> Self {
        if id.len() <= Self::MAX_BYTES { Self(id.into()) } else { Self::of_bytes(id.as_bytes()) }
    }

    /// An id for a record without `eventID`: the hash of its bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(format!("blake3:{}", blake3::hash(bytes).to_hex().chars().take(32).collect::<String>()).into())
    }

    /// Sorts before every id: where a range begins.
    #[must_use]
    pub fn least() -> Self {
        Self("".into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
