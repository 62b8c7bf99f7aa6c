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
    /// Says where in the text the value stands.
    Anchor,
    /// Changes the text of the value.
    Encoding,
    /// Sets how a regular expression is read.
    Flag,
    /// Text with case.
    Case,
    /// Combines values; goes with all but `exists`.
    Combination,
    /// Takes a part of a time; goes with comparisons of numbers.
    Part,
    /// Fills in lists before anything is read; goes with all but `exists`.
    Lists,
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
    ("gt", Modifier::Gt, Kind::Comparison),
    ("gte", Modifier::Gte, Kind::Comparison),
    ("lt", Modifier::Lt, Kind::Comparison),
    ("lte", Modifier::Lte, Kind::Comparison),
    ("fieldref", Modifier::FieldRef, Kind::Comparison),
    ("base64", Modifier::Base64, Kind::Encoding),
    ("base64offset", Modifier::Base64Offset, Kind::Encoding),
    ("wide", Modifier::Wide, Kind::Encoding),
    ("utf16le", Modifier::Wide, Kind::Encoding),
    ("utf16", Modifier::Utf16, Kind::Encoding),
    ("utf16be", Modifier::Utf16be, Kind::Encoding),
    ("windash", Modifier::WindAsh, Kind::Encoding),
    ("expand", Modifier::Expand, Kind::Lists),
    ("minute", Modifier::Minute, Kind::Part),
    ("hour", Modifier::Hour, Kind::Part),
    ("day", Modifier::Day, Kind::Part),
    ("week", Modifier::Week, Kind::Part),
    ("month", Modifier::Month, Kind::Part),
    ("year", Modifier::Year, Kind::Part),
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
    use Kind::{Anchor, Case, Combination, Comparison, Encoding, Flag, Lists, Part};
    if one.0 == other.0 {
        return true;
    }
    let either = |modifier| one.0 == modifier || other.0 == modifier;
    match (one.1, other.1) {
        (Comparison, Comparison) | (Anchor, Anchor) | (Part, Part) => true,
        (Part, Anchor | Encoding | Case | Flag) | (Anchor | Encoding | Case | Flag, Part) => true,
        (Part, Comparison) | (Comparison, Part) => {
            ![Modifier::Gt, Modifier::Gte, Modifier::Lt, Modifier::Lte].into_iter().any(either)
        }
        (Part, Combination) | (Combination, Part) => either(Modifier::All),
        (Lists, _) | (_, Lists) => either(Modifier::Exists),
        (Comparison, Anchor | Encoding | Case) | (Anchor | Encoding | Case, Comparison) => {
            !either(Modifier::Re) || {
                // A regular expression minds case by itself; `cased` says the same once more.
                one.1 != Case && other.1 != Case
            }
        }
        (Comparison, Combination) | (Combination, Comparison) => {
            either(Modifier::Exists) || (either(Modifier::FieldRef) && either(Modifier::All))
        }
        (Combination, Combination) => true,
        (Flag, Case) | (Case, Flag) => either(Modifier::IgnoreCase),
        _ => false,
    }
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
            "f|hour|gte",
            "f|minute|neq",
            "f|expand|endswith|cased",
            "f|expand|cidr|neq",
            "f|gte",
        ] {
            assert_eq!(said(key), "", "{key}");
        }
    }

    #[test]
    fn what_does_not() {
        for (key, expected) in [
            ("f|startswith|endswith", "r:1:14: error[bad-value]: `startswith` and `endswith` do not go together"),
            ("f|fieldref|startswith", "`fieldref` and `startswith` do not go together"),
            ("f|re|contains", "do not go together"),
            ("f|gt|lt", "do not go together"),
            ("f|exists|neq", "do not go together"),
            ("f|neq|all", "do not go together"),
            ("f|all|all", "do not go together"),
            ("f|cidr|cased", "do not go together"),
            ("f|re|i|cased", "do not go together"),
            ("f|i", "`i` is of `re` only"),
            ("f|hour|contains", "`hour` and `contains` do not go together"),
            ("f|hour|day", "do not go together"),
            ("f|week|re", "do not go together"),
            ("f|exists|expand", "do not go together"),
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
