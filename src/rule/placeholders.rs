//! Placeholders: the named lists that `%name%` stands for under the modifier `expand`.
//!
//! A value of a list is written like a value of a rule, so `*` and `?` in it are wildcards and `\*`
//! is a star, as Sigma has it; within `re` it is taken as that same text and not as an expression.
//! Every domain of the inventory brings `%domain.NAME.keys%`, and its lists of accounts and Regions
//! are `%accounts%` and `%approved_regions%` unless a list of that name is written.
//!
//! Invariant: a list that is written and empty is not an undefined one. The first has no values;
//! of the second nothing is known, and what hangs on it is left alone.

use std::collections::BTreeMap;

use super::diagnostic::nearest;
use super::pattern::spelling;
use crate::keys::inventory::Inventory;

/// More values than one value of a rule may come to.
const MAX_VALUES: usize = 10_000;

/// Named lists of values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placeholders {
    lists: BTreeMap<String, Vec<String>>,
}

/// Why a value with placeholders has no values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// No list has this name; perhaps the near one was meant.
    Undefined {
        /// As written.
        name: String,
        /// A list that there is.
        near: Option<String>,
    },
    /// Too many of them.
    TooMany,
}

impl Placeholders {
    /// The lists of an inventory.
    #[must_use]
    pub fn of(inventory: &Inventory) -> Self {
        let mut lists = BTreeMap::new();
        for (name, values) in [("accounts", &inventory.accounts), ("approved_regions", &inventory.approved_regions)] {
            if !values.is_empty() {
                lists.insert(name.to_owned(), values.iter().cloned().collect());
            }
        }
        for domain in &inventory.domains {
            // Names of keys are names, whatever characters they hold.
            let keys = domain.key_names.iter().map(|name| literal(name)).collect();
            lists.insert(format!("domain.{}.keys", domain.name), keys);
        }
        lists.extend(inventory.placeholders.clone());
        Self { lists }
    }

    /// All that a value with placeholders stands for.
    ///
    /// # Errors
    /// When a name is not defined, or there would be too many values.
    pub fn expand(&self, text: &str, in_regex: bool) -> Result<Vec<String>, Unresolved> {
        let mut values = vec![String::new()];
        for piece in pieces(text) {
            let name = match piece {
                Piece::Text(text) => {
                    values.iter_mut().for_each(|value| value.push_str(&text));
                    continue;
                }
                Piece::Name(name) => name,
            };
            let list = self.lists.get(&name).ok_or_else(|| Unresolved::Undefined {
                near: nearest(&name, self.lists.keys().map(String::as_str)).map(str::to_owned),
                name,
            })?;
            if values.len().saturating_mul(list.len()) > MAX_VALUES {
                return Err(Unresolved::TooMany);
            }
            let written: Vec<_> =
                list.iter().map(|value| if in_regex { expression(value) } else { value.clone() }).collect();
            values = values.iter().flat_map(|head| written.iter().map(move |tail| format!("{head}{tail}"))).collect();
        }
        Ok(values)
    }
}

fn expression(value: &str) -> String {
    format!("(?:{})", spelling::as_regex(&spelling::pieces(value, true)))
}

fn literal(text: &str) -> String {
    text.chars().flat_map(|c| [Some('\\').filter(|_| matches!(c, '*' | '?' | '\\')), Some(c)]).flatten().collect()
}

/// Whether a value names a placeholder at all.
#[must_use]
pub fn has_name(text: &str) -> bool {
    pieces(text).iter().any(|piece| matches!(piece, Piece::Name(_)))
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Name(String),
}

/// `\%` is a percent sign, as is one that encloses no name.
fn pieces(text: &str) -> Vec<Piece> {
    let mut found = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        if let Some(after) = rest.strip_prefix("\\%") {
            plain.push('%');
            rest = after;
        } else if let Some((name, after)) = after.split_once('%').filter(|(name, _)| c == '%' && is_name(name)) {
            if !plain.is_empty() {
                found.push(Piece::Text(std::mem::take(&mut plain)));
            }
            found.push(Piece::Name(name.to_owned()));
            rest = after;
        } else {
            plain.push(c);
            rest = after;
        }
    }
    if !plain.is_empty() {
        found.push(Piece::Text(plain));
    }
    found
}

/// Whether a placeholder can have the name.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-.:".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists() -> Placeholders {
        let yaml = "domains: [{name: vault, keys: [alias/vault, mrk-77]}]
accounts: ['111122223333']
approved_regions: [eu-west-1]
placeholders: {approved_regions: [eu-west-1, eu-central-1], none: [], roles: ['role/pay*', role/ops]}
";
        Placeholders::of(&Inventory::parse("keys.yml", yaml).unwrap())
    }

    #[test]
    fn names_within_a_text() {
        let (text, name) = (|t: &str| Piece::Text(t.to_owned()), |n: &str| Piece::Name(n.to_owned()));
        for (written, expected) in [
            ("%a%", vec![name("a")]),
            (r"\%plain%name%", vec![text("%plain"), name("name")]),
            ("x%a%%domain.b-c.keys%y", vec![text("x"), name("a"), name("domain.b-c.keys"), text("y")]),
            ("100%", vec![text("100%")]),
            ("50% of 100%a%", vec![text("50% of 100"), name("a")]),
            ("%%", vec![text("%%")]),
            ("", vec![]),
        ] {
            assert_eq!(pieces(written), expected, "{written}");
        }
    }

    #[test]
    fn lists_of_the_inventory() {
        let of = |text: &str| lists().expand(text, false).unwrap();
        assert_eq!(of("%approved_regions%"), ["eu-west-1", "eu-central-1"], "what is written wins");
        assert_eq!(of("%domain.vault.keys%"), ["alias/vault", "mrk-77"]);
        assert_eq!(
            of("arn:aws:iam::%accounts%:%roles%"),
            ["arn:aws:iam::111122223333:role/pay*", "arn:aws:iam::111122223333:role/ops"]
        );
        assert_eq!(of("%none%"), Vec::<String>::new());
        assert_eq!(lists().expand("^%roles%$", true).unwrap(), ["^(?:role/pay.*)$", "^(?:role/ops)$"]);
        assert_eq!(literal(r"a*b?\"), r"a\*b\?\\");
    }

    #[test]
    fn undefined_and_endless() {
        let near = |text: &str| match lists().expand(text, false) {
            Err(Unresolved::Undefined { near, .. }) => near,
            other => panic!("{other:?}"),
        };
        assert_eq!(near("%approved_region%").as_deref(), Some("approved_regions"));
        assert_eq!(near("%something_else%"), None);
        let many = Placeholders { lists: BTreeMap::from([("n".to_owned(), vec!["x".to_owned(); 200])]) };
        assert_eq!(many.expand("%n%%n%", false), Err(Unresolved::TooMany));
    }
}
