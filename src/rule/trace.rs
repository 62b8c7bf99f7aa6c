//! Why a condition holds for a record, or what of it does not: a slow walk over every part.
//!
//! Invariant: its verdict is that of [`Predicate::holds`], which asks no more than it must (property
//! test). It decides nothing and serves explanations and tests only.

use std::collections::BTreeSet;

use serde_json::Value;

use super::pattern::ValueTest;
use super::pattern::needle::{Anchor, Needle};
use super::predicate::{Mark, Predicate, Reference, Searchable};
use crate::event::field::{FieldId, FieldValue, Fields};

/// A part of a condition, tried on a record.
#[derive(Clone, Debug)]
pub struct Trace<'p> {
    /// Whether it holds.
    pub holds: bool,
    /// What it is.
    pub part: Part<'p>,
}

/// What a part of a condition is.
#[derive(Clone, Debug)]
pub enum Part<'p> {
    /// At least so many of these.
    AtLeast(usize, Vec<Trace<'p>>),
    /// Not this.
    Not(Box<Trace<'p>>),
    /// This, which has a name.
    Marked(&'p Mark, Box<Trace<'p>>),
    /// A test.
    Leaf(&'p Predicate),
}

/// What stands between a condition and its holding.
#[derive(Clone, Debug, PartialEq)]
pub enum Hindrance<'p> {
    /// An item that does not hold and must, or holds and must not.
    Item {
        /// The selection that it stands in.
        selection: Option<&'p str>,
        /// The item.
        item: Item<'p>,
        /// Whether it holds.
        holds: bool,
    },
    /// A selection that holds and that the condition says `not` to.
    Excluded {
        /// Its name.
        selection: &'p str,
        /// The items of it that hold.
        items: Vec<Item<'p>>,
    },
    /// A filter that takes the match away.
    Filter {
        /// Its title.
        title: &'p str,
        /// The items of it that hold.
        items: Vec<Item<'p>>,
    },
}

/// An item of a selection.
#[derive(Clone, Copy, Debug)]
pub struct Item<'p> {
    /// Key with modifiers and values, as written; nothing for a condition made otherwise.
    pub written: Option<(&'p str, &'p [String])>,
    /// What is asked.
    pub predicate: &'p Predicate,
}

impl PartialEq for Item<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written && std::ptr::eq(self.predicate, other.predicate)
    }
}

impl Item<'_> {
    /// The fields that it reads; none for keywords.
    #[must_use]
    pub fn fields(&self) -> Vec<FieldId> {
        let mut fields = BTreeSet::new();
        collect_fields(self.predicate, &mut fields);
        fields.into_iter().collect()
    }
}

fn collect_fields(predicate: &Predicate, into: &mut BTreeSet<FieldId>) {
    match predicate {
        Predicate::All(parts) | Predicate::Any(parts) | Predicate::AtLeast(_, parts) => {
            parts.iter().for_each(|part| collect_fields(part, into));
        }
        Predicate::Not(part) | Predicate::Marked(_, part) => collect_fields(part, into),
        Predicate::SomeOf(field, _) | Predicate::AllOf(field, _) | Predicate::Exists(field, _) => {
            into.insert(*field);
        }
        Predicate::Refers(field, other) => into.extend([*field, other.field]),
        Predicate::Keyword(_) | Predicate::Nobody | Predicate::Undefined(_) => {}
    }
}

/// How much of a condition is met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// Items that hold.
    pub held: usize,
    /// Items.
    pub items: usize,
}

impl<'p> Trace<'p> {
    /// Tries every part of a condition.
    #[must_use]
    pub fn of(predicate: &'p Predicate, fields: &Fields<'_>, raw: &Searchable<'_>) -> Self {
        let each = |parts: &'p [Predicate]| parts.iter().map(|part| Self::of(part, fields, raw)).collect::<Vec<_>>();
        let at_least = |count: usize, parts: &'p [Predicate]| {
            let parts = each(parts);
            let held = parts.iter().filter(|part| part.holds).count();
            Self { holds: held >= count, part: Part::AtLeast(count, parts) }
        };
        match predicate {
            Predicate::All(parts) => at_least(parts.len(), parts),
            Predicate::Any(parts) => at_least(1, parts),
            Predicate::AtLeast(count, parts) => at_least(*count, parts),
            Predicate::Not(part) => {
                let part = Self::of(part, fields, raw);
                Self { holds: !part.holds, part: Part::Not(Box::new(part)) }
            }
            Predicate::Marked(mark, part) => {
                let part = Self::of(part, fields, raw);
                Self { holds: part.holds, part: Part::Marked(mark, Box::new(part)) }
            }
            leaf => Self { holds: leaf_holds(leaf, fields, raw), part: Part::Leaf(leaf) },
        }
    }

    /// How many items hold.
    #[must_use]
    pub fn met(&self) -> Met {
        if self.is_item() {
            return Met { held: usize::from(self.holds), items: 1 };
        }
        let sum = |parts: &[Self]| {
            parts
                .iter()
                .map(Self::met)
                .fold(Met::default(), |sum, met| Met { held: sum.held + met.held, items: sum.items + met.items })
        };
        match &self.part {
            Part::AtLeast(_, parts) => sum(parts),
            Part::Not(part) => {
                let met = part.met();
                Met { held: met.items - met.held, ..met }
            }
            Part::Marked(_, part) => part.met(),
            Part::Leaf(_) => Met::default(),
        }
    }

    /// How few items would have to turn out otherwise for the condition to hold; zero when it does.
    #[must_use]
    pub fn distance(&self) -> usize {
        self.distance_to(true)
    }

    fn distance_to(&self, wanted: bool) -> usize {
        if self.holds == wanted {
            return 0;
        }
        if self.is_item() {
            return 1;
        }
        match &self.part {
            Part::AtLeast(count, parts) => self.cheapest(*count, parts, wanted).iter().map(|(cost, _)| cost).sum(),
            Part::Not(part) => part.distance_to(!wanted),
            Part::Marked(_, part) => part.distance_to(wanted),
            Part::Leaf(_) => 1,
        }
    }

    /// The parts that would have to turn, and at what cost: as few items as can be.
    fn cheapest<'t>(&self, count: usize, parts: &'t [Self], wanted: bool) -> Vec<(usize, &'t Self)> {
        let held = parts.iter().filter(|part| part.holds).count();
        // More than there are can never hold, and none always does.
        let turns = if wanted { count.saturating_sub(held) } else { (held + 1).saturating_sub(count) };
        let mut costs: Vec<_> =
            parts.iter().filter(|part| part.holds != wanted).map(|part| (part.distance_to(wanted), part)).collect();
        costs.sort_by_key(|(cost, _)| *cost);
        costs.truncate(turns);
        costs
    }

    /// What stands between the condition and its holding; nothing when it holds.
    #[must_use]
    pub fn hindrances(&self) -> Vec<Hindrance<'p>> {
        let mut found = Vec::new();
        self.hinder(true, None, &mut found);
        found
    }

    fn hinder(&self, wanted: bool, selection: Option<&'p str>, found: &mut Vec<Hindrance<'p>>) {
        if self.holds == wanted {
            return;
        }
        if let Some(item) = self.item() {
            found.push(Hindrance::Item { selection, item, holds: self.holds });
            return;
        }
        match &self.part {
            Part::AtLeast(count, parts) => {
                for (_, part) in self.cheapest(*count, parts, wanted) {
                    part.hinder(wanted, selection, found);
                }
            }
            Part::Not(part) => part.hinder(!wanted, selection, found),
            Part::Marked(Mark::Filter(title), part) => {
                found.push(Hindrance::Filter { title, items: part.holding() });
            }
            Part::Marked(Mark::Selection(name), part) if !wanted => {
                found.push(Hindrance::Excluded { selection: name, items: part.holding() });
            }
            Part::Marked(Mark::Selection(name), part) => part.hinder(wanted, Some(name), found),
            Part::Marked(Mark::Item { .. }, part) => part.hinder(wanted, selection, found),
            Part::Leaf(_) => {}
        }
    }

    /// The items that hold, wherever they stand.
    #[must_use]
    pub fn holding(&self) -> Vec<Item<'p>> {
        if let Some(item) = self.item() {
            return if self.holds { vec![item] } else { Vec::new() };
        }
        match &self.part {
            Part::AtLeast(_, parts) => parts.iter().flat_map(Self::holding).collect(),
            Part::Not(part) | Part::Marked(_, part) => part.holding(),
            Part::Leaf(_) => Vec::new(),
        }
    }

    /// All items with the selections that they stand in, each once, whether they hold or not.
    #[must_use]
    pub fn items(&self) -> Vec<(Option<&'p str>, Item<'p>, bool)> {
        let mut all = Vec::new();
        self.collect_items(None, &mut all);
        all
    }

    fn collect_items(&self, selection: Option<&'p str>, into: &mut Vec<(Option<&'p str>, Item<'p>, bool)>) {
        if let Some(item) = self.item() {
            let same = |(within, known, _): &(Option<&str>, Item<'_>, bool)| {
                *within == selection && item.written.is_some() && known.written == item.written
            };
            if !into.iter().any(same) {
                into.push((selection, item, self.holds));
            }
            return;
        }
        match &self.part {
            Part::AtLeast(_, parts) => parts.iter().for_each(|part| part.collect_items(selection, into)),
            Part::Marked(Mark::Selection(name), part) => part.collect_items(Some(name), into),
            Part::Not(part) | Part::Marked(_, part) => part.collect_items(selection, into),
            Part::Leaf(_) => {}
        }
    }

    /// The selections that the condition names, and whether they hold; not those of filters.
    #[must_use]
    pub fn selections(&self) -> Vec<(&'p str, bool)> {
        match &self.part {
            Part::Marked(Mark::Selection(name), part) => vec![(name.as_str(), part.holds)],
            Part::Marked(Mark::Filter(_), _) | Part::Leaf(_) => Vec::new(),
            Part::Marked(_, part) | Part::Not(part) => part.selections(),
            Part::AtLeast(_, parts) => {
                let mut all: Vec<(&str, bool)> = Vec::new();
                for selection in parts.iter().flat_map(Self::selections) {
                    if !all.contains(&selection) {
                        all.push(selection);
                    }
                }
                all
            }
        }
    }

    fn is_item(&self) -> bool {
        self.item().is_some()
    }

    fn item(&self) -> Option<Item<'p>> {
        match &self.part {
            Part::Marked(Mark::Item { key, values }, part) => {
                let predicate = part.predicate()?;
                Some(Item { written: Some((key, values)), predicate })
            }
            Part::Leaf(predicate) => Some(Item { written: None, predicate }),
            _ => None,
        }
    }

    /// Some leaf of it, to say what it reads.
    fn predicate(&self) -> Option<&'p Predicate> {
        match &self.part {
            Part::Leaf(predicate) => Some(predicate),
            Part::Not(part) | Part::Marked(_, part) => part.predicate(),
            Part::AtLeast(_, parts) => parts.iter().find_map(Self::predicate),
        }
    }
}

/// The definition, written plainly.
fn leaf_holds(leaf: &Predicate, fields: &Fields<'_>, raw: &Searchable<'_>) -> bool {
    match leaf {
        Predicate::SomeOf(field, tests) => tests.iter().any(|test| passes(fields, *field, test)),
        Predicate::AllOf(field, tests) => tests.iter().all(|test| passes(fields, *field, test)),
        Predicate::Exists(field, wanted) => {
            let values = fields.values(*field);
            let only_null = !values.is_empty() && values.iter().all(|value| matches!(value, FieldValue::Null));
            (fields.is_present(*field) && !only_null) == *wanted
        }
        Predicate::Refers(field, other) => refers(fields, *field, *other),
        Predicate::Keyword(tests) => {
            let mut texts = Vec::new();
            strings(raw.record(), &mut texts);
            texts.iter().any(|text| tests.iter().any(|test| test.passes_text(text)))
        }
        _ => false,
    }
}

fn passes(fields: &Fields<'_>, field: FieldId, test: &ValueTest) -> bool {
    let values = fields.values(field);
    (matches!(test, ValueTest::Null) && values.is_empty()) || values.iter().any(|value| test.passes(value))
}

fn refers(fields: &Fields<'_>, field: FieldId, other: Reference) -> bool {
    let fold = |text: &str| if other.cased { text.to_owned() } else { text.to_lowercase() };
    let texts = |field| fields.values(field).iter().filter_map(FieldValue::to_text).map(|text| fold(&text));
    texts(field).any(|text| {
        texts(other.field).any(|needle| match other.anchor {
            Anchor::Whole => text == Needle::new(&needle, other.cased).text,
            Anchor::Within => text.contains(&needle),
            Anchor::Start => text.starts_with(&needle),
            Anchor::End => text.ends_with(&needle),
        })
    })
}

fn strings(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Number(number) => into.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, into)),
        Value::Object(members) => members.values().for_each(|member| strings(member, into)),
        Value::Bool(_) | Value::Null => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::derive::{derive, uses_of};
    use crate::event::record::decode;
    use crate::keys::enrich;
    use crate::keys::inventory::Inventory;
    use crate::keys::picture::Picture;
    use crate::rule::{RuleSet, RuleText, pack};

    fn compiled(texts: &[RuleText]) -> RuleSet {
        let compiled = RuleSet::compile(texts);
        compiled.rules.unwrap_or_else(|| panic!("{:?}", compiled.diagnostics))
    }

    fn rule(detection: &str) -> RuleText {
        let text = format!(
            "title: t\nid: 11111111-2222-4333-8444-000000000001\nlogsource: {{product: aws}}\ndetection: {detection}\n"
        );
        RuleText { path: "r.yml".to_owned(), text }
    }

    /// Every condition of the shipped rules on every record of their examples: the walk, the quick
    /// way and what is fed say the same.
    #[test]
    fn the_walk_says_what_the_quick_way_says() {
        let rules = compiled(&pack::shipped());
        let mut held = 0;
        for example in rules.examples.iter().flat_map(|examples| examples.fires.iter().chain(&examples.silent)) {
            let inventory =
                example.keys.as_ref().map(|keys| Inventory::parse("keys", keys).unwrap()).unwrap_or_default();
            // A repeated record says the same again.
            for raw in example.records.iter().take(2) {
                let mut record = decode(raw, &rules.projection).unwrap();
                for used in uses_of(&record) {
                    derive(&mut record, &used);
                    enrich(&mut record, &used, &inventory, &Picture::default());
                    let searchable = Searchable::new(raw);
                    let mut fed = Vec::new();
                    rules.feeds(&record.fields, raw, &mut fed);
                    let mut traced = Vec::new();
                    for (outline, inputs) in rules.outlines() {
                        let trace = Trace::of(&outline.predicate, &record.fields, &searchable);
                        assert_eq!(trace.holds, outline.predicate.plain().holds(&record.fields, &searchable));
                        assert_eq!(trace.holds, trace.distance() == 0, "{}", outline.meta.title);
                        assert_eq!(trace.holds, trace.hindrances().is_empty(), "{}", outline.meta.title);
                        if trace.holds {
                            held += 1;
                            traced.extend(inputs);
                        }
                    }
                    assert_eq!(fed, traced);
                }
            }
        }
        assert!(held > 100, "{held}");
    }

    fn tried(detection: &str, rest: &str, then: impl Fn(&Trace<'_>)) {
        let rules = compiled(&[rule(detection)]);
        let raw = format!(r#"{{"eventTime":"2026-01-05T22:10:00Z","eventSource":"q","eventName":"X"{rest}}}"#);
        let mut record = decode(&raw, &rules.projection).unwrap();
        let used = uses_of(&record).remove(0);
        derive(&mut record, &used);
        let (outline, _) = rules.outlines().next().unwrap();
        then(&Trace::of(&outline.predicate, &record.fields, &Searchable::new(&raw)));
    }

    #[test]
    fn what_is_missing_is_as_little_as_can_be() {
        let detection = "{a: {eventName: X, awsRegion|startswith: [eu-, us-], errorCode: D}, b: {errorCode: E, userAgent: z, awsRegion: q}, gone: {sourceIPAddress: '1'}, condition: (a or b) and not gone}";
        tried(detection, r#","awsRegion":"eu-1""#, |trace| {
            assert_eq!((trace.holds, trace.distance()), (false, 1));
            let hindrances = trace.hindrances();
            let [Hindrance::Item { selection: Some("a"), item, holds: false }] = hindrances.as_slice() else {
                panic!("{hindrances:?}")
            };
            assert_eq!(item.written, Some(("errorCode", ["D".to_owned()].as_slice())));
            assert_eq!(trace.selections(), [("a", false), ("b", false), ("gone", false)]);
        });
        tried(detection, r#","errorCode":"D","awsRegion":"us-1","sourceIPAddress":"1""#, |trace| {
            let hindrances = trace.hindrances();
            let [Hindrance::Excluded { selection: "gone", items }] = hindrances.as_slice() else {
                panic!("{hindrances:?}")
            };
            assert_eq!(items[0].written.unwrap().0, "sourceIPAddress");
        });
    }

    #[test]
    fn a_filter_is_named() {
        let filter = "title: Ours\nid: 11111111-2222-4333-8444-000000000002\nlogsource: {product: aws}\nfilter: {rules: any, ours: {awsRegion: eu-1}, condition: not ours}\n";
        let filter = RuleText { path: "s.yml".to_owned(), text: filter.to_owned() };
        let rules = compiled(&[rule("{a: {eventName: X}, condition: a}"), filter]);
        let raw = r#"{"eventTime":"2026-01-05T22:10:00Z","eventSource":"q","eventName":"X","awsRegion":"eu-1"}"#;
        let record = decode(raw, &rules.projection).unwrap();
        let (outline, _) = rules.outlines().next().unwrap();
        let trace = Trace::of(&outline.predicate, &record.fields, &Searchable::new(raw));
        let hindrances = trace.hindrances();
        let [Hindrance::Filter { title: "Ours", items }] = hindrances.as_slice() else { panic!("{hindrances:?}") };
        assert_eq!(items.len(), 1);
    }
}
