//! Modifiers: what stands behind the bars of `field|contains|all`.
//!
//! Invariant: a modifier that would have no effect is an error. The writer meant something by it,
//! and a rule that does something else is worse than none.

use rsigma_parser::Modifier;

use super::diagnostic::{Code, Diagnostics};
use super::locate::Place;

/// How a modifier bears on the others of its item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Says what is compared, and leaves no room for another.
    Comparison,
    /// Says how numbers compare.
    Order,
    /// Takes a number out of a time.
    Part,
    /// Compares with another field.
    Reference,
    /// Fills in named lists before anything else is done.
    Expansion,
    /// Says where in the text the value stands.
    Anchor,
    /// Changes the text of the value.
    Encoding,
    /// Sets how a regular expression is read.
    Flag,
    /// Text with case.
    Case,
    /// Combines values, or says the contrary; goes with all but `exists`.
    Combination,
}

/// What there is, by the names of Sigma.
const KNOWN: &[(&str, Modifier, Kind)] = &[
    ("contains", Modifier::Contains, Kind::Anchor),
    ("startswith", Modifier::StartsWith, Kind::Anchor),
    ("endswith", Modifier::EndsWith, Kind::Anchor),
    ("all", Modifier::All, Kind::Combination),
    ("neq", Modifier::Neq, Kind::Combination),
    ("cased", Modifier::Cased, Kind::Case),
    ("re", Modifier::Re, Kind::Comparison),
    ("i", Modifier::IgnoreCase, Kind::Flag),
    ("ignorecase", Modifier::IgnoreCase, Kind::Flag),
    ("m", Modifier::Multiline, Kind::Flag),
    ("multiline", Modifier::Multiline, Kind::Flag),
    ("s", Modifier::DotAll, Kind::Flag),
    ("dotall", Modifier::DotAll, Kind::Flag),
    ("cidr", Modifier::Cidr, Kind::Comparison),
    ("exists", Modifier::Exists, Kind::Comparison),
    ("gt", Modifier::Gt, Kind::Order),
    ("gte", Modifier::Gte, Kind::Order),
    ("lt", Modifier::Lt, Kind::Order),
    ("lte", Modifier::Lte, Kind::Order),
    ("minute", Modifier::Minute, Kind::Part),
    ("hour", Modifier::Hour, Kind::Part),
    ("day", Modifier::Day, Kind::Part),
    ("week", Modifier::Week, Kind::Part),
    ("month", Modifier::Month, Kind::Part),
    ("year", Modifier::Year, Kind::Part),
    ("fieldref", Modifier::FieldRef, Kind::Reference),
    ("expand", Modifier::Expand, Kind::Expansion),
    ("base64", Modifier::Base64, Kind::Encoding),
    ("base64offset", Modifier::Base64Offset, Kind::Encoding),
    ("wide", Modifier::Wide, Kind::Encoding),
    ("utf16le", Modifier::Wide, Kind::Encoding),
    ("utf16", Modifier::Utf16, Kind::Encoding),
    ("utf16be", Modifier::Utf16be, Kind::Encoding),
    ("windash", Modifier::WindAsh, Kind::Encoding),
];

type Named<'k> = (&'k str, Modifier, Kind);

/// Reads the modifiers of an item's key; nothing when a mistake among them was noted.
pub fn read(key: &str, place: Place, diagnostics: &mut Diagnostics<'_>) -> Option<Vec<Modifier>> {
    let mut read: Vec<Named<'_>> = Vec::new();
    let mut at = key.split('|').next().unwrap_or_default().chars().count();
    let mut sound = true;
    for name in key.split('|').skip(1) {
        let place = Place { column: place.column + at + 1, ..place };
        at += name.chars().count() + 1;
        let Some((_, modifier, kind)) = KNOWN.iter().find(|(known, ..)| *known == name) else {
            unknown(name, place, diagnostics);
            sound = false;
            continue;
        };
        let clash = read.iter().find(|(_, other, of)| clash((*modifier, *kind), (*other, *of)));
        if let Some((other, ..)) = clash {
            let message = format!("`{other}` and `{name}` do not go together");
            diagnostics.error(Code::BadValue, place, message, None);
            sound = false;
        }
        read.push((name, *modifier, *kind));
    }
    let is_regex = read.iter().any(|(_, modifier, _)| *modifier == Modifier::Re);
    if let Some((name, ..)) = read.iter().find(|(.., kind)| *kind == Kind::Flag && !is_regex) {
        let help = Some("without `re` text compares without case anyhow".to_owned());
        diagnostics.error(Code::BadValue, place, format!("`{name}` is of `re` only"), help);
        sound = false;
    }
    sound.then(|| read.into_iter().map(|(_, modifier, _)| modifier).collect())
}

fn unknown(name: &str, place: Place, diagnostics: &mut Diagnostics<'_>) {
    if name == "not" {
        let help = Some("write `neq`, or `not` in the condition".to_owned());
        diagnostics.error(Code::UnknownModifier, place, "`not` is no modifier", help);
    } else {
        let known = KNOWN.iter().map(|(known, ..)| *known);
        diagnostics.unknown(Code::UnknownModifier, place, "modifier", name, known);
    }
}

/// Whether one of the two would have no effect.
fn clash(one: (Modifier, Kind), other: (Modifier, Kind)) -> bool {
    one.0 == other.0 || bars(one, other) || bars(other, one)
}

/// Whether the first leaves no room for the second.
fn bars((modifier, kind): (Modifier, Kind), (other, of): (Modifier, Kind)) -> bool {
    use Kind::{Anchor, Case, Combination, Comparison, Encoding, Expansion, Flag, Order, Part, Reference};
    match (kind, of) {
        (Comparison, Comparison | Order | Part | Reference | Anchor | Encoding) => true,
        // A regular expression minds case by itself; `cased` says the same once more.
        (Comparison, Case) => modifier != Modifier::Re,
        (Comparison, Combination | Expansion) => modifier == Modifier::Exists,
        (Order, Order | Anchor | Encoding | Case | Reference) => true,
        (Part, Part | Anchor | Encoding | Case | Reference) => true,
        (Reference, Encoding | Expansion) => true,
        (Reference | Part, Combination) => other == Modifier::All,
        (Anchor, Anchor) | (Combination, Combination) => true,
        (Flag, Case) => modifier == Modifier::IgnoreCase,
        _ => false,
    }
}

/// What may stand where no field is named: a keyword is looked for anywhere in a record.
#[must_use]
pub fn fits_keywords(modifier: Modifier) -> bool {
    use Modifier::{All, Base64, Base64Offset, Cased, Contains, DotAll, Expand, IgnoreCase, Multiline, Re};
    let of_text = [All, Base64, Base64Offset, Cased, Contains, DotAll, Expand, IgnoreCase, Multiline, Re];
    of_text.contains(&modifier)
        || [Modifier::Utf16, Modifier::Utf16be, Modifier::Wide, Modifier::WindAsh].contains(&modifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(key: &str) -> String {
        let mut diagnostics = Diagnostics::new("r");
        let read = read(key, Place { line: 1, column: 1 }, &mut diagnostics);
        assert_eq!(read.is_some(), diagnostics.found.is_empty(), "{key}");
        diagnostics.found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_goes_together() {
        for key in [
            "f",
            "f|contains|all",
            "f|re|i|m|s",
            "f|re|cased",
            "f|wide|base64offset|contains",
            "f|cidr|neq",
            "f|fieldref|neq",
            "f|endswith|cased|neq",
            "|contains|all",
            "f|gte",
            "f|hour|gte",
            "f|week|neq",
            "f|fieldref|startswith|cased",
            "f|contains|fieldref|neq",
            "f|expand|contains|all",
            "f|re|expand",
            "f|cidr|expand|neq",
            "f|windash|contains|all",
        ] {
            assert_eq!(said(key), "", "{key}");
        }
    }

    #[test]
    fn what_does_not() {
        for (key, expected) in [
            ("f|startswith|endswith", "r:1:14: error[bad-value]: `startswith` and `endswith` do not go together"),
            ("f|fieldref|all", "`fieldref` and `all` do not go together"),
            ("f|hour|minute", "`hour` and `minute` do not go together"),
            ("f|hour|contains", "`hour` and `contains` do not go together"),
            ("f|fieldref|expand", "do not go together"),
            ("f|exists|expand", "do not go together"),
            ("f|cased|lt", "do not go together"),
            ("f|re|contains", "do not go together"),
            ("f|gt|lt", "do not go together"),
            ("f|exists|neq", "do not go together"),
            ("f|neq|all", "do not go together"),
            ("f|all|all", "do not go together"),
            ("f|cidr|cased", "do not go together"),
            ("f|re|i|cased", "do not go together"),
            ("f|i", "`i` is of `re` only"),
            ("f|not", "help: write `neq`"),
            (
                "é|contians",
                "r:1:3: error[unknown-modifier]: unknown modifier `contians`\n  help: did you mean `contains`?",
            ),
            ("f|", "unknown modifier ``"),
        ] {
            assert!(said(key).contains(expected), "{key}: {}", said(key));
        }
    }
}
