//! Tests on one value: what a Sigma value and its modifiers come to.
//!
//! Strings compare without case unless `cased`; numbers and booleans compare by their spelling, so
//! that `true` in a rule meets both JSON `true` and CloudTrail's `"true"`. A number also meets the
//! same JSON number spelled otherwise, but `12` is not the text `012`, for that may be an account.

pub mod moment;
pub mod needle;
pub mod spelling;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use regex::{Regex, RegexBuilder};
use rsigma_parser::Modifier;

use super::diagnostic::Code;
use super::locate::{Data, Node};
use crate::event::field::FieldValue;
use moment::TimePart;
use needle::{Anchor, Needle};
use spelling::Piece;

/// A test on one value.
#[derive(Clone, Debug)]
pub enum ValueTest {
    /// Equal text.
    Equals(Needle),
    /// Text within.
    Contains(Needle),
    /// Text at the start.
    StartsWith(Needle),
    /// Text at the end.
    EndsWith(Needle),
    /// A number: equal, or spelled like this.
    Number(f64, Needle),
    /// A pattern.
    Regex(Regex),
    /// An address in a network.
    Cidr(IpNet),
    /// A number compared.
    Compare(Comparison, f64),
    /// A part of a time, in UTC, compared.
    Part(TimePart, Comparison, f64),
    /// JSON null, or no value.
    Null,
}

/// How numbers compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in Sigma")]
pub enum Comparison {
    Eq,
    Gt,
    Gte,
    Lt,
    Lte,
}

impl Comparison {
    fn holds(self, given: f64, wanted: f64) -> bool {
        match self {
            Self::Eq => is_same(given, wanted),
            Self::Gt => given > wanted,
            Self::Gte => given >= wanted,
            Self::Lt => given < wanted,
            Self::Lte => given <= wanted,
        }
    }
}

fn is_same(one: f64, other: f64) -> bool {
    one.total_cmp(&other).is_eq()
}

impl ValueTest {
    /// Whether a value passes.
    #[must_use]
    pub fn passes(&self, value: &FieldValue<'_>) -> bool {
        match (self, value) {
            (Self::Null, value) => matches!(value, FieldValue::Null),
            (Self::Number(wanted, _), FieldValue::Number(given))
                if given.as_f64().is_some_and(|given| is_same(given, *wanted)) =>
            {
                true
            }
            _ => value.to_text().is_some_and(|text| self.passes_text(&text)),
        }
    }

    /// Whether a text passes.
    #[must_use]
    pub fn passes_text(&self, text: &str) -> bool {
        match self {
            Self::Equals(needle) | Self::Number(_, needle) => needle.is_in(text, Anchor::Whole),
            Self::Contains(needle) => needle.is_in(text, Anchor::Within),
            Self::StartsWith(needle) => needle.is_in(text, Anchor::Start),
            Self::EndsWith(needle) => needle.is_in(text, Anchor::End),
            Self::Regex(regex) => regex.is_match(text),
            Self::Cidr(network) => text.parse().is_ok_and(|address| is_of(network, address)),
            Self::Compare(how, wanted) => text.trim().parse().is_ok_and(|given| how.holds(given, *wanted)),
            Self::Part(part, how, wanted) => part.of(text).is_some_and(|given| how.holds(given, *wanted)),
            Self::Null => false,
        }
    }
}

/// Whether an address is of a network; `::ffff:10.0.0.1` is 10.0.0.1.
fn is_of(network: &IpNet, address: IpAddr) -> bool {
    network.contains(&address.to_canonical())
}

/// A network as written, or one of a single address. Networks of IPv4 written as IPv6 are IPv4.
fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    let IpNet::V6(wide) = network else { return Some(network) };
    let narrow = |address: Ipv6Addr| -> Option<Ipv4Addr> { address.to_ipv4_mapped() };
    let mapped = wide.prefix_len().checked_sub(96).zip(narrow(wide.addr()));
    Some(match mapped {
        Some((prefix, address)) => Ipv4Net::new(address, prefix).map_or(network, IpNet::V4),
        None => network,
    })
}

/// Why a value and its modifiers make no test.
pub type PatternError = (Code, String);

/// Compiles one value of a detection item.
///
/// # Errors
/// What is wrong with the value.
pub fn compile(value: &Node, modifiers: &[Modifier]) -> Result<Vec<ValueTest>, PatternError> {
    let has = |modifier| modifiers.contains(&modifier);
    if let Data::Null = value.data {
        return match modifiers.iter().find(|modifier| !matches!(modifier, Modifier::Neq | Modifier::All)) {
            None => Ok(vec![ValueTest::Null]),
            Some(_) => Err((Code::BadValue, "`null` has neither text nor number; it takes `neq` only".to_owned())),
        };
    }
    let text = value.scalar_text().ok_or((Code::BadValue, "a map or list where a value was expected".to_owned()))?;
    if let Some(test) = number_test(&text, modifiers)? {
        return Ok(vec![test]);
    }
    if has(Modifier::Cidr) {
        let network = network(&text).ok_or((Code::BadCidr, format!("'{text}' is not a network like 10.0.0.0/8")))?;
        return Ok(vec![ValueTest::Cidr(network)]);
    }
    if has(Modifier::Re) {
        return regex(&text, |builder| {
            builder
                .case_insensitive(has(Modifier::IgnoreCase))
                .multi_line(has(Modifier::Multiline))
                .dot_matches_new_line(has(Modifier::DotAll));
        })
        .map(|regex| vec![ValueTest::Regex(regex)]);
    }
    let cased = has(Modifier::Cased);
    let only_combined = modifiers.iter().all(|modifier| matches!(modifier, Modifier::Neq | Modifier::All));
    if let (Data::Integer(_) | Data::Float(_), true, Ok(number)) = (&value.data, only_combined, text.parse()) {
        return Ok(vec![ValueTest::Number(number, Needle::new(&text, cased))]);
    }
    let pieces = spelling::pieces(&text, matches!(value.data, Data::Text(_)));
    let variants = spelling::encoded(pieces, modifiers)?;
    variants.into_iter().map(|pieces| text_test(&pieces, anchor_of(modifiers), cased)).collect()
}

/// Where the modifiers want a text to stand.
#[must_use]
pub fn anchor_of(modifiers: &[Modifier]) -> Anchor {
    let named = modifiers.iter().find_map(|modifier| match modifier {
        Modifier::Contains => Some(Anchor::Within),
        Modifier::StartsWith => Some(Anchor::Start),
        Modifier::EndsWith => Some(Anchor::End),
        _ => None,
    });
    named.unwrap_or(Anchor::Whole)
}

/// The test of a comparison or of a part of a time, if the modifiers ask for one.
fn number_test(text: &str, modifiers: &[Modifier]) -> Result<Option<ValueTest>, PatternError> {
    let how = modifiers.iter().find_map(|modifier| match modifier {
        Modifier::Gt => Some(Comparison::Gt),
        Modifier::Gte => Some(Comparison::Gte),
        Modifier::Lt => Some(Comparison::Lt),
        Modifier::Lte => Some(Comparison::Lte),
        _ => None,
    });
    let part = modifiers.iter().find_map(|modifier| match modifier {
        Modifier::Minute => Some(TimePart::Minute),
        Modifier::Hour => Some(TimePart::Hour),
        Modifier::Day => Some(TimePart::Day),
        Modifier::Week => Some(TimePart::Week),
        Modifier::Month => Some(TimePart::Month),
        Modifier::Year => Some(TimePart::Year),
        _ => None,
    });
    if how.is_none() && part.is_none() {
        return Ok(None);
    }
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    let number = number.ok_or_else(|| (Code::BadValue, format!("'{text}' is not a number")))?;
    let how = how.unwrap_or(Comparison::Eq);
    let Some(part) = part else { return Ok(Some(ValueTest::Compare(how, number))) };
    let (least, greatest) = part.range();
    if number < least || number > greatest || number.fract() != 0.0 {
        let message = format!("no time has it: a whole number from {least} to {greatest} is wanted, not {text}");
        return Err((Code::BadValue, message));
    }
    Ok(Some(ValueTest::Part(part, how, number)))
}

fn text_test(pieces: &[Piece], anchor: Anchor, cased: bool) -> Result<ValueTest, PatternError> {
    // A star at an end is what contains, startswith and endswith say in words.
    let star = |piece: Option<&Piece>| matches!(piece, Some(Piece::Many));
    let (open_start, open_end) = (star(pieces.first()), pieces.len() > 1 && star(pieces.last()));
    let inner = pieces.get(usize::from(open_start)..pieces.len() - usize::from(open_end)).unwrap_or_default();
    let open_start = open_start || matches!(anchor, Anchor::Within | Anchor::End);
    let open_end = open_end || matches!(anchor, Anchor::Within | Anchor::Start);
    let plain = match inner {
        [] => Some(""),
        [Piece::Text(text)] => Some(text.as_str()),
        _ => None,
    };
    if let Some(text) = plain {
        let needle = Needle::new(text, cased);
        return Ok(match (open_start, open_end) {
            (true, false) if !text.is_empty() => ValueTest::EndsWith(needle),
            (true, _) => ValueTest::Contains(needle),
            (false, true) => ValueTest::StartsWith(needle),
            (false, false) => ValueTest::Equals(needle),
        });
    }
    let body = spelling::as_regex(inner);
    let (start, end) = (if open_start { "" } else { "^" }, if open_end { "" } else { "$" });
    regex(&format!("{start}{body}{end}"), |builder| {
        builder.case_insensitive(!cased).dot_matches_new_line(true);
    })
    .map(ValueTest::Regex)
}

fn regex(pattern: &str, set: impl Fn(&mut RegexBuilder)) -> Result<Regex, PatternError> {
    let mut builder = RegexBuilder::new(pattern);
    builder.size_limit(1 << 20);
    set(&mut builder);
    builder.build().map_err(|error| {
        let reason = error.to_string();
        let last = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        (Code::BadRegex, format!("'{pattern}' is not a regular expression: {last}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::locate::documents;

    fn passes(modifiers: &[Modifier], yaml: &str, value: FieldValue<'_>) -> bool {
        let node = documents(yaml).unwrap().remove(0);
        compile(&node, modifiers).unwrap().iter().any(|test| test.passes(&value))
    }

    fn text(text: &str) -> FieldValue<'_> {
        FieldValue::Text(text.into())
    }

    #[test]
    fn strings_and_wildcards() {
        use Modifier::{All, Cased, Contains, EndsWith, StartsWith};
        for (modifiers, pattern, yes, no) in [
            (&[][..], "Decrypt", "decrypt", "Decrypts"),
            (&[Cased], "Decrypt", "Decrypt", "decrypt"),
            (&[], "De*pt", "DECRYPT", "Decrypts"),
            (&[], "'*crypt'", "ENCRYPT", "crypts"),
            (&[], "Get?", "gets", "get"),
            (&[], r"a\*b", "a*b", "axb"),
            (&[Contains], "Key", "monkeys", "monks"),
            (&[Contains, All], "k*y", "monkeys", "monks"),
            (&[StartsWith], "'arn:'", "ARN:x", "x arn:"),
            (&[EndsWith], "é", "caFÉ", "cafe"),
            (&[EndsWith], "role/Pay", "arn:aws:iam::1:ROLE/pay", "y"),
            (&[StartsWith], "longer than", "Longer Than that", "long"),
            (&[Contains], "kelvin", "x \u{212a}elvin", "kelvi"),
            (&[Contains, Cased], "Key", "monKeys", "monkeys"),
            (&[StartsWith, Cased], "É", "Éa", "éa"),
            (&[], "'*'", "", "-"),
        ] {
            assert!(passes(modifiers, pattern, text(yes)), "{pattern} {yes}");
            assert!(pattern == "'*'" || !passes(modifiers, pattern, text(no)), "{pattern} {no}");
        }
    }

    #[test]
    fn other_types() {
        assert!(passes(&[], "true", FieldValue::Bool(true)) && passes(&[], "true", text("true")));
        assert!(passes(&[], "7", FieldValue::Number(7.into())) && passes(&[], "'7'", FieldValue::Number(7.into())));
        assert!(
            passes(&[Modifier::Lte], "7", FieldValue::Number(7.into())) && !passes(&[Modifier::Lt], "7", text("7"))
        );
        assert!(
            passes(&[Modifier::Cidr], "10.0.0.0/8", text("10.2.3.4"))
                && !passes(&[Modifier::Cidr], "10.0.0.0/8", text("AWS Internal"))
        );
        assert!(
            passes(&[Modifier::Re, Modifier::IgnoreCase], "^a.c$", text("ABC"))
                && !passes(&[Modifier::Re], "^a.c$", text("ABC"))
        );
        assert!(passes(&[], "null", FieldValue::Null) && !passes(&[], "null", text("")));
    }

    #[test]
    fn encodings() {
        use Modifier::{Base64, Contains, StartsWith, Wide, WindAsh};
        assert!(passes(&[Base64], "foobar", text("Zm9vYmFy")));
        assert!(passes(&[Wide, Base64], "hi", text("aABpAA==")));
        for line in ["cmd -a -b", "cmd /a \u{2013}b", "CMD \u{2014}A \u{2015}B x"] {
            assert!(passes(&[WindAsh, Contains], "' -a /b'", text(line)), "{line}");
        }
        assert!(!passes(&[WindAsh], "cmd -a", text("cmd +a")));
        assert!(passes(&[WindAsh, StartsWith], "'-x*y'", text("/x..y")), "wildcards stay wildcards");
        assert!(passes(&[WindAsh, Base64], "-a", text("L2E=")), "the encoding of /a");
    }

    #[test]
    fn numbers_and_their_spelling() {
        let number = |text: &str| FieldValue::Number(text.parse().unwrap());
        for given in ["7", "7.0", "70e-1"] {
            assert!(passes(&[], "7", number(given)), "{given}");
        }
        assert!(passes(&[], "7", text("7")) && !passes(&[], "7", text("07")) && !passes(&[], "7", number("8")));
        assert!(passes(&[Modifier::Contains], "7", number("170")));
        assert!(passes(&[], "'7'", number("7")) && !passes(&[], "'7'", number("7.0")), "text is text");
        assert!(!passes(&[], "9007199254740993", text("9007199254740992")));
    }

    #[test]
    fn parts_of_times() {
        use Modifier::{Gte, Hour, Lt, Week};
        let late = || text("2026-01-05T22:10:00Z");
        assert!(passes(&[Hour], "22", late()) && !passes(&[Hour], "10", late()));
        assert!(passes(&[Hour, Gte], "20", late()) && !passes(&[Hour, Lt], "22", late()));
        assert!(passes(&[Week], "2", late()));
        assert!(!passes(&[Hour, Gte], "0", text("no time")) && !passes(&[Hour, Gte], "0", FieldValue::Null));
    }

    #[test]
    fn networks() {
        let is_of = |network: &str, address: &str| passes(&[Modifier::Cidr], &format!("'{network}'"), text(address));
        for (network, address) in [
            ("10.0.0.0/8", "::ffff:10.1.2.3"),
            ("::ffff:10.0.0.0/104", "10.1.2.3"),
            ("2001:db8::/32", "2001:DB8:1::1"),
            ("192.0.2.7", "192.0.2.7"),
            ("10.1.2.3/8", "10.9.9.9"),
        ] {
            assert!(is_of(network, address), "{network} {address}");
        }
        for (network, address) in
            [("10.0.0.0/8", "11.0.0.1"), ("::/0", "10.0.0.1"), ("0.0.0.0/0", "AWS Internal"), ("10.0.0.0/8", "10.0.0")]
        {
            assert!(!is_of(network, address), "{network} {address}");
        }
    }

    #[test]
    fn mistakes() {
        let error =
            |modifiers: &[Modifier], yaml: &str| compile(&documents(yaml).unwrap().remove(0), modifiers).unwrap_err().0;
        assert_eq!(error(&[Modifier::Re], "'a('"), Code::BadRegex);
        assert_eq!(error(&[Modifier::Cidr], "10.0.0.0/99"), Code::BadCidr);
        for number in ["many", "nan", "inf"] {
            assert_eq!(error(&[Modifier::Gt], number), Code::BadValue);
        }
        assert_eq!(error(&[], "{a: 1}"), Code::BadValue);
        assert_eq!(error(&[Modifier::Contains], "null"), Code::BadValue);
        for (part, value) in
            [(Modifier::Hour, "24"), (Modifier::Day, "0"), (Modifier::Week, "1.5"), (Modifier::Month, "May")]
        {
            assert_eq!(error(&[part], value), Code::BadValue, "{value}");
        }
    }
}
