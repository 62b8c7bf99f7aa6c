//! Who uses a key beside who is expected to.
//!
//! A card knows who called what and when, and not from where or with which encryption context; so it
//! is judged by principal and operation alone, and what a line asks beyond that is left to `explain`.

use serde::Serialize;

use super::Sources;
use crate::alert::redact::printable;
use crate::event::operation::{Class, class_of};
use crate::keys::expect::parts::in_words;
use crate::keys::inventory::{Domain, Expect};
use crate::keys::picture::{Portrait, User};
use crate::time::EventTime;

/// Whether a user is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Fits a `never` of the domain.
    Never,
    /// Fits no line, or not for all that it does.
    Unexpected,
    /// Fits lines for all that it does.
    Expected,
    /// The key is in no domain.
    Unknown,
}

impl Standing {
    /// As a table shows it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "NEVER",
            Self::Unexpected => "NOT EXPECTED",
            Self::Expected => "expected",
            Self::Unknown => "-",
        }
    }
}

/// A principal that used the key.
#[derive(Clone, Debug, Serialize)]
pub struct UserShown {
    /// Who.
    pub principal: String,
    /// First use told of.
    pub first: EventTime,
    /// Last use told of.
    pub last: EventTime,
    /// How often, when records were counted.
    pub calls: Option<u64>,
    /// What.
    pub operations: Vec<String>,
    /// Whether the inventory expects it.
    pub standing: Standing,
    /// What of it no line is for.
    pub unexpected_operations: Vec<String>,
}

/// A line of expected use.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Where it stands in the inventory.
    pub line: u64,
    /// Who, for what, and under which bounds.
    pub in_words: String,
    /// Whether anybody was seen whom it is for.
    pub seen: bool,
}

pub(super) fn actual(arn: &str, portrait: &Portrait, domain: Option<&Domain>, sources: &Sources<'_>) -> Vec<UserShown> {
    let shown = |(principal, user): (&str, &User)| {
        let (standing, unexpected) = judge(principal, user, domain);
        UserShown {
            principal: printable(principal),
            first: user.first,
            last: user.last,
            calls: sources.calls.get(&(arn.to_owned(), principal.to_owned())).copied(),
            operations: user.operations.iter().map(|operation| printable(operation)).collect(),
            standing,
            unexpected_operations: unexpected,
        }
    };
    let mut all: Vec<_> = portrait.users().filter(|(_, user)| user.first <= sources.at).map(shown).collect();
    all.sort_by(|a, b| (a.standing, b.last, &a.principal).cmp(&(b.standing, a.last, &b.principal)));
    all
}

pub(super) fn expected(portrait: &Portrait, domain: Option<&Domain>, at: EventTime) -> Vec<Line> {
    let uses = |line: &Expect, who: &str, user: &User| user.operations.iter().any(|name| is_for(line, who, name));
    let users: Vec<_> = portrait.users().filter(|(_, user)| user.first <= at).collect();
    let is_seen = |line: &Expect| users.iter().any(|(who, user)| uses(line, who, user));
    let lines = domain.into_iter().flat_map(|domain| &domain.expect);
    lines.map(|line| Line { line: line.line, in_words: in_words(line), seen: is_seen(line) }).collect()
}

fn judge(principal: &str, user: &User, domain: Option<&Domain>) -> (Standing, Vec<String>) {
    let Some(domain) = domain else { return (Standing::Unknown, Vec::new()) };
    if domain.never.iter().any(|pattern| pattern.matches(principal)) {
        return (Standing::Never, user.operations.iter().map(|operation| printable(operation)).collect());
    }
    let is_unexpected = |name: &&String| !domain.expect.iter().any(|line| is_for(line, principal, name));
    let unexpected: Vec<_> = user.operations.iter().filter(is_unexpected).map(|name| printable(name)).collect();
    (if unexpected.is_empty() { Standing::Expected } else { Standing::Unexpected }, unexpected)
}

/// Whether a line is for a principal and an operation, whatever else it asks.
fn is_for(line: &Expect, principal: &str, operation: &str) -> bool {
    // Of ReEncrypt the part that the key played is not kept, so either half will do.
    let names: &[&str] = match operation {
        "ReEncrypt" => &["ReEncrypt", "ReEncryptFrom", "ReEncryptTo"],
        other => &[other],
    };
    let for_operation = match line.operations.is_empty() {
        true => class_of(operation) == Class::Cryptographic,
        false => line.operations.iter().any(|pattern| names.iter().any(|name| pattern.matches(name))),
    };
    for_operation && line.principals.iter().any(|pattern| pattern.matches(principal))
}
