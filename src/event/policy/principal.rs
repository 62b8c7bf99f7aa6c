//! The principals that a policy names.
//!
//! Invariant: two spellings of one principal are one (a bare account and its root ARN). Names of
//! roles and users are unique in an account whatever their path, so the path does not count.
//!
//! Must not guess: what is none of the known shapes is kept as it is and said to be so.

use std::fmt;

use super::text::{bounded, quoted_id};
use crate::event::key::arn_parts;

/// What kind of identity an ARN names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentityKind {
    /// An IAM user.
    User,
    /// An IAM role, and with it all its sessions.
    Role,
    /// One session of a role, named `ROLE/SESSION`.
    Session,
    /// One federated user of STS.
    FederatedUser,
}

/// A principal of a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyPrincipal {
    /// `*`.
    Everybody,
    /// An account: in an Allow it hands the choice to that account's IAM policies, in a Deny it means
    /// everybody of the account.
    Account(String),
    /// A user, role or session.
    Identity {
        /// Which of them.
        kind: IdentityKind,
        /// Its account.
        account: String,
        /// Its name without path; `ROLE/SESSION` of a session.
        name: String,
    },
    /// An AWS service.
    Service(String),
    /// An identity provider.
    Federated(String),
    /// A canonical user id, as S3 has them.
    CanonicalUser(String),
    /// The unique id that IAM leaves of a deleted role or user (`AROA...`, `AIDA...`): it lets nobody
    /// in any more, also not a new one of the same name (aws-facts 7).
    Deleted(String),
    /// Something else, as written.
    Other(String),
}

impl PolicyPrincipal {
    /// Reads what stands under `AWS`.
    #[must_use]
    pub fn of_aws(text: &str) -> Self {
        if text == "*" {
            return Self::Everybody;
        }
        if is_account(text) {
            return Self::Account(text.to_owned());
        }
        if is_unique_id(text) {
            return Self::Deleted(text.to_owned());
        }
        Self::of_arn(text).unwrap_or_else(|| Self::Other(text.to_owned()))
    }

    fn of_arn(text: &str) -> Option<Self> {
        let parts = arn_parts(text).filter(|parts| is_account(parts.account))?;
        let account = parts.account.to_owned();
        let (head, rest) = parts.resource.split_once('/').unwrap_or((parts.resource, ""));
        let kind = match (parts.service, head) {
            ("iam", "root") if rest.is_empty() => return Some(Self::Account(account)),
            ("iam", "user") => IdentityKind::User,
            ("iam", "role") => IdentityKind::Role,
            ("sts", "assumed-role") => IdentityKind::Session,
            ("sts", "federated-user") => IdentityKind::FederatedUser,
            _ => return None,
        };
        let name = match kind {
            IdentityKind::Session => rest,
            _ => rest.rsplit('/').next().unwrap_or(rest),
        };
        // KMS takes no patterns here; what it would make of one is not known.
        let plain = !name.is_empty() && !name.contains(['*', '?']);
        let session = kind != IdentityKind::Session || name.split('/').filter(|part| !part.is_empty()).count() == 2;
        (plain && session).then(|| Self::Identity { kind, account, name: name.to_owned() })
    }

    /// Reads what stands under another kind of principal.
    #[must_use]
    pub fn of_kind(kind: &str, text: &str) -> Self {
        match kind.to_ascii_lowercase().as_str() {
            "aws" => Self::of_aws(text),
            "service" => Self::Service(text.to_owned()),
            "federated" => Self::Federated(text.to_owned()),
            "canonicaluser" => Self::CanonicalUser(text.to_owned()),
            _ => Self::Other(format!("{kind}:{text}")),
        }
    }

    /// The account it belongs to.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Account(account) | Self::Identity { account, .. } => Some(account),
            Self::Federated(arn) | Self::Other(arn) => {
                arn_parts(arn).map(|parts| parts.account).filter(|account| is_account(account))
            }
            Self::Everybody | Self::Service(_) | Self::CanonicalUser(_) | Self::Deleted(_) => None,
        }
    }

    /// Whether all that `other` stands for is also of this one, when it denies.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everybody, _) => true,
            (Self::Account(account), other) => other.account() == Some(account),
            (
                Self::Identity { kind: IdentityKind::Role, account, name },
                Self::Identity { kind: IdentityKind::Session, account: theirs, name: session },
            ) => account == theirs && session.split('/').next() == Some(name),
            (one, other) => one == other,
        }
    }

    /// For a sentence: `role/admin (111122223333)`, `account 999988887777 (external)`.
    #[must_use]
    pub fn in_words(&self, owner: Option<&str>) -> String {
        let external = self.account().is_some_and(|account| owner.is_some_and(|owner| owner != account));
        match self {
            Self::Everybody => "everybody".to_owned(),
            Self::Account(account) if external => format!("account {account} (external)"),
            Self::Account(account) => format!("account {account}"),
            Self::Identity { account, .. } if external => format!("{self} ({account}, external)"),
            Self::Identity { account, .. } => format!("{self} ({account})"),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for PolicyPrincipal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("everybody"),
            Self::Account(account) => write!(f, "account {account}"),
            Self::Identity { kind, name, .. } => {
                let kind = match kind {
                    IdentityKind::User => "user",
                    IdentityKind::Role => "role",
                    IdentityKind::Session => "session",
                    IdentityKind::FederatedUser => "federated-user",
                };
                write!(f, "{kind}/{}", bounded(name))
            }
            Self::Service(name) => write!(f, "service {}", bounded(name)),
            Self::Federated(name) => write!(f, "identities of {}", bounded(name)),
            Self::CanonicalUser(id) => write!(f, "canonical user {}", bounded(id)),
            Self::Deleted(id) => write!(f, "a deleted principal ({})", bounded(id)),
            Self::Other(text) => write!(f, "{} (no kind of principal that is known)", quoted_id(text)),
        }
    }
}

/// Twelve digits.
pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_unique_id(text: &str) -> bool {
    let known = ["AROA", "AIDA", "AGPA", "AIPA", "ANPA", "ASCA"].iter().any(|prefix| text.starts_with(prefix));
    known && text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_principal_are_one() {
        let account = PolicyPrincipal::of_aws("111122223333");
        assert_eq!(account, PolicyPrincipal::of_aws("arn:aws:iam::111122223333:root"));
        assert_eq!(account, PolicyPrincipal::of_aws("arn:aws-cn:iam::111122223333:root"));
        let plain = PolicyPrincipal::of_aws("arn:aws:iam::111122223333:role/pay");
        assert_eq!(plain, PolicyPrincipal::of_aws("arn:aws:iam::111122223333:role/apps/pay"));
        assert_ne!(plain, PolicyPrincipal::of_aws("arn:aws:iam::111122223333:user/pay"));
    }

    #[test]
    fn shapes() {
        for (text, words) in [
            ("*", "everybody"),
            ("999988887777", "account 999988887777 (external)"),
            ("arn:aws:iam::111122223333:role/a/b/admin", "role/admin (111122223333)"),
            (
                "arn:aws:sts::111122223333:assumed-role/admin/ann@bank.example",
                "session/admin/ann@bank.example (111122223333)",
            ),
            ("arn:aws:sts::999988887777:federated-user/bo", "federated-user/bo (999988887777, external)"),
            ("AROAEXAMPLE", "a deleted principal (AROAEXAMPLE)"),
            (
                "arn:aws:iam::111122223333:role/*",
                "'arn:aws:iam::111122223333:role/*' (no kind of principal that is known)",
            ),
            (
                "arn:aws:sts::111122223333:assumed-role/admin",
                "'arn:aws:sts::111122223333:assumed-role/admin' (no kind of principal that is known)",
            ),
            ("1111", "'1111' (no kind of principal that is known)"),
        ] {
            assert_eq!(PolicyPrincipal::of_aws(text).in_words(Some("111122223333")), words, "{text}");
        }
        assert_eq!(
            PolicyPrincipal::of_kind("Service", "logs.amazonaws.com").in_words(None),
            "service logs.amazonaws.com"
        );
    }

    #[test]
    fn an_account_covers_its_own_and_a_role_its_sessions() {
        let of = PolicyPrincipal::of_aws;
        let role = of("arn:aws:iam::111122223333:role/x/pay");
        let session = of("arn:aws:sts::111122223333:assumed-role/pay/s");
        assert!(of("111122223333").covers(&session) && role.covers(&session) && !session.covers(&role));
        assert!(!role.covers(&of("arn:aws:sts::111122223333:assumed-role/payments/s")));
        assert!(PolicyPrincipal::Everybody.covers(&PolicyPrincipal::Service("s".into())));
    }
}
