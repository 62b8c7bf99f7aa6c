//! Tests on one value: what a Sigma value and its modifiers come to.
//!
//! Strings compare without case unless `cased`; numbers and booleans compare by their spelling, so
//! that `true` in a rule meets both JSON `true` and CloudTrail's `"true"`.

use std::borrow::Cow;
use std::net::IpAddr;

use base64::Engine as _;
use ipnet::IpNet;
use regex::{Regex, RegexBuilder};
use rsigma_parser::{Modifier, SigmaString, SpecialChar, StringPart};

use super::diagnostic::Code;
use super::locate::{Data, Node};
use crate::event::field::FieldValue;
use crate::time::EventTime;

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
    /// A pattern.
    Regex(Regex),
    /// An address in a network.
    Cidr(IpNet),
    /// A number compared.
    Compare(Comparison, f64),
    /// A part of a time, in UTC, that passes.
    Part(TimePart, Box<ValueTest>),
    /// JSON null, or no value.
    Null,
}

/// A part of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in Sigma; `Week` is that of ISO 8601, `Day` that of the month")]
pub enum TimePart {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl TimePart {
    fn of(modifiers: &[Modifier]) -> Option<Self> {
        let parts = [
            (Modifier::Minute, Self::Minute),
            (Modifier::Hour, Self::Hour),
            (Modifier::Day, Self::Day),
            (Modifier::Week, Self::Week),
            (Modifier::Month, Self::Month),
            (Modifier::Year, Self::Year),
        ];
        parts.into_iter().find(|(modifier, _)| modifiers.contains(modifier)).map(|(_, part)| part)
    }

    /// The part of a time as a number in a text.
    fn read(self, text: &str) -> Option<String> {
        let time = EventTime::parse_locale(text).ok()?.civil()?;
        Some(match self {
            Self::Minute => time.minute().to_string(),
            Self::Hour => time.hour().to_string(),
            Self::Day => time.day().to_string(),
            Self::Week => time.iso_week_date().week().to_string(),
            Self::Month => time.month().to_string(),
            Self::Year => time.year().to_string(),
        })
    }
}

/// How numbers compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in Sigma")]
pub enum Comparison {
    Gt,
    Gte,
    Lt,
    Lte,
}

/// A text to look for, prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needle {
    /// Lower case unless `cased`.
    pub text: String,
    /// Case counts.
    pub cased: bool,
}

impl Needle {
    fn new(text: &str, cased: bool) -> Self {
        Self { text: if cased { text.to_owned() } else { text.to_lowercase() }, cased }
    }

    fn fold<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.cased || !text.chars().any(char::is_uppercase) {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(text.to_lowercase())
        }
    }

    /// Both as bytes when these can be compared one by one without regard to case: nearly always,
    /// for what AWS writes is ASCII. Beyond ASCII lower case may change the length.
    fn as_ascii<'t>(&'t self, text: &'t str) -> Option<(&'t [u8], &'t [u8])> {
        (!self.cased && self.text.is_ascii() && text.is_ascii()).then_some((self.text.as_bytes(), text.as_bytes()))
    }

    fn equals(&self, text: &str) -> bool {
        match self.as_ascii(text) {
            Some((needle, text)) => needle.eq_ignore_ascii_case(text),
            None => self.fold(text) == self.text,
        }
    }

    fn starts(&self, text: &str) -> bool {
        match self.as_ascii(text) {
            Some((needle, text)) => text.get(..needle.len()).is_some_and(|head| head.eq_ignore_ascii_case(needle)),
            None => self.fold(text).starts_with(&self.text),
        }
    }

    fn ends(&self, text: &str) -> bool {
        match self.as_ascii(text) {
            Some((needle, text)) => {
                let from = text.len().checked_sub(needle.len());
                from.and_then(|from| text.get(from..)).is_some_and(|tail| tail.eq_ignore_ascii_case(needle))
            }
            None => self.fold(text).ends_with(&self.text),
        }
    }

    fn is_within(&self, text: &str) -> bool {
        match self.as_ascii(text) {
            Some(([], _)) => true,
            Some((needle, text)) => text.windows(needle.len()).any(|part| part.eq_ignore_ascii_case(needle)),
            None => self.fold(text).contains(&self.text),
        }
    }
}

impl ValueTest {
    /// Whether a value passes.
    #[must_use]
    pub fn passes(&self, value: &FieldValue<'_>) -> bool {
        if let Self::Null = self {
            return matches!(value, FieldValue::Null);
        }
        value.to_text().is_some_and(|text| self.passes_text(&text))
    }

    /// Whether a text passes.
    #[must_use]
    pub fn passes_text(&self, text: &str) -> bool {
        match self {
            Self::Equals(needle) => needle.equals(text),
            Self::Contains(needle) => needle.is_within(text),
            Self::StartsWith(needle) => needle.starts(text),
            Self::EndsWith(needle) => needle.ends(text),
            Self::Regex(regex) => regex.is_match(text),
            Self::Cidr(network) => text.parse::<IpAddr>().is_ok_and(|address| network.contains(&address)),
            Self::Compare(how, wanted) => text.trim().parse::<f64>().is_ok_and(|given| match how {
                Comparison::Gt => given > *wanted,
                Comparison::Gte => given >= *wanted,
                Comparison::Lt => given < *wanted,
                Comparison::Lte => given <= *wanted,
            }),
            Self::Part(part, test) => part.read(text).is_some_and(|number| test.passes_text(&number)),
            Self::Null => false,
        }
    }
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
        return Ok(vec![ValueTest::Null]);
    }
    let text = value.scalar_text().ok_or((Code::BadValue, "a map or list where a value was expected".to_owned()))?;
    if let Some(part) = TimePart::of(modifiers) {
        let rest: Vec<_> =
            modifiers.iter().filter(|other| TimePart::of(std::slice::from_ref(other)).is_none()).copied().collect();
        let number: i64 =
            text.trim().parse().map_err(|_| (Code::BadValue, format!("'{text}' is not a whole number")))?;
        let number = Node { place: value.place, data: Data::Integer(number) };
        let tests = compile(&number, &rest)?.into_iter();
        return Ok(tests.map(|test| ValueTest::Part(part, Box::new(test))).collect());
    }
    let comparison = [
        (Modifier::Gt, Comparison::Gt),
        (Modifier::Gte, Comparison::Gte),
        (Modifier::Lt, Comparison::Lt),
        (Modifier::Lte, Comparison::Lte),
    ];
    if let Some((_, how)) = comparison.into_iter().find(|(modifier, _)| has(*modifier)) {
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        let number = number.ok_or_else(|| (Code::BadValue, format!("'{text}' is not a number")))?;
        return Ok(vec![ValueTest::Compare(how, number)]);
    }
    if has(Modifier::Cidr) {
        let network =
            text.parse().map_err(|_| (Code::BadCidr, format!("'{text}' is not a network like 10.0.0.0/8")))?;
        return Ok(vec![ValueTest::Cidr(network)]);
    }
    let cased = has(Modifier::Cased);
    if has(Modifier::Re) {
        return regex(&text, |builder| {
            builder
                .case_insensitive(has(Modifier::IgnoreCase))
                .multi_line(has(Modifier::Multiline))
                .dot_matches_new_line(has(Modifier::DotAll));
        })
        .map(|regex| vec![ValueTest::Regex(regex)]);
    }
    let spelled =
        if matches!(value.data, Data::Text(_)) { SigmaString::new(&text) } else { SigmaString::from_raw(&text) };
    encoded(&spelled, modifiers)?.into_iter().map(|parts| text_test(&parts, modifiers, cased)).collect()
}

/// Applies the encoding modifiers; most strings come back as they are.
fn encoded(text: &SigmaString, modifiers: &[Modifier]) -> Result<Vec<Vec<StringPart>>, PatternError> {
    let encoding = |modifier: &&Modifier| {
        matches!(
            modifier,
            Modifier::Base64
                | Modifier::Base64Offset
                | Modifier::Wide
                | Modifier::Utf16
                | Modifier::Utf16be
                | Modifier::WindAsh
        )
    };
    if !modifiers.iter().any(|modifier| encoding(&modifier)) {
        return Ok(vec![text.parts.clone()]);
    }
    let plain = text.as_plain().ok_or((Code::BadValue, "wildcards cannot be encoded".to_owned()))?;
    let mut variants = vec![plain.into_bytes()];
    for modifier in modifiers {
        variants = variants.into_iter().flat_map(|bytes| encode(*modifier, bytes)).collect();
    }
    Ok(variants
        .into_iter()
        .map(|bytes| vec![StringPart::Plain(String::from_utf8_lossy(&bytes).into_owned())])
        .collect())
}

fn encode(modifier: Modifier, bytes: Vec<u8>) -> Vec<Vec<u8>> {
    let text = || String::from_utf8_lossy(&bytes).into_owned();
    let wide = |to_bytes: fn(u16) -> [u8; 2]| text().encode_utf16().flat_map(to_bytes).collect::<Vec<u8>>();
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes).into_bytes();
    match modifier {
        Modifier::Wide => vec![wide(u16::to_le_bytes)],
        Modifier::Utf16be => vec![wide(u16::to_be_bytes)],
        Modifier::Utf16 => vec![[&[0xff, 0xfe], wide(u16::to_le_bytes).as_slice()].concat()],
        Modifier::Base64 => vec![base64(&bytes)],
        // The text may stand at any of three offsets in what was encoded; only the characters that
        // it alone decides are looked for.
        Modifier::Base64Offset => (0..3_usize)
            .map(|offset| {
                let padded = [vec![b' '; offset], bytes.clone()].concat();
                let from = [0, 2, 3].get(offset).copied().unwrap_or(0);
                let keep = match padded.len() % 3 {
                    0 => usize::MAX,
                    1 => padded.len() / 3 * 4 + 1,
                    _ => padded.len() / 3 * 4 + 2,
                };
                base64(&padded).into_iter().take(keep).skip(from).collect()
            })
            .collect(),
        Modifier::WindAsh => {
            let dashes = ["-", "/", "\u{2013}", "\u{2014}", "\u{2015}"];
            let text = text();
            dashes.iter().map(|dash| text.replacen('-', dash, 1).into_bytes()).collect()
        }
        _ => vec![bytes],
    }
}

fn text_test(parts: &[StringPart], modifiers: &[Modifier], cased: bool) -> Result<ValueTest, PatternError> {
    let has = |modifier| modifiers.contains(&modifier);
    // A star at an end is what contains, startswith and endswith say in words.
    let star = |part: Option<&StringPart>| matches!(part, Some(StringPart::Special(SpecialChar::WildcardMulti)));
    let (open_start, open_end) = (star(parts.first()), parts.len() > 1 && star(parts.last()));
    let inner = parts.get(usize::from(open_start)..parts.len() - usize::from(open_end)).unwrap_or_default();
    let open_start = open_start || has(Modifier::Contains) || has(Modifier::EndsWith);
    let open_end = open_end || has(Modifier::Contains) || has(Modifier::StartsWith);
    let plain = match inner {
        [] => Some(""),
        [StringPart::Plain(text)] => Some(text.as_str()),
        _ => None,
    };
    if let Some(text) = plain {
        let needle = Needle::new(text, cased);
        return Ok(match (open_start, open_end) {
            (true, true) => ValueTest::Contains(needle),
            (false, true) => ValueTest::StartsWith(needle),
            (true, false) if !text.is_empty() => ValueTest::EndsWith(needle),
            (true, false) => ValueTest::Contains(needle),
            (false, false) => ValueTest::Equals(needle),
        });
    }
    let body: String = inner
        .iter()
        .map(|part| match part {
            StringPart::Plain(text) => regex::escape(text),
            StringPart::Special(SpecialChar::WildcardMulti) => ".*".to_owned(),
            StringPart::Special(SpecialChar::WildcardSingle) => ".".to_owned(),
        })
        .collect();
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
    fn parts_of_times() {
        use Modifier::{Day, Gte, Hour, Lt, Minute, Month, Week, Year};
        let time = "2026-01-04T22:07:59Z";
        for (modifiers, number, expected) in [
            (&[Hour][..], "22", true),
            (&[Hour, Gte], "22", true),
            (&[Hour, Lt], "22", false),
            (&[Minute], "07", true),
            (&[Day], "4", true),
            // A Sunday, and so the last day of the first week.
            (&[Week], "1", true),
            (&[Month], "1", true),
            (&[Year], "2025", false),
        ] {
            assert_eq!(passes(modifiers, number, text(time)), expected, "{modifiers:?} {number}");
        }
        assert!(!passes(&[Hour, Gte], "0", text("soon")));
    }

    #[test]
    fn encodings() {
        use Modifier::{Base64, Base64Offset, Contains, Wide};
        assert!(passes(&[Base64], "foobar", text("Zm9vYmFy")));
        assert!(passes(&[Wide, Base64], "hi", text("aABpAA==")));
        for padding in ["", "x", "xy", "xyz"] {
            let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{padding}secret-name tail"));
            assert!(passes(&[Base64Offset, Contains], "secret-name", text(&encoded)), "{padding}");
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
    }
}
