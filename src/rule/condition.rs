//! The condition over a detection's selections.
//!
//! Invariant: how deep a condition may nest is settled before anything recurses over it.

use rsigma_parser::{ConditionExpr, Quantifier, SelectorPattern, parse_condition};

use super::diagnostic::{Code, Diagnostics, nearest};
use super::locate::{Node, Place};
use super::predicate::Predicate;

/// A selection: its name, where that stands, and what it comes to.
pub type Named = (String, Place, Predicate);

/// Deeper than a person can follow; a hostile rule ends here and not the stack.
const MAX_DEPTH: usize = 32;
/// More than a condition ever names.
const MAX_TERMS: usize = 512;

/// Reads conditions over some selections.
#[derive(Debug)]
pub struct Reading<'s, 'd, 'p> {
    selections: &'s [Named],
    diagnostics: &'d mut Diagnostics<'p>,
    /// What has been named.
    referenced: Vec<String>,
    /// Whether all conditions could be read, so that it is known what they name.
    legible: bool,
}

impl<'s, 'd, 'p> Reading<'s, 'd, 'p> {
    /// Over these selections; mistakes go to `diagnostics`.
    pub fn new(selections: &'s [Named], diagnostics: &'d mut Diagnostics<'p>) -> Self {
        Self { selections, diagnostics, referenced: Vec::new(), legible: true }
    }

    /// The `condition:`, or any of several; nothing when a mistake was noted.
    #[must_use]
    pub fn whole(mut self, condition: &Node) -> Option<Predicate> {
        let mut alternatives = Vec::new();
        let mut sound = true;
        for item in condition.items() {
            match self.one(item) {
                Some(predicate) => alternatives.push(predicate),
                None => sound = false,
            }
        }
        sound &= !self.legible || self.all_are_named();
        if !sound {
            return None;
        }
        if alternatives.len() > 1 { Some(Predicate::Any(alternatives)) } else { alternatives.pop() }
    }

    fn all_are_named(&mut self) -> bool {
        let unnamed = |name: &String| !self.referenced.contains(name) && !name.starts_with('_');
        let found: Vec<_> = self.selections.iter().filter(|(name, ..)| unnamed(name)).collect();
        for (name, place, _) in &found {
            let help = Some("name it in the condition or delete it".to_owned());
            let message = format!("selection `{name}` is used by no condition");
            self.diagnostics.error(Code::UnusedSelection, *place, message, help);
        }
        found.is_empty()
    }

    fn one(&mut self, item: &Node) -> Option<Predicate> {
        let read = match item.scalar_text() {
            None => Err((item.place, "a condition is a line of text".to_owned(), None)),
            Some(text) => check_size(&text).map_err(|reason| (item.place, reason, None)).and_then(|()| {
                parse_condition(&text).map_err(|error| {
                    let column = error.location().map_or(0, |at| (at.col as usize).saturating_sub(1));
                    let place = Place { column: item.place.column + column, ..item.place };
                    let help = text.contains('|').then(|| "to count, write a correlation".to_owned());
                    (place, in_words(&error.to_string()), help)
                })
            }),
        };
        match read {
            Ok(expression) => self.compile(&expression, item.place),
            Err((place, message, help)) => {
                self.legible = false;
                self.diagnostics.error(Code::BadCondition, place, message, help);
                None
            }
        }
    }

    fn compile(&mut self, expression: &ConditionExpr, place: Place) -> Option<Predicate> {
        Some(match expression {
            ConditionExpr::And(parts) => Predicate::All(self.each(parts, place)?),
            ConditionExpr::Or(parts) => Predicate::Any(self.each(parts, place)?),
            ConditionExpr::Not(part) => Predicate::Not(Box::new(self.compile(part, place)?)),
            ConditionExpr::Identifier(name) => self.named(name, place)?,
            ConditionExpr::Selector { quantifier, pattern } => self.selector(quantifier, pattern, place)?,
        })
    }

    fn each(&mut self, parts: &[ConditionExpr], place: Place) -> Option<Vec<Predicate>> {
        // All parts are read, so that every mistake is told of.
        let compiled: Vec<_> = parts.iter().map(|part| self.compile(part, place)).collect();
        compiled.into_iter().collect()
    }

    fn named(&mut self, name: &str, place: Place) -> Option<Predicate> {
        self.referenced.push(name.to_owned());
        let found = self.selections.iter().find(|(known, ..)| known == name);
        if found.is_none() {
            let help = nearest(name, self.selections.iter().map(|(known, ..)| known.as_str()))
                .map(|near| format!("did you mean `{near}`?"));
            let message = format!("the condition names `{name}`, which is no selection");
            self.diagnostics.error(Code::UnknownSelection, place, message, help);
        }
        found.map(|(_, _, predicate)| predicate.clone())
    }

    fn selector(&mut self, quantifier: &Quantifier, pattern: &SelectorPattern, place: Place) -> Option<Predicate> {
        let fits = |name: &str| pattern.matches_detection_name(name);
        let chosen: Vec<_> = self.selections.iter().filter(|(name, ..)| fits(name)).cloned().collect();
        self.referenced.extend(chosen.iter().map(|(name, ..)| name.clone()));
        let wanted = match quantifier {
            Quantifier::Any | Quantifier::All => 1,
            Quantifier::Count(count) => usize::try_from(*count).unwrap_or(usize::MAX),
        };
        let problem = match chosen.len() {
            0 => Some(format!("`{pattern}` fits no selection")),
            _ if wanted == 0 => Some(format!("`0 of {pattern}` is always true")),
            there if there < wanted => Some(format!("`{pattern}` fits {there} selections, never {wanted}")),
            _ => None,
        };
        if let Some(problem) = problem {
            self.diagnostics.error(Code::UnknownSelection, place, problem, None);
            return None;
        }
        let parts: Vec<_> = chosen.into_iter().map(|(_, _, predicate)| predicate).collect();
        Some(match quantifier {
            Quantifier::Any => Predicate::Any(parts),
            Quantifier::All => Predicate::All(parts),
            Quantifier::Count(_) => Predicate::AtLeast(wanted, parts),
        })
    }
}

/// Whether the text nests and lists no more than is sensible.
pub(super) fn check_size(text: &str) -> Result<(), String> {
    let (mut open, mut nots, mut terms) = (0_usize, 0_usize, 0_usize);
    for word in text.replace('(', " ( ").replace(')', " ) ").split_whitespace() {
        match word {
            "(" => open += 1,
            ")" => open = open.saturating_sub(1),
            word if word.eq_ignore_ascii_case("not") => nots += 1,
            _ => {
                nots = 0;
                terms += 1;
            }
        }
        if open + nots > MAX_DEPTH {
            return Err(format!("the condition nests deeper than {MAX_DEPTH} levels"));
        }
    }
    if terms > MAX_TERMS {
        return Err(format!("the condition has more than {MAX_TERMS} words"));
    }
    Ok(())
}

/// The grammar's complaint without its drawing and its own names for things.
pub(super) fn in_words(error: &str) -> String {
    let Some((_, expected)) = error.rsplit_once("= expected ") else {
        return error.lines().next().unwrap_or_default().to_owned();
    };
    let words = [
        ("of_kw_inner", "`of`"),
        ("selector_target", "a selection, a pattern or `them`"),
        ("quantifier", "`1 of` or `all of`"),
        ("ident", "a selection"),
        ("not_op", "`not`"),
        ("or_op", "`or`"),
        ("and_op", "`and`"),
        ("EOI", "the end"),
        ("expr", "a selection"),
    ];
    let said = words.iter().fold(expected.trim().to_owned(), |said, (name, word)| said.replace(name, word));
    format!("expected {said} here")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::locate::documents;

    fn said(condition: &str) -> String {
        let node = documents(&format!("['{condition}', use or all of sel_* or _mute]")).unwrap().remove(0);
        let selections = ["use", "sel_a", "sel_b", "_mute"]
            .map(|name| (name.to_owned(), Place { line: 1, column: 1 }, Predicate::Any(Vec::new())));
        let mut diagnostics = Diagnostics::new("r");
        let read = Reading::new(&selections, &mut diagnostics).whole(&node);
        assert_eq!(read.is_none(), diagnostics.has_errors(), "{condition}");
        diagnostics.found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn conditions_that_hold_together() {
        let deep = format!("{}1 of them{}", "(".repeat(32), ")".repeat(32));
        for condition in
            ["use or 1 of sel_*", "all of them", "2 of sel_* and not use", "use and (sel_a or not sel_b)", &deep]
        {
            assert_eq!(said(condition), "", "{condition}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let many = vec!["use"; 600].join(" or ");
        for (condition, expected) in [
            ("use and (not", "expected `1 of` or `all of`, a selection, or `not` here"),
            ("use sel_a", "expected the end, `or`, or `and` here"),
            ("use | count() > 5", "help: to count, write a correlation"),
            ("1 of", "expected a selection, a pattern or `them` here"),
            ("3 of sel_* or use", "`sel_*` fits 2 selections, never 3"),
            ("0 of them", "is always true"),
            ("1 of them and 1 of filter_*", "`filter_*` fits no selection"),
            (&format!("{}a{}", "(".repeat(30_000), ")".repeat(30_000)), "nests deeper than 32 levels"),
            (&format!("{}a", "not ".repeat(16_000)), "nests deeper than 32 levels"),
            (&many, "more than 512 words"),
        ] {
            let said = said(condition);
            assert!(said.contains(expected), "{said:.300}");
            assert!(!said.contains("-->") && said.len() < 400, "{said:.300}");
        }
    }
}
