//! KMS, asked: what it says of every key of an account and Region, as [`KeyFacts`](crate::keys::snapshot::KeyFacts).
//!
//! [`survey`] lists the keys and asks each; [`journal`] keeps the answers on disk, so that a start
//! after a crash goes on; [`refresh`] asks again and again.
//!
//! Invariants: every request, each page and each further try included, waits for the limiter of its
//! account and Region first; a key is told only when KMS has answered every question about it, if
//! only by a refusal, so that what is told need not be asked again.
//!
//! Must not: call anything that changes a key.

mod ask;
pub mod journal;
pub mod pace;
pub mod refresh;
pub mod survey;

use std::fmt;

/// An account, by the profile that leads to it, and a Region of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Profile of the shared configuration; without one the SDK's usual chain.
    pub profile: Option<String>,
    /// Region.
    pub region: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.profile {
            Some(profile) => write!(f, "{} (profile {profile})", self.region),
            None => f.write_str(&self.region),
        }
    }
}

/// Why the keys of a place cannot all be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KmsError {
    /// Not even their list may be read.
    #[error(
        "{place}: kms:ListKeys is not allowed, so no key can be asked; give the caller the statements of \
         deploy/iam/import-policy.json ({reason})"
    )]
    ListDenied {
        /// Where.
        place: Place,
        /// What KMS said.
        reason: String,
    },
    /// Their list cannot be read.
    #[error("{place}: the keys cannot be listed: {reason}")]
    ListFailed {
        /// Where.
        place: Place,
        /// What KMS said.
        reason: String,
    },
    /// KMS did not answer, or answers nobody with these credentials.
    #[error("{place}: {reason}")]
    OutOfReach {
        /// Where.
        place: Place,
        /// What happened.
        reason: String,
    },
}
