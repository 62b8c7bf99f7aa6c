//! What the rules say of a use: which match, which a filter took away, which nearly match and what of
//! them does not hold.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{MAX_VALUES, Options, detector};
use crate::alert::redact::{Redaction, printable};
use crate::event::field::{FieldId, FieldValue, Fields, Projection, core};
use crate::event::record::Record;
use crate::pipeline::plan::analyze::Analyzer;
use crate::rule::detector::Test;
use crate::rule::predicate::Searchable;
use crate::rule::trace::{Hindrance, Item, Trace};
use crate::rule::{Detector, Input, Outline, Role, Rule, RuleMeta, RuleSet};

/// What the rules say.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rules {
    /// Conditions that hold.
    pub matched: Vec<Matched>,
    /// Conditions that would hold but for a filter.
    pub filtered: Vec<Missed>,
    /// Conditions that do not hold, the nearest first.
    pub near: Vec<Missed>,
    /// Conditions for such calls that lack more.
    pub not_shown: usize,
    /// Conditions for other calls.
    pub not_considered: usize,
}

/// A rule by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// uuid.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// How grave.
    pub level: &'static str,
    /// Its file.
    pub path: String,
}

/// A condition that holds.
#[derive(Clone, Debug, Serialize)]
pub struct Matched {
    /// The document that it stands in.
    pub rule: Named,
    /// `counts`, `closes`, `escalates`.
    pub role: &'static str,
    /// What it feeds.
    pub towards: Vec<Towards>,
    /// All its items, when asked for.
    pub items: Vec<ItemTried>,
}

/// A rule that a match counts towards.
#[derive(Clone, Debug, Serialize)]
pub struct Towards {
    /// The rule.
    pub rule: Named,
    /// Its kind, as a rule writes it.
    pub kind: &'static str,
    /// The group that it falls into.
    pub group: BTreeMap<String, String>,
    /// Whether it counts; not when it lacks what is counted.
    pub counted: bool,
    /// Ticket of the suppression that takes it away.
    pub suppressed: Option<String>,
    /// What one match does.
    pub how: String,
    /// Whether the rule tells anybody by itself.
    pub opens: bool,
    /// Titles of the rules that its incidents count towards.
    pub feeds: Vec<String>,
}

/// A condition that does not hold.
#[derive(Clone, Debug, Serialize)]
pub struct Missed {
    /// The document that it stands in.
    pub rule: Named,
    /// `counts`, `closes`, `escalates`.
    pub role: &'static str,
    /// Items that hold.
    pub held: usize,
    /// Items.
    pub of: usize,
    /// How few would have to turn out otherwise.
    pub distance: usize,
    /// What does not hold.
    pub hindrances: Vec<Hindered>,
    /// All its items, when asked for.
    pub items: Vec<ItemTried>,
}

/// What stands between a condition and its holding.
#[derive(Clone, Debug, Serialize)]
pub struct Hindered {
    /// `item`, `excluded` (a selection that the condition says `not` to), `filter`.
    pub kind: &'static str,
    /// Name of the selection, or title of the filter.
    pub name: Option<String>,
    /// Whether it holds.
    pub holds: bool,
    /// The items concerned.
    pub items: Vec<ItemTried>,
}

/// An item and what the record has.
#[derive(Clone, Debug, Serialize)]
pub struct ItemTried {
    /// The selection that it stands in.
    pub selection: Option<String>,
    /// The key with its modifiers; empty for keywords.
    pub field: String,
    /// The values wanted.
    pub wanted: Vec<String>,
    /// Whether it holds.
    pub holds: bool,
    /// What there is.
    pub found: Vec<Found>,
}

/// What a record has of a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The field.
    pub field: String,
    /// Its values, the first few; nothing when it is absent.
    pub values: Option<Vec<String>>,
}

/// Near conditions shown.
const MAX_NEAR: usize = 5;
/// Lacking more than this, a condition is not near.
const MAX_DISTANCE: usize = 2;
/// Values of an item shown.
const MAX_WANTED: usize = 12;

/// One record with everything that items are shown by.
struct Shown<'a> {
    fields: &'a Fields<'a>,
    projection: &'a Projection,
    redaction: Redaction,
}

/// What the rules say of a record with its derived fields filled in.
pub(super) fn of(record: &Record<'_>, analyzer: &Analyzer, options: &Options) -> Rules {
    let rules = &*analyzer.rules;
    let searchable = Searchable::new(record.raw);
    let shown = Shown { fields: &record.fields, projection: &rules.projection, redaction: options.redaction };
    let mut out = Rules::default();
    let mut missed = Vec::new();
    for (outline, inputs) in rules.outlines().filter(|(outline, inputs)| is_asked(rules, outline, inputs, options)) {
        if options.rule.is_none() && !is_considered(outline, record) {
            out.not_considered += 1;
            continue;
        }
        let trace = Trace::of(&outline.predicate, &record.fields, &searchable);
        let items = if options.rule.is_some() { shown.all(&trace) } else { Vec::new() };
        if trace.holds {
            let towards = inputs.iter().filter_map(|input| shown.towards(record, analyzer, input)).collect();
            let rule = named(&outline.meta, outline.level.as_str());
            out.matched.push(Matched { rule, role: role(outline.role), towards, items });
            continue;
        }
        let hindrances = trace.hindrances();
        let only_filtered = hindrances.iter().all(|hindrance| matches!(hindrance, Hindrance::Filter { .. }));
        let met = trace.met();
        let one = Missed {
            rule: named(&outline.meta, outline.level.as_str()),
            role: role(outline.role),
            held: met.held,
            of: met.items,
            distance: trace.distance(),
            hindrances: hindrances.iter().map(|hindrance| shown.hindered(hindrance)).collect(),
            items,
        };
        if only_filtered {
            out.filtered.push(one);
        } else {
            missed.push((std::cmp::Reverse(outline.level), one));
        }
    }
    let share = |missed: &Missed| (missed.of - missed.held) * 1000 / missed.of.max(1);
    missed.sort_by(|(level_a, a), (level_b, b)| {
        let names = |missed: &Missed| (missed.rule.path.clone(), missed.rule.title.clone());
        (a.distance, share(a), level_a, names(a)).cmp(&(b.distance, share(b), level_b, names(b)))
    });
    let all = options.all || options.rule.is_some();
    let near = missed.iter().take_while(|(_, one)| one.distance <= MAX_DISTANCE).count().min(MAX_NEAR);
    let near = if all { missed.len() } else { near };
    out.not_shown = missed.len() - near;
    out.near = missed.into_iter().take(near).map(|(_, one)| one).collect();
    out
}

/// Whether a text names a rule: its id, or a part of its title.
#[must_use]
pub fn is_named(meta: &RuleMeta, text: &str) -> bool {
    meta.id.eq_ignore_ascii_case(text) || meta.title.to_lowercase().contains(&text.to_lowercase())
}

/// Whether a condition is of the rule that was asked for, or counts towards it.
fn is_asked(rules: &RuleSet, outline: &Outline, inputs: &[Input], options: &Options) -> bool {
    let Some(wanted) = &options.rule else { return true };
    let rule = |input: &Input| rules.rules.get(input.rule.0 as usize);
    let feeds = |rule: &Rule| reached(rules, rule).iter().any(|rule| is_named(&rule.meta, wanted));
    is_named(&outline.meta, wanted)
        || inputs.iter().filter_map(rule).any(|rule| is_named(&rule.meta, wanted) || feeds(rule))
}

/// The rules that the incidents of one count towards, by way of others too.
fn reached<'r>(rules: &'r RuleSet, rule: &'r Rule) -> Vec<&'r Rule> {
    let mut found: Vec<&Rule> = Vec::new();
    let mut next: Vec<_> = rule.feeds.iter().collect();
    while let Some(feed) = next.pop() {
        let Some(rule) = rules.rules.get(feed.rule.0 as usize) else { continue };
        if !found.iter().any(|known| std::ptr::eq(*known, rule)) {
            found.push(rule);
            next.extend(&rule.feeds);
        }
    }
    found
}

/// Whether a condition is for such calls at all.
fn is_considered(outline: &Outline, record: &Record<'_>) -> bool {
    let fits = |field, value: &str| {
        outline.predicate.required(field).is_none_or(|values| values.contains(&value.to_lowercase()))
    };
    fits(core::EVENT_SOURCE, record.source()) && fits(core::EVENT_NAME, record.name())
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Counts(_) => "counts",
        Role::Closes => "closes",
        Role::Escalates(_) => "escalates",
    }
}

fn named(meta: &RuleMeta, level: &'static str) -> Named {
    Named { id: meta.id.clone(), title: meta.title.clone(), level, path: meta.path.clone() }
}

/// The first value of a field as groups have it.
fn first(fields: &Fields<'_>, id: FieldId) -> Option<String> {
    fields.values(id).first().and_then(FieldValue::to_text).map(std::borrow::Cow::into_owned)
}

/// Whether a record has what is to be counted or bound.
fn is_counted(rule: &Rule, input: &Input, fields: &Fields<'_>) -> bool {
    let (Detector::Window { test, .. }, Role::Counts(_)) = (&rule.detector, input.role) else { return true };
    match test {
        Test::EventCount(_) => true,
        Test::Number { .. } => {
            let number = input.value.first().and_then(|id| first(fields, *id)?.trim().parse::<f64>().ok());
            number.is_some_and(f64::is_finite)
        }
        Test::ValueCount { .. } => input.value.iter().all(|id| first(fields, *id).is_some()),
        Test::Temporal { .. } | Test::Ordered { .. } => {
            input.bound.iter().flatten().all(|id| first(fields, *id).is_some())
        }
    }
}

impl Shown<'_> {
    fn towards(&self, record: &Record<'_>, analyzer: &Analyzer, input: &Input) -> Option<Towards> {
        let rules = &*analyzer.rules;
        let rule = rules.rules.get(input.rule.0 as usize)?;
        let value = |id: &FieldId| {
            let text = self.fields.values(*id).first().map(|value| self.value(*id, value));
            text.unwrap_or_default()
        };
        let group = rule.group_by.iter().cloned().zip(input.group_by.iter().map(value)).collect();
        let lacks = input.value.iter().chain(input.bound.iter().flatten());
        let lacks: Vec<_> =
            lacks.filter(|id| first(self.fields, **id).is_none()).map(|id| self.projection.name(*id)).collect();
        let counted = is_counted(rule, input, self.fields);
        let how = match counted {
            true => detector::in_words(rule, input.role),
            false if lacks.is_empty() => "not counted: what is to be counted is no number".to_owned(),
            false => format!("not counted: the record lacks {}", lacks.join(", ")),
        };
        let feeds = reached(rules, rule).iter().map(|rule| rule.meta.title.clone()).collect();
        Some(Towards {
            rule: named(&rule.meta, rule.level.as_str()),
            kind: rule.detector.kind(),
            group,
            counted,
            suppressed: analyzer.suppressed(record, rule, input).filter(|_| counted),
            how,
            opens: rule.opens,
            feeds,
        })
    }

    fn hindered(&self, hindrance: &Hindrance<'_>) -> Hindered {
        match hindrance {
            Hindrance::Item { selection, item, holds } => Hindered {
                kind: "item",
                name: selection.map(str::to_owned),
                holds: *holds,
                items: vec![self.item(*selection, item, *holds)],
            },
            Hindrance::Excluded { selection, items } => Hindered {
                kind: "excluded",
                name: Some((*selection).to_owned()),
                holds: true,
                items: items.iter().map(|item| self.item(Some(selection), item, true)).collect(),
            },
            Hindrance::Filter { title, items } => Hindered {
                kind: "filter",
                name: Some((*title).to_owned()),
                holds: false,
                items: items.iter().map(|item| self.item(None, item, true)).collect(),
            },
        }
    }

    fn all(&self, trace: &Trace<'_>) -> Vec<ItemTried> {
        trace.items().iter().map(|(selection, item, holds)| self.item(*selection, item, *holds)).collect()
    }

    fn item(&self, selection: Option<&str>, item: &Item<'_>, holds: bool) -> ItemTried {
        let fields = item.fields();
        let found = |id: &FieldId| {
            let values = self.fields.values(*id);
            let shown = || values.iter().take(MAX_VALUES).map(|value| self.value(*id, value)).collect();
            let values = self.fields.is_present(*id).then(shown);
            Found { field: self.projection.name(*id).to_owned(), values }
        };
        let (field, wanted) = match item.written {
            Some((key, values)) => (key.to_owned(), values.to_vec()),
            None => (fields.first().map(|id| self.projection.name(*id).to_owned()).unwrap_or_default(), Vec::new()),
        };
        let more = wanted.len().saturating_sub(MAX_WANTED);
        let mut wanted: Vec<_> = wanted.into_iter().take(MAX_WANTED).collect();
        wanted.extend((more > 0).then(|| format!("and {more} more")));
        ItemTried {
            selection: selection.map(str::to_owned),
            field,
            wanted,
            holds,
            found: fields.iter().map(found).collect(),
        }
    }

    fn value(&self, id: FieldId, value: &FieldValue<'_>) -> String {
        printable(&self.redaction.value(self.projection.name(id), value))
    }
}
