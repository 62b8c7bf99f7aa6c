//! Exceptions that a person made, with a ticket and an end: break-glass access and suppressions.
//!
//! Invariant: nothing lasts for ever; each has an instant at which it ends, in event time.
//!
//! A suppression takes away single matches, not whole incidents: a burst that one more principal joins
//! is told with what that principal did, at once.
//!
//! Must not hide: a break-glass use has an alert of its own, and what is suppressed is counted.

use super::pattern::NamePattern;
use crate::time::EventTime;

/// Leave to use keys for a while, whatever the domain says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakGlass {
    /// Under which it was given.
    pub ticket: String,
    /// Who.
    pub principals: Vec<NamePattern>,
    /// Names of the domains; none means all.
    pub domains: Vec<String>,
    /// Operations; none means every one.
    pub operations: Vec<NamePattern>,
    /// From this instant on.
    pub start: EventTime,
    /// Before this instant.
    pub until: EventTime,
    /// Why, for the alert.
    pub reason: Option<String>,
}

impl BreakGlass {
    /// Whether it is about such a use, at whatever time.
    #[must_use]
    pub fn concerns(&self, principal: &str, domain: &str, operations: [&str; 2]) -> bool {
        self.principals.iter().any(|pattern| pattern.matches(principal))
            && (self.domains.is_empty() || self.domains.iter().any(|name| name == domain))
            && (self.operations.is_empty()
                || self.operations.iter().any(|pattern| operations.iter().any(|name| pattern.matches(name))))
    }

    /// Whether it holds at an instant.
    #[must_use]
    pub fn holds(&self, time: EventTime) -> bool {
        self.start <= time && time < self.until
    }
}

/// Matches that are not counted: known, explained, and reported by ticket. All that is given must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// uuid of the rule; none means every rule.
    pub rule: Option<String>,
    /// Principals, all that are told of; none given means any.
    pub principals: Vec<NamePattern>,
    /// ARNs, ids or aliases of keys, all that are told of; none given means any.
    pub keys: Vec<NamePattern>,
    /// Before this instant.
    pub until: EventTime,
    /// Under which it was asked for.
    pub ticket: String,
    /// Why.
    pub reason: Option<String>,
}

/// What a suppression is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// uuid of the rule.
    pub rule: &'a str,
    /// Who it is about.
    pub principals: &'a [String],
    /// Each key by all its names.
    pub keys: &'a [Vec<&'a str>],
    /// Event time of the latest record.
    pub last: EventTime,
}

impl Suppression {
    /// Whether it covers a match. One that has a principal or key beside those meant, or goes on
    /// after the end, is told.
    #[must_use]
    pub fn covers(&self, told: Told<'_>) -> bool {
        let meant = |patterns: &[NamePattern], names: &[&str]| {
            patterns.iter().any(|pattern| names.iter().any(|name| pattern.matches(name)))
        };
        // Nobody, and no key, is not the one that was meant.
        let all_principals = !told.principals.is_empty()
            && told.principals.iter().all(|principal| meant(&self.principals, &[principal.as_str()]));
        let all_keys = !told.keys.is_empty() && told.keys.iter().all(|names| meant(&self.keys, names));
        self.rule.as_deref().is_none_or(|rule| rule == told.rule)
            && told.last < self.until
            && (self.principals.is_empty() || all_principals)
            && (self.keys.is_empty() || all_keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> EventTime {
        EventTime::parse(text).unwrap()
    }

    fn patterns(texts: &[&str]) -> Vec<NamePattern> {
        texts.iter().map(|text| NamePattern::new(text)).collect()
    }

    #[test]
    fn leave_is_bounded_by_who_where_what_and_when() {
        let leave = BreakGlass {
            ticket: "INC-1".to_owned(),
            principals: patterns(&["arn:aws:iam::111122223333:role/break-glass"]),
            domains: vec!["vault".to_owned()],
            operations: patterns(&["Decrypt"]),
            start: at("2026-01-05T22:00:00Z"),
            until: at("2026-01-06T02:00:00Z"),
            reason: None,
        };
        let role = "arn:aws:iam::111122223333:role/break-glass";
        assert!(leave.concerns(role, "vault", ["Decrypt"; 2]));
        assert!(!leave.concerns(role, "pii", ["Decrypt"; 2]) && !leave.concerns(role, "vault", ["Encrypt"; 2]));
        assert!(!leave.concerns("arn:aws:iam::999988887777:role/break-glass", "vault", ["Decrypt"; 2]));
        let held: Vec<_> = ["21:59:59", "22:00:00", "23:59:59"]
            .map(|time| leave.holds(at(&format!("2026-01-05T{time}Z"))))
            .into_iter()
            .chain([leave.holds(leave.until)])
            .collect();
        assert_eq!(held, [false, true, true, false]);
    }

    #[test]
    fn only_what_was_meant_is_suppressed() {
        let suppression = Suppression {
            rule: Some("r-1".to_owned()),
            principals: patterns(&["arn:aws:iam::111122223333:role/scanner"]),
            keys: patterns(&["alias/test-*"]),
            until: at("2026-02-01T00:00:00Z"),
            ticket: "CHG-1".to_owned(),
            reason: None,
        };
        let scanner = "arn:aws:iam::111122223333:role/scanner".to_owned();
        let keys = [vec!["arn:aws:kms:eu-west-1:111122223333:key/k", "alias/test-1"]];
        let told = |rule: &'static str, principals: &[String], keys: &[Vec<&str>], last: &str| {
            suppression.covers(Told { rule, principals, keys, last: at(last) })
        };
        assert!(told("r-1", std::slice::from_ref(&scanner), &keys, "2026-01-31T23:59:59Z"));
        assert!(!told("r-1", std::slice::from_ref(&scanner), &keys, "2026-02-01T00:00:00Z"), "it has ended");
        assert!(!told("r-2", std::slice::from_ref(&scanner), &keys, "2026-01-31T00:00:00Z"));
        assert!(!told("r-1", &[scanner.clone(), "arn:x".to_owned()], &keys, "2026-01-31T00:00:00Z"));
        assert!(!told("r-1", &[scanner], &[vec!["alias/test-1"], vec!["alias/vault"]], "2026-01-31T00:00:00Z"));
        assert!(!told("r-1", &[], &keys, "2026-01-31T00:00:00Z"), "nobody is not the one meant");
    }
}
