//! Patterns over names: `*` and `?`, and in an ARN they stay within their part.
//!
//! `arn:aws:iam::*:role/developer-*` must not match an ARN whose account part the star ran over;
//! this is how IAM's ArnLike reads them.

use std::fmt;

use crate::event::glob::{arn_like, glob};

/// A pattern as written in the inventory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamePattern {
    text: String,
}

impl NamePattern {
    /// Takes a pattern.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { text: text.trim().to_owned() }
    }

    /// Whether `name` fits. Case counts, as in IAM.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if self.text.starts_with("arn:") { arn_like(&self.text, name) } else { glob(&self.text, name) }
    }

    /// Whether it matches one name only.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.text.contains(['*', '?'])
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_within_its_arn_part() {
        let pattern = NamePattern::new("arn:aws:iam::*:role/developer-*");
        assert!(pattern.matches("arn:aws:iam::111122223333:role/developer-ann/x"));
        assert!(!pattern.matches("arn:aws:iam::1:group:role/developer-ann"));
        assert!(!pattern.matches("arn:aws:sts::111122223333:role/developer-ann"));
        assert!(NamePattern::new("service:*").matches("service:cloudtrail.amazonaws.com"));
        assert!(NamePattern::new("*").matches("arn:aws:iam::1:user/x"));
        assert!(!NamePattern::new("arn:aws:iam::1:user/x").matches("arn:aws:iam::1:user/X"));
    }
}
