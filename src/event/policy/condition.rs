//! Conditions of a statement, and whether a request meets them.
//!
//! Invariant: three answers. CloudTrail does not tell all that KMS saw (no tags, no network path, no
//! organisation), so what it does not tell is not known rather than absent.

use std::collections::{BTreeMap, BTreeSet};

use super::context_key::{Bounds, ContextKey};
use super::operator::{Comparison, Operator, Order, Quantifier, boolean, compare};
use super::text::{bounded, list, quoted_id};

/// Whether something holds, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Truth {
    /// It does not.
    NotMet,
    /// It cannot be told.
    NotKnown,
    /// It does.
    Met,
}

impl Truth {
    /// Of what is known.
    #[must_use]
    pub fn of(holds: bool) -> Self {
        if holds { Self::Met } else { Self::NotMet }
    }

    /// Whether both hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.min(other)
    }

    /// Whether one of them holds.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        self.max(other)
    }

    /// Whether all hold.
    pub fn all(each: impl IntoIterator<Item = Self>) -> Self {
        each.into_iter().fold(Self::Met, Self::and)
    }

    /// Whether any holds.
    pub fn any(each: impl IntoIterator<Item = Self>) -> Self {
        each.into_iter().fold(Self::NotMet, Self::or)
    }
}

impl std::ops::Not for Truth {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::Met => Self::NotMet,
            Self::NotKnown => Self::NotKnown,
            Self::NotMet => Self::Met,
        }
    }
}

/// What is known of a request beside caller, action and key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// By key in lower case; no values means that the request has no such key.
    known: BTreeMap<String, Vec<String>>,
    /// The whole encryption context is known, so a name that is not in it is absent.
    whole_encryption_context: bool,
}

impl Context {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A key with its values; none means that the request has no such key.
    #[must_use]
    pub fn with<T: Into<String>>(mut self, key: &str, values: impl IntoIterator<Item = T>) -> Self {
        self.known.insert(key.to_ascii_lowercase(), values.into_iter().map(Into::into).collect());
        self
    }

    /// A key that the request does not have.
    #[must_use]
    pub fn without(self, key: &str) -> Self {
        self.with(key, Vec::<String>::new())
    }

    /// The whole encryption context of a call, empty when it had none.
    #[must_use]
    pub fn with_encryption_context<'t>(mut self, pairs: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
        let mut names = Vec::new();
        for (name, value) in pairs {
            names.push(name.to_owned());
            let key = format!("kms:encryptioncontext:{}", name.to_ascii_lowercase());
            self.known.entry(key).or_default().push(value.to_owned());
        }
        self.whole_encryption_context = true;
        self.with("kms:EncryptionContextKeys", names)
    }

    /// A key as far as nothing is known of it yet.
    pub(super) fn with_default(&mut self, key: &str, values: Vec<String>) {
        self.known.entry(key.to_ascii_lowercase()).or_insert(values);
    }

    /// The values; `Some` of nothing is absence, `None` is ignorance.
    fn values(&self, key: &ContextKey) -> Option<&[String]> {
        let absent = (self.whole_encryption_context && key.is_encryption_context()).then_some([].as_slice());
        self.known.get(key.lower()).map(Vec::as_slice).or(absent)
    }
}

/// How values are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// All of them.
    Told,
    /// Those of the encryption context are kept back: they may name customers, and the text may leave
    /// the account.
    KeptBack,
}

/// One condition of a statement. Two are equal when they mean the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Condition {
    /// The key.
    pub key: ContextKey,
    /// The operator.
    pub operator: Operator,
    /// The policy's values, sorted; one of them must fit.
    pub values: Vec<String>,
    /// The policy's version knows variables in values.
    has_variables: bool,
}

impl Condition {
    /// Takes a condition as a policy writes it.
    #[must_use]
    pub fn new(operator: &str, key: &str, mut values: Vec<String>, policy_has_variables: bool) -> Self {
        values.sort();
        values.dedup();
        let has_variables = policy_has_variables && values.iter().any(|value| value.contains("${"));
        Self { key: ContextKey::new(key), operator: Operator::parse(operator), values, has_variables }
    }

    /// Whether a request meets it.
    #[must_use]
    pub fn evaluate(&self, context: &Context) -> Truth {
        let Operator::Known { quantifier, comparison, negated, if_exists } = &self.operator else {
            return Truth::NotKnown;
        };
        let Some(given) = context.values(&self.key) else { return Truth::NotKnown };
        if *comparison == Comparison::Null {
            let is_absent = given.is_empty();
            return Truth::any(self.values.iter().map(|value| match boolean(value) {
                Some(wanted) => Truth::of(wanted == is_absent),
                None => Truth::NotKnown,
            }));
        }
        if given.is_empty() {
            // An absent key equals nothing, so what must not equal is met.
            return Truth::of(match quantifier {
                Quantifier::All => true,
                Quantifier::Any => *if_exists,
                Quantifier::One => *if_exists || *negated,
            });
        }
        let equals_one = |given: &String| {
            Truth::any(self.values.iter().map(|wanted| compare(*comparison, wanted, given, self.has_variables)))
        };
        let fits = |given: &String| if *negated { !equals_one(given) } else { equals_one(given) };
        match quantifier {
            Quantifier::All => Truth::all(given.iter().map(fits)),
            Quantifier::Any => Truth::any(given.iter().map(fits)),
            // Of a key that should have one value and has several, none may equal what must not.
            Quantifier::One if *negated => Truth::all(given.iter().map(fits)),
            Quantifier::One => Truth::any(given.iter().map(fits)),
        }
    }

    /// Whether IAM has the operator and the catalogue has the key.
    #[must_use]
    pub fn is_understood(&self) -> bool {
        self.key.is_known() && matches!(self.operator, Operator::Known { .. })
    }

    /// Whether it fixes who calls (`wanted` true), or, as the condition of a Deny, shuts out all but
    /// those it fixes (`wanted` false). What does: see [`Bound`].
    #[must_use]
    pub fn bound(&self, wanted: bool) -> Option<Bound> {
        let Operator::Known { quantifier, comparison, negated, if_exists } = &self.operator else { return None };
        let passes_where_absent = *if_exists || *quantifier == Quantifier::All;
        if *comparison == Comparison::Bool {
            let says = matches!(self.values.as_slice(), [one] if boolean(one) == Some(wanted));
            let fixes = self.key.bounds() == Bounds::ServiceItself && says && !(wanted && passes_where_absent);
            return fixes.then(Bound::default);
        }
        let patterned = match comparison {
            Comparison::Equals | Comparison::EqualsIgnoreCase => false,
            Comparison::Like | Comparison::Arn => true,
            _ => return None,
        };
        // Where the key is missing, IfExists lets pass and ForAllValues too; a Deny by negation shuts
        // out with either, but ForAnyValue does not.
        let holds = match wanted {
            true => !negated && !passes_where_absent,
            false => *negated && (*quantifier != Quantifier::Any || *if_exists),
        };
        if !holds || self.values.is_empty() {
            return None;
        }
        let mut bound = Bound { accounts: BTreeSet::new(), only_accounts: true };
        for value in &self.values {
            let account = self.account_in(self.fixed(value, patterned)?);
            bound.only_accounts &= account.is_some();
            bound.accounts.extend(account);
        }
        Some(bound)
    }

    /// A value that fixes what its key is of; nothing when it leaves that open.
    fn fixed<'v>(&self, value: &'v str, patterned: bool) -> Option<&'v str> {
        if self.has_variables && value.contains("${") {
            // Equal to what the key's own account has: no choice of the caller's.
            let own = ["${aws:ResourceAccount}", "${aws:ResourceOrgID}", "${aws:ResourceOrgPaths}"];
            return own.iter().any(|own| own.eq_ignore_ascii_case(value)).then_some(value);
        }
        let plain = |text: &str| !(text.is_empty() || (patterned && text.contains(['*', '?'])));
        let holds = match self.key.bounds() {
            Bounds::Nobody | Bounds::ServiceItself => false,
            Bounds::Account | Bounds::Organisation | Bounds::Network => plain(value),
            Bounds::OrganisationPath => value.split_once('/').is_some_and(|(organisation, _)| plain(organisation)),
            Bounds::UniqueId => plain(value.split(':').next().unwrap_or_default()),
            Bounds::Arn => {
                let mut parts = value.splitn(6, ':').skip(4);
                match (parts.next(), parts.next()) {
                    // ARNs of buckets have no account, but their names are their owner's.
                    (Some(""), Some(resource)) => plain(resource.split('/').next().unwrap_or_default()),
                    (Some(account), Some(_)) => plain(account),
                    _ => false,
                }
            }
        };
        holds.then_some(value)
    }

    fn account_in(&self, value: &str) -> Option<String> {
        let account = match self.key.bounds() {
            Bounds::Account => value,
            Bounds::Arn => value.split(':').nth(4)?,
            _ => return None,
        };
        super::principal::is_account(account).then(|| account.to_owned())
    }

    /// For a sentence: `kms:ViaService = s3.eu-west-1.amazonaws.com`.
    #[must_use]
    pub fn in_words(&self, told: Values) -> String {
        let key = self.key.in_words();
        let values = || {
            if told == Values::KeptBack && self.key.is_encryption_context() {
                return "a set value".to_owned();
            }
            match self.values.as_slice() {
                [] => "nothing".to_owned(),
                [one] => bounded(one),
                many => format!("one of {}", list(many, 4)),
            }
        };
        let Operator::Known { quantifier, comparison, negated, if_exists } = &self.operator else {
            return format!("{key} {} {} (no operator of IAM)", quoted_id(self.operator_text()), values());
        };
        let sign = match (comparison, negated) {
            (Comparison::Null, _) => {
                let absent = self.values.iter().any(|value| boolean(value) == Some(true));
                return format!("{key} is {}", if absent { "absent" } else { "present" });
            }
            (Comparison::Equals | Comparison::Bool | Comparison::Binary, false) => "=",
            (Comparison::Equals | Comparison::Bool | Comparison::Binary, true) => "is not",
            (Comparison::EqualsIgnoreCase, false) => "= (in any case)",
            (Comparison::EqualsIgnoreCase, true) => "is not (in any case)",
            (Comparison::Like | Comparison::Arn, false) => "like",
            (Comparison::Like | Comparison::Arn, true) => "not like",
            (Comparison::Address, false) => "in",
            (Comparison::Address, true) => "not in",
            (Comparison::Numeric(order) | Comparison::Date(order), negated) => match order {
                Order::Equal if *negated => "is not",
                Order::Equal => "=",
                Order::Less => "<",
                Order::LessOrEqual => "<=",
                Order::Greater => ">",
                Order::GreaterOrEqual => ">=",
            },
        };
        let of = match quantifier {
            Quantifier::One => "",
            Quantifier::All => "every ",
            Quantifier::Any => "some ",
        };
        let where_present = if *if_exists { " where present" } else { "" };
        format!("{of}{key} {sign} {}{where_present}", values())
    }

    fn operator_text(&self) -> &str {
        match &self.operator {
            Operator::Unknown(text) => text,
            Operator::Known { .. } => "",
        }
    }
}

/// That a condition fixes who calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// The accounts that it names; none where it names an organisation, a network or services.
    pub accounts: BTreeSet<String>,
    /// It names accounts and nothing else.
    pub only_accounts: bool,
}
