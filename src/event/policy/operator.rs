//! The condition operators of IAM: what they are called and how one value of a policy compares with
//! one of a request.
//!
//! Source: "IAM JSON policy elements: Condition operators".

use std::cmp::Ordering;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Truth;
use crate::event::glob::{Piece, arn_like, glob_pieces, pieces};
use crate::time::EventTime;

/// How a request's values of one key count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quantifier {
    /// The key has one value.
    One,
    /// `ForAllValues:` every value must fit; none at all does.
    All,
    /// `ForAnyValue:` one value must fit.
    Any,
}

/// How ordered values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// `...Equals`.
    Equal,
    /// `...LessThan`.
    Less,
    /// `...LessThanEquals`.
    LessOrEqual,
    /// `...GreaterThan`.
    Greater,
    /// `...GreaterThanEquals`.
    GreaterOrEqual,
}

impl Order {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering == Ordering::Equal,
            Self::Less => ordering == Ordering::Less,
            Self::LessOrEqual => ordering != Ordering::Greater,
            Self::Greater => ordering == Ordering::Greater,
            Self::GreaterOrEqual => ordering != Ordering::Less,
        }
    }
}

/// How two values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Comparison {
    /// The same text.
    Equals,
    /// The same text but for case.
    EqualsIgnoreCase,
    /// A pattern with `*` and `?`.
    Like,
    /// Numbers.
    Numeric(Order),
    /// Instants: ISO 8601 or seconds since 1970.
    Date(Order),
    /// True or false.
    Bool,
    /// Base64, byte for byte.
    Binary,
    /// An address in a network.
    Address,
    /// An ARN, part by part; `ArnEquals` and `ArnLike` are the same.
    Arn,
    /// `Null`: whether the key is there at all.
    Null,
}

/// An operator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// One of IAM's.
    Known {
        /// How several values count.
        quantifier: Quantifier,
        /// How values compare.
        comparison: Comparison,
        /// `...Not...`: none of the policy's values may fit.
        negated: bool,
        /// `...IfExists`: met where the request has no such key.
        if_exists: bool,
    },
    /// None of IAM's, as written.
    Unknown(String),
}

const TABLE: &[(&str, Comparison, bool)] = &[
    ("stringequals", Comparison::Equals, false),
    ("stringnotequals", Comparison::Equals, true),
    ("stringequalsignorecase", Comparison::EqualsIgnoreCase, false),
    ("stringnotequalsignorecase", Comparison::EqualsIgnoreCase, true),
    ("stringlike", Comparison::Like, false),
    ("stringnotlike", Comparison::Like, true),
    ("numericequals", Comparison::Numeric(Order::Equal), false),
    ("numericnotequals", Comparison::Numeric(Order::Equal), true),
    ("numericlessthan", Comparison::Numeric(Order::Less), false),
    ("numericlessthanequals", Comparison::Numeric(Order::LessOrEqual), false),
    ("numericgreaterthan", Comparison::Numeric(Order::Greater), false),
    ("numericgreaterthanequals", Comparison::Numeric(Order::GreaterOrEqual), false),
    ("dateequals", Comparison::Date(Order::Equal), false),
    ("datenotequals", Comparison::Date(Order::Equal), true),
    ("datelessthan", Comparison::Date(Order::Less), false),
    ("datelessthanequals", Comparison::Date(Order::LessOrEqual), false),
    ("dategreaterthan", Comparison::Date(Order::Greater), false),
    ("dategreaterthanequals", Comparison::Date(Order::GreaterOrEqual), false),
    ("bool", Comparison::Bool, false),
    ("binaryequals", Comparison::Binary, false),
    ("ipaddress", Comparison::Address, false),
    ("notipaddress", Comparison::Address, true),
    ("arnequals", Comparison::Arn, false),
    ("arnlike", Comparison::Arn, false),
    ("arnnotequals", Comparison::Arn, true),
    ("arnnotlike", Comparison::Arn, true),
    ("null", Comparison::Null, false),
];

impl Operator {
    /// Reads an operator in any case.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let (quantifier, rest) = match lower.split_once(':') {
            Some(("forallvalues", rest)) => (Quantifier::All, rest),
            Some(("foranyvalue", rest)) => (Quantifier::Any, rest),
            Some(_) => return Self::Unknown(text.to_owned()),
            None => (Quantifier::One, lower.as_str()),
        };
        let (plain, if_exists) = match rest.strip_suffix("ifexists") {
            Some(plain) => (plain, true),
            None => (rest, false),
        };
        match TABLE.iter().find(|(name, ..)| *name == plain) {
            // "You can add IfExists to the end of any condition operator name except the Null condition".
            Some((_, Comparison::Null, _)) if if_exists => Self::Unknown(text.to_owned()),
            Some((_, comparison, negated)) => {
                Self::Known { quantifier, comparison: *comparison, negated: *negated, if_exists }
            }
            None => Self::Unknown(text.to_owned()),
        }
    }
}

/// Compares a value of the policy with one of the request. A value that cannot be read as what the
/// operator compares leaves it open.
pub(super) fn compare(comparison: Comparison, wanted: &str, given: &str, has_variables: bool) -> Truth {
    let Some(wanted) = Literal::of(wanted, has_variables) else { return Truth::NotKnown };
    match comparison {
        Comparison::Equals | Comparison::Binary => Truth::of(wanted.text == given),
        Comparison::EqualsIgnoreCase => Truth::of(wanted.text.to_lowercase() == given.to_lowercase()),
        Comparison::Like => Truth::of(glob_pieces(&wanted.pieces, given)),
        Comparison::Arn => Truth::of(arn_like(&wanted.text, given)),
        Comparison::Numeric(order) => ordered(number(&wanted.text), number(given), order),
        Comparison::Date(order) => ordered(instant(&wanted.text), instant(given), order),
        Comparison::Bool => match (boolean(&wanted.text), boolean(given)) {
            (Some(wanted), Some(given)) => Truth::of(wanted == given),
            _ => Truth::NotKnown,
        },
        Comparison::Address => match (network(&wanted.text), given.parse::<IpAddr>()) {
            (Some(network), Ok(address)) => Truth::of(network.contains(&address)),
            _ => Truth::NotKnown,
        },
        // Asks for the key, not for its value.
        Comparison::Null => Truth::NotKnown,
    }
}

fn ordered<T: PartialOrd>(wanted: Option<T>, given: Option<T>, order: Order) -> Truth {
    let (Some(wanted), Some(given)) = (wanted, given) else { return Truth::NotKnown };
    given.partial_cmp(&wanted).map_or(Truth::NotKnown, |ordering| Truth::of(order.holds(ordering)))
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

fn instant(text: &str) -> Option<EventTime> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<i64>() {
        return Some(EventTime::from_millis(seconds.saturating_mul(1000)));
    }
    let with_time = || EventTime::parse(&format!("{text}T00:00:00Z"));
    EventTime::parse(text).or_else(|_| with_time()).ok()
}

pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.trim() {
        text if text.eq_ignore_ascii_case("true") => Some(true),
        text if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.trim().parse().ok().or_else(|| text.trim().parse::<IpAddr>().ok().map(IpNet::from))
}

/// A value without variables; `${*}`, `${?}` and `${$}` stand for the characters themselves.
struct Literal {
    text: String,
    pieces: Vec<Piece<char>>,
}

impl Literal {
    /// Nothing when a variable is in it: what it stands for is not known.
    fn of(value: &str, has_variables: bool) -> Option<Self> {
        if !has_variables || !value.contains("${") {
            return Some(Self { text: value.to_owned(), pieces: pieces(value) });
        }
        let mut literal = Self { text: String::new(), pieces: Vec::new() };
        let mut rest = value;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, tail) = after.split_once('}')?;
            let meant = match name {
                "*" => '*',
                "?" => '?',
                "$" => '$',
                _ => return None,
            };
            literal.pieces.extend(pieces(before));
            literal.pieces.push(Piece::Is(meant));
            literal.text.push_str(before);
            literal.text.push(meant);
            rest = tail;
        }
        literal.pieces.extend(pieces(rest));
        literal.text.push_str(rest);
        Some(literal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let known = |text: &str| matches!(Operator::parse(text), Operator::Known { .. });
        for (name, comparison, _) in TABLE {
            for text in [(*name).to_owned(), format!("ForAllValues:{name}"), format!("FORANYVALUE:{name}")] {
                assert!(known(&text), "{text}");
            }
            assert_eq!(known(&format!("{name}IfExists")), *comparison != Comparison::Null);
        }
        for text in ["", "StringEqual", "ForEach:StringEquals", "IfExists", "StringEqualsIfExistsIfExists"] {
            assert!(!known(text), "{text}");
        }
        assert_eq!(Operator::parse("ArnEquals"), Operator::parse("arnlike"));
    }

    #[test]
    fn values() {
        use Comparison::{Address, Arn, Bool, Date, Equals, EqualsIgnoreCase, Like, Numeric};
        use Truth::{Met, NotKnown, NotMet};
        for (comparison, wanted, given, expected) in [
            (Equals, "a*", "ab", NotMet),
            (EqualsIgnoreCase, "ÀB", "àb", Met),
            (Like, "a*c?", "abbcd", Met),
            (Like, "a${*}", "a*", Met),
            (Like, "a${*}", "ab", NotMet),
            (Like, "${aws:username}*", "ann", NotKnown),
            (Equals, "${$}{x}", "${x}", Met),
            (Equals, "${open", "${open", NotKnown),
            (Numeric(Order::LessOrEqual), "30", "7", Met),
            (Numeric(Order::Greater), "30", "7", NotMet),
            (Numeric(Order::Equal), "7.0", "7", Met),
            (Numeric(Order::Equal), "x", "7", NotKnown),
            (Numeric(Order::Less), "nan", "7", NotKnown),
            (Date(Order::Less), "2026-01-01T00:00:00Z", "2025-12-31T23:59:59Z", Met),
            (Date(Order::GreaterOrEqual), "2026-01-01", "1767225600", Met),
            (Date(Order::Equal), "soon", "1", NotKnown),
            (Bool, "true", "TRUE", Met),
            (Bool, "true", "false", NotMet),
            (Bool, "yes", "true", NotKnown),
            (Address, "203.0.113.0/24", "203.0.113.7", Met),
            (Address, "2001:db8::/32", "2001:db9::1", NotMet),
            (Address, "203.0.113.7", "203.0.113.7", Met),
            (Address, "203.0.113.0/24", "2001:db8::1", NotMet),
            (Address, "203.0.113.0/24", "AWS Internal", NotKnown),
            (Arn, "arn:aws:iam::*:role/x*", "arn:aws:iam::1:role/xy", Met),
            (Arn, "arn:aws:iam::1*:x", "arn:aws:iam::1:role:x", NotMet),
        ] {
            assert_eq!(compare(comparison, wanted, given, true), expected, "{comparison:?} {wanted} {given}");
        }
        assert_eq!(compare(Equals, "${aws:username}", "${aws:username}", false), Met, "2008-10-17 knows no variables");
    }
}
