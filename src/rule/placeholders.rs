//! Placeholders: `%name%` in values of `|expand` items, filled in from named lists of the key
//! inventory.
//!
//! A value with a placeholder becomes one value for each entry of the list; wildcards in an entry
//! count, as in any value. A name that nobody defines leaves the value as it is, which no record
//! holds, and is told of: the rule waits for the list, and its neighbours still load.

use std::collections::BTreeMap;

use super::diagnostic::{Code, Diagnostics, nearest};
use super::locate::{Data, Node};
use crate::keys::inventory::Inventory;

/// Named lists of values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placeholders(BTreeMap<String, Vec<String>>);

/// More values than one item ever needs.
const MAX_VALUES: usize = 10_000;

impl Placeholders {
    /// Of an inventory: its `placeholders`, its `accounts` and `approved_regions`, and the keys of
    /// each domain as `domain.NAME.keys`.
    #[must_use]
    pub fn of(inventory: &Inventory) -> Self {
        let mut lists = BTreeMap::new();
        for (name, set) in [("accounts", &inventory.accounts), ("approved_regions", &inventory.approved_regions)] {
            if !set.is_empty() {
                lists.insert(name.to_owned(), set.iter().cloned().collect());
            }
        }
        for domain in &inventory.domains {
            lists.insert(format!("domain.{}.keys", domain.name), domain.key_names.clone());
        }
        lists.extend(inventory.placeholders.clone());
        Self(lists)
    }

    /// Fills in all `|expand` items of a document.
    pub(super) fn fill(&self, node: &mut Node, diagnostics: &mut Diagnostics<'_>) {
        match &mut node.data {
            Data::Map(members) => {
                for (key, value) in members {
                    if key.text.split('|').skip(1).any(|modifier| modifier == "expand") {
                        self.expand(value, diagnostics);
                    } else {
                        self.fill(value, diagnostics);
                    }
                }
            }
            Data::List(items) => items.iter_mut().for_each(|item| self.fill(item, diagnostics)),
            _ => {}
        }
    }

    fn expand(&self, value: &mut Node, diagnostics: &mut Diagnostics<'_>) {
        let mut filled: Vec<Node> = Vec::new();
        for item in value.items() {
            let Data::Text(text) = &item.data else {
                filled.push(item.clone());
                continue;
            };
            let mut texts = vec![String::new()];
            let mut rest = text.as_str();
            let mut any = false;
            while let Some((before, name, after)) = next(rest) {
                any = true;
                let kept = [format!("%{name}%")];
                let list = self.0.get(name).map_or_else(
                    || {
                        self.undefined(name, item, diagnostics);
                        kept.as_slice()
                    },
                    Vec::as_slice,
                );
                let longer =
                    texts.iter().flat_map(|text| list.iter().map(move |entry| format!("{text}{before}{entry}")));
                texts = longer.take(MAX_VALUES).collect();
                rest = after;
            }
            if !any {
                let help = Some("write the name of a list between `%`, or leave `expand` out".to_owned());
                diagnostics.error(Code::BadValue, item.place, "nothing to expand: no `%name%` in it", help);
            }
            let one = |text: String| Node { place: item.place, data: Data::Text(format!("{text}{rest}")) };
            filled.extend(texts.into_iter().map(one));
        }
        if filled.len() >= MAX_VALUES {
            let message = format!("expands to more than {MAX_VALUES} values");
            diagnostics.error(Code::BadValue, value.place, message, None);
        }
        filled.truncate(MAX_VALUES);
        value.data = Data::List(filled);
    }

    fn undefined(&self, name: &str, at: &Node, diagnostics: &mut Diagnostics<'_>) {
        let near = nearest(name, self.0.keys().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
        let define = || format!("define it under `placeholders:` of the key inventory, as `{name}: [...]`");
        let message = format!("no list is called `{name}`, so this value matches nothing for now");
        diagnostics.warning(Code::UndefinedPlaceholder, at.place, message, Some(near.unwrap_or_else(define)));
    }
}

/// The text before the next placeholder, its name, and what follows.
fn next(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('%')?;
    let (name, after) = rest.split_once('%')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "._-".contains(c));
    is_name.then_some((before, name, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::locate::documents;

    fn filled(yaml: &str) -> (Vec<String>, String) {
        let inventory = "domains: [{name: vault, keys: [k-1, k-2]}]\naccounts: ['111122223333']\nplaceholders: {roles: [pay, 'ops-*'], none: []}\n";
        let placeholders = Placeholders::of(&Inventory::parse("keys", inventory).unwrap());
        let mut node = documents(yaml).unwrap().remove(0);
        let mut diagnostics = Diagnostics::new("r");
        placeholders.fill(&mut node, &mut diagnostics);
        let item = &node.get("a").unwrap().members()[0].1;
        let texts = item.items().iter().filter_map(Node::scalar_text).collect();
        (texts, diagnostics.found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn lists_take_the_place_of_their_names() {
        for (yaml, expected) in [
            ("a: {f|expand: '%roles%'}", vec!["pay", "ops-*"]),
            ("a: {f|expand|endswith: 'role/%roles%'}", vec!["role/pay", "role/ops-*"]),
            (
                "a: {f|expand: ['%accounts%:%roles%', x%roles%y]}",
                vec!["111122223333:pay", "111122223333:ops-*", "xpayy", "xops-*y"],
            ),
            ("a: {f|expand: '%domain.vault.keys%'}", vec!["k-1", "k-2"]),
            ("a: {f|expand: '%none%'}", vec![]),
            ("a: {f: '%roles%'}", vec!["%roles%"]),
        ] {
            assert_eq!(filled(yaml), (expected.into_iter().map(str::to_owned).collect(), String::new()), "{yaml}");
        }
    }

    #[test]
    fn what_nobody_defines_is_told_of() {
        let (texts, said) = filled("a: {f|expand: '%rols%'}");
        assert_eq!(texts, ["%rols%"]);
        assert!(said.contains("r:1:15: warning[undefined-placeholder]: no list is called `rols`"), "{said}");
        assert!(said.contains("did you mean `roles`?"), "{said}");
        assert!(filled("a: {f|expand: '%regions%'}").1.contains("define it under `placeholders:`"));
        assert!(filled("a: {f|expand: 'pay'}").1.contains("nothing to expand"));
    }
}
