//! Who asks KMS, as a policy sees them, and whether a policy's principals mean them.
//!
//! Source: "AWS JSON policy elements: Principal" and "NotPrincipal" of the IAM guide.

use super::condition::Context;
use super::document::{Effect, Listed};
use super::principal::{IdentityKind, PolicyPrincipal, is_account};
use crate::event::key::arn_parts;
use crate::event::principal::Principal;

/// What kind of caller it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallerKind {
    /// An IAM user.
    User,
    /// A role; its session is not known or does not matter.
    Role,
    /// A session of a role.
    Session,
    /// The root user of an account.
    Root,
    /// A federated user of STS or of an identity provider.
    Federated,
    /// An AWS service for itself.
    Service,
    /// Somebody of an account: the owner's copy of a call from another account does not say who
    /// (aws-facts 2.4).
    Unnamed,
    /// Nobody that AWS knows.
    Anonymous,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// What kind.
    pub kind: CallerKind,
    /// ARN of the user, the role, the root user or the federated user; the name of a service.
    pub name: Option<String>,
    /// The account.
    pub account: Option<String>,
    /// Name of the session.
    pub session: Option<String>,
}

impl Caller {
    /// Takes an ARN of IAM or STS, or a service's name.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let plain = |kind| Self { kind, name: Some(name.to_owned()), account: None, session: None };
        let Some(parts) = arn_parts(name) else {
            return plain(if name.is_empty() { CallerKind::Anonymous } else { CallerKind::Service });
        };
        let account = is_account(parts.account).then(|| parts.account.to_owned());
        if let Some(session) = parts.resource.strip_prefix("assumed-role/") {
            let role = crate::event::principal::role_of_session(name);
            let session = session.split_once('/').map(|(_, session)| session.to_owned());
            let kind = if session.is_some() { CallerKind::Session } else { CallerKind::Role };
            return Self { kind, name: Some(role), account, session };
        }
        let kind = match parts.resource.split('/').next() {
            Some("root") => CallerKind::Root,
            Some("user") => CallerKind::User,
            Some("role") => CallerKind::Role,
            Some("federated-user") => CallerKind::Federated,
            _ => CallerKind::Unnamed,
        };
        Self { account, ..plain(kind) }
    }

    /// The caller of a record, and its `userIdentity.arn`: of a session only that has the name.
    #[must_use]
    pub fn of_record(principal: &Principal, arn: Option<&str>) -> Self {
        let account = principal.account.clone();
        match principal.kind.as_str() {
            "AssumedRole" if principal.canonical.starts_with("arn:") => {
                let session = arn.map(Self::of_name).and_then(|caller| caller.session);
                let kind = if session.is_some() { CallerKind::Session } else { CallerKind::Role };
                let named = Self::of_name(&principal.canonical);
                Self { kind, session, account: named.account.or(account), name: named.name }
            }
            "AWSService" | "ServiceEvent" => {
                let name = principal.canonical.strip_prefix("service:").map(str::to_owned);
                Self { kind: CallerKind::Service, name, account: None, session: None }
            }
            _ if principal.canonical.starts_with("arn:") => {
                let named = Self::of_name(&principal.canonical);
                Self { account: named.account.clone().or(account), ..named }
            }
            "SAMLUser" | "WebIdentityUser" => Self { kind: CallerKind::Federated, name: None, account, session: None },
            _ => Self { kind: CallerKind::Unnamed, name: None, account, session: None },
        }
    }

    /// What KMS knows of a request from its caller alone.
    pub(super) fn fill(&self, context: &mut Context) {
        let some = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>();
        let is_service = self.kind == CallerKind::Service;
        context.with_default("aws:PrincipalIsAWSService", vec![is_service.to_string()]);
        if matches!(self.kind, CallerKind::Service | CallerKind::Anonymous) {
            for key in ["aws:PrincipalOrgID", "aws:PrincipalOrgPaths", "aws:PrincipalAccount", "aws:PrincipalArn"] {
                context.with_default(key, Vec::new());
            }
            return;
        }
        for key in ["aws:PrincipalAccount", "kms:CallerAccount"] {
            if self.account.is_some() {
                context.with_default(key, some(&self.account));
            }
        }
        if self.name.is_some() {
            context.with_default("aws:PrincipalArn", some(&self.name));
        }
        let kind = match self.kind {
            CallerKind::Root => "Account",
            CallerKind::User => "User",
            CallerKind::Role | CallerKind::Session => "AssumedRole",
            _ => return,
        };
        context.with_default("aws:PrincipalType", vec![kind.to_owned()]);
    }

    /// Name without path, of an ARN.
    fn short_name(&self) -> Option<&str> {
        let resource = arn_parts(self.name.as_deref()?)?.resource;
        resource.rsplit('/').next()
    }

    fn is_of_account(&self) -> bool {
        !matches!(self.kind, CallerKind::Service | CallerKind::Anonymous)
    }

    fn fit(&self, principal: &PolicyPrincipal) -> Fit {
        match principal {
            PolicyPrincipal::Everybody => Fit::Named,
            PolicyPrincipal::Account(account) => match &self.account {
                _ if !self.is_of_account() => Fit::No,
                None => Fit::NotKnown,
                Some(own) if own != account => Fit::No,
                Some(_) if self.kind == CallerKind::Root => Fit::Named,
                Some(_) => Fit::OfAccount,
            },
            PolicyPrincipal::Identity { kind, account, name } => self.fit_identity(*kind, account, name),
            PolicyPrincipal::Service(service) => self.fit_service(service),
            PolicyPrincipal::Federated(_) => match (self.kind, &self.name) {
                (CallerKind::Federated, None) | (CallerKind::Unnamed, _) => Fit::NotKnown,
                _ => Fit::No,
            },
            // Who had the unique id is gone, and a new role of that name has another.
            PolicyPrincipal::Deleted(_) => Fit::No,
            PolicyPrincipal::CanonicalUser(_) | PolicyPrincipal::Other(_) => Fit::NotKnown,
        }
    }

    fn fit_identity(&self, kind: IdentityKind, account: &str, name: &str) -> Fit {
        let own_account = self.account.as_deref();
        if !self.is_of_account() || self.kind == CallerKind::Root || own_account.is_some_and(|own| own != account) {
            return Fit::No;
        }
        let same = |wanted: &str| self.short_name().map_or(Fit::NotKnown, |own| Fit::of(own == wanted));
        match (kind, self.kind) {
            (_, CallerKind::Unnamed) => Fit::NotKnown,
            _ if own_account.is_none() => Fit::NotKnown,
            (IdentityKind::User, CallerKind::User)
            | (IdentityKind::FederatedUser, CallerKind::Federated)
            | (IdentityKind::Role, CallerKind::Role | CallerKind::Session) => same(name),
            (IdentityKind::Session, CallerKind::Role | CallerKind::Session) => {
                let (role, session) = name.split_once('/').unwrap_or((name, ""));
                match (same(role), &self.session) {
                    (Fit::Named, None) => Fit::NotKnown,
                    (Fit::Named, Some(own)) => Fit::of(own == session),
                    (fit, _) => fit,
                }
            }
            _ => Fit::No,
        }
    }

    fn fit_service(&self, service: &str) -> Fit {
        match (self.kind, self.name.as_deref()) {
            (CallerKind::Service, Some(own)) if own == service => Fit::Named,
            // Records name some services without their Region, and some not at all.
            (CallerKind::Service, None | Some("aws-internal")) => Fit::NotKnown,
            (CallerKind::Service, Some(own)) if service_family(own) == service_family(service) => Fit::NotKnown,
            _ => Fit::No,
        }
    }
}

/// `logs` of `logs.eu-west-1.amazonaws.com`.
fn service_family(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// How a principal of a policy means a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It does not.
    No,
    /// It cannot be told.
    NotKnown,
    /// It names the caller's account.
    OfAccount,
    /// It means the caller.
    Named,
}

impl Fit {
    fn of(same: bool) -> Self {
        if same { Self::Named } else { Self::No }
    }

    /// How a statement's principals mean a caller.
    pub(super) fn of_listed(listed: &Listed<PolicyPrincipal>, effect: Effect, caller: &Caller) -> Self {
        let fits = |wanted: Self, principals: &[PolicyPrincipal]| {
            principals.iter().any(|principal| caller.fit(principal) == wanted)
        };
        match (listed, effect) {
            (Listed::Only(some), Effect::Allow) => {
                let order = [Self::Named, Self::OfAccount, Self::NotKnown];
                order.into_iter().find(|fit| fits(*fit, some)).unwrap_or(Self::No)
            }
            (Listed::Only(some), Effect::Deny) if fits(Self::Named, some) || fits(Self::OfAccount, some) => Self::Named,
            (Listed::Only(some), Effect::Deny) if fits(Self::NotKnown, some) => Self::NotKnown,
            (Listed::Only(_), Effect::Deny) => Self::No,
            // An account that is left out takes out its root user; whether its users too is not said.
            (Listed::AllBut(some), Effect::Allow) if fits(Self::Named, some) => Self::No,
            (Listed::AllBut(some), Effect::Allow) if fits(Self::OfAccount, some) || fits(Self::NotKnown, some) => {
                Self::NotKnown
            }
            (Listed::AllBut(_), Effect::Allow) => Self::Named,
            (Listed::AllBut(some), Effect::Deny) => Self::of_exempted(some, caller),
        }
    }

    /// To be exempted from a Deny, everything that the caller is must be left out: account, role and
    /// session, as the IAM guide shows. Some of them only: what then happens it does not say.
    fn of_exempted(some: &[PolicyPrincipal], caller: &Caller) -> Self {
        let has = |test: &dyn Fn(&PolicyPrincipal) -> bool| {
            some.iter()
                .any(|principal| test(principal) && matches!(caller.fit(principal), Self::Named | Self::OfAccount))
        };
        let everybody = some.contains(&PolicyPrincipal::Everybody);
        let account = has(&|principal| matches!(principal, PolicyPrincipal::Account(_)));
        let of_kind = |wanted: IdentityKind| {
            has(&|principal| matches!(principal, PolicyPrincipal::Identity { kind, .. } if *kind == wanted))
        };
        let whole = match caller.kind {
            _ if everybody => true,
            CallerKind::Root => account,
            CallerKind::User => account && of_kind(IdentityKind::User),
            CallerKind::Role | CallerKind::Session => {
                account && of_kind(IdentityKind::Role) && of_kind(IdentityKind::Session)
            }
            CallerKind::Federated => account && of_kind(IdentityKind::FederatedUser),
            CallerKind::Service => has(&|principal| matches!(principal, PolicyPrincipal::Service(_))),
            CallerKind::Unnamed | CallerKind::Anonymous => false,
        };
        let part = some.iter().any(|principal| caller.fit(principal) != Self::No);
        match (whole, part) {
            (true, _) => Self::No,
            (false, true) => Self::NotKnown,
            (false, false) => Self::Named,
        }
    }
}
