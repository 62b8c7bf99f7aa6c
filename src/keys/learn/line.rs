//! Lines of expected use of one principal, and what of his use is too seldom to be expected.

use std::collections::{BTreeMap, BTreeSet};

use super::bounded::Merge as _;
use super::general::{ANY, in_common, patterns};
use super::history::{Habit, PairHistory, Way, has_any};
use super::network::{networks, wanders};
use super::propose::Options;
use super::support::Support;
use crate::keys::inventory::DIRECT;

/// More values of a context name than these are taken together.
const MANY_VALUES: usize = 12;

/// One line of expected use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// Canonical principal.
    pub principal: String,
    /// Operations, each with its support.
    pub operations: BTreeMap<String, Support>,
    /// Calling services, or `direct`.
    pub via: BTreeSet<String>,
    /// Encryption context: patterns of values by name, each with its support where it is one value.
    pub context: BTreeMap<String, Vec<String>>,
    /// Networks.
    pub from: Vec<String>,
    /// VPC endpoints.
    pub vpc_endpoints: Vec<String>,
    /// Regions.
    pub regions: Vec<String>,
    /// Days of the week.
    pub days: Option<String>,
    /// Hours by UTC.
    pub hours: Option<String>,
    /// All of it.
    pub support: Support,
    /// What a person should know or look at.
    pub remarks: Vec<String>,
}

/// Lines of one principal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lines {
    /// By habit.
    pub expected: Vec<Line>,
    /// Too seldom.
    pub review: Vec<Line>,
}

/// Where and when a principal is, over all that he does.
#[derive(Clone, Debug, Default)]
struct Place {
    from: Vec<String>,
    vpc_endpoints: Vec<String>,
    regions: Vec<String>,
    days: Option<String>,
    hours: Option<String>,
    of_direct: Vec<String>,
    of_all: Vec<String>,
}

/// The ways of a principal, with those taken together that differ in nothing that counts.
#[derive(Debug, Default)]
pub struct Ways<'h>(Vec<(&'h Way, &'h Habit)>);

impl<'h> Ways<'h> {
    /// Of one principal with one key, or with all of a domain.
    #[must_use]
    pub fn of(seen: &'h PairHistory) -> Self {
        Self(seen.ways.iter().collect())
    }

    /// Support by operation and calling service, whatever the context.
    #[must_use]
    pub fn by_operation(&self) -> BTreeMap<(String, String), Support> {
        let mut found: BTreeMap<_, Support> = BTreeMap::new();
        for (way, habit) in &self.0 {
            found.entry((way.operation.clone(), way.via.clone())).or_default().merge(habit.support.clone());
        }
        found
    }
}

/// The lines of a principal.
#[must_use]
pub fn lines(principal: &str, seen: &PairHistory, options: Options) -> Lines {
    let place = place_of(seen, options);
    let is_usable = is_principal(principal);
    let mut made = Lines::default();
    for (way, habit) in Ways::of(seen).0 {
        let mut line = Line {
            principal: principal.to_owned(),
            operations: BTreeMap::from([(way.operation.clone(), habit.support.clone())]),
            via: BTreeSet::from([way.via.clone()]),
            support: habit.support.clone(),
            ..Line::default()
        };
        let is_habit = habit.support.is_habit(options.least_days);
        for (name, values) in habit.values_of(way) {
            let (patterns, remark) = context_of(name, values, is_habit, options);
            line.context.insert(name.to_owned(), patterns);
            line.remarks.extend(remark);
        }
        if way.names.is_none() {
            line.remarks.push("its encryption context has more or longer names than fit here".to_owned());
        }
        let is_usable = is_usable && is_literal(&way.via);
        if !is_usable {
            line.remarks.push("an inventory cannot name it so; see how its records name it".to_owned());
        }
        place.put_into(&mut line);
        let expected = is_habit && is_usable && way.names.is_some();
        if expected { merge_into(&mut made.expected, line) } else { made.review.push(line) }
    }
    merge_services(&mut made.expected);
    made
}

/// Whether an inventory can name a principal so. A `*` of a record must not become one of a pattern,
/// and a session is known by its role, which some records lack.
fn is_principal(text: &str) -> bool {
    is_literal(text) && text.contains(':') && !text.contains(":assumed-role/")
}

fn is_literal(text: &str) -> bool {
    !text.is_empty() && !text.contains(['*', '?']) && text.trim() == text
}

/// Lines that differ in their operation only are one.
fn merge_into(lines: &mut Vec<Line>, line: Line) {
    let same = |other: &&mut Line| other.via == line.via && other.context == line.context && other.from == line.from;
    match lines.iter_mut().find(same) {
        Some(other) => {
            for (operation, support) in line.operations {
                other.operations.entry(operation).or_default().merge(support);
            }
            other.support.merge(line.support);
            let new: Vec<_> = line.remarks.into_iter().filter(|remark| !other.remarks.contains(remark)).collect();
            other.remarks.extend(new);
        }
        None => lines.push(line),
    }
}

/// And so are those that differ in the calling service only.
fn merge_services(lines: &mut Vec<Line>) {
    let mut merged: Vec<Line> = Vec::new();
    for line in std::mem::take(lines) {
        let same = |other: &&mut Line| {
            other.operations.keys().eq(line.operations.keys())
                && other.context == line.context
                && (&other.from, &other.vpc_endpoints) == (&line.from, &line.vpc_endpoints)
        };
        match merged.iter_mut().find(same) {
            Some(other) => {
                other.via.extend(line.via);
                for (operation, support) in line.operations {
                    other.operations.entry(operation).or_default().merge(support);
                }
                other.support.merge(line.support);
                let new: Vec<_> = line.remarks.into_iter().filter(|remark| !other.remarks.contains(remark)).collect();
                other.remarks.extend(new);
            }
            None => merged.push(line),
        }
    }
    *lines = merged;
}

/// The patterns of the values of a context name, and what to say of it.
fn context_of<const MAX: usize>(
    name: &str,
    values: &super::bounded::Bounded<String, Support, MAX>,
    is_habit: bool,
    options: Options,
) -> (Vec<String>, Option<String>) {
    let any = || vec![ANY.to_owned()];
    if has_any(values) || values.is_partial() {
        return (any(), None);
    }
    let habit = |support: &Support| !is_habit || support.is_habit(options.least_days);
    let (usual, rare): (Vec<_>, Vec<_>) = values.iter().partition(|(_, support)| habit(support));
    let uses = |of: &[(&String, &Support)]| of.iter().map(|(_, support)| support.uses).sum::<u64>();
    if usual.is_empty() || wanders(rare.len(), uses(&rare), uses(&usual)) {
        return (any(), None);
    }
    let texts: Vec<&str> = usual.iter().map(|(text, _)| text.as_str()).collect();
    let made = match texts.len() {
        0..=MANY_VALUES => texts.iter().flat_map(|text| patterns(text)).collect(),
        _ => in_common(&texts).map_or_else(any, |pattern| vec![pattern]),
    };
    let seldom: Vec<_> = rare.iter().take(4).map(|(text, support)| format!("{text} ({support})")).collect();
    let remark = (!seldom.is_empty()).then(|| format!("rare, review: {name} was also {}", seldom.join(", ")));
    (made, remark)
}

fn place_of(seen: &PairHistory, options: Options) -> Place {
    let mut place = Place::default();
    let split = |values: Vec<(String, Support)>| {
        let (usual, rare): (Vec<_>, Vec<_>) =
            values.into_iter().partition(|(_, support)| support.is_habit(options.least_days));
        let names =
            usual.into_iter().map(|(name, _)| name).filter(|name| !name.contains(['*', '?'])).collect::<Vec<_>>();
        (names, rare)
    };
    let rare_of = |what: &str, rare: &[(String, Support)]| {
        let told: Vec<_> = rare.iter().take(4).map(|(name, support)| format!("{name} ({support})")).collect();
        (!told.is_empty()).then(|| format!("rare, review: {what} {}", told.join(", ")))
    };
    let owned = |(name, support): (&String, &Support)| (name.clone(), support.clone());

    let (regions, rare) = split(seen.regions.iter().map(owned).collect());
    place.of_all.extend(rare_of("also in", &rare));
    if !seen.regions.is_partial() {
        place.regions = regions;
    }
    let found = networks(
        seen.addresses.iter().map(|(text, support)| (text.as_str(), support)),
        seen.addresses.is_partial(),
        options.least_days,
    );
    let (endpoints, rare_endpoints) = split(seen.endpoints.iter().map(owned).collect());
    let is_bounded = !found.is_anywhere && !seen.endpoints.is_partial() && seen.nowhere.uses == 0;
    if is_bounded && !(found.expected.is_empty() && endpoints.is_empty()) {
        let text = |(network, support): &(ipnet::IpNet, Support)| (network.to_string(), support.clone());
        place.from = found.expected.iter().map(|(network, _)| network.to_string()).collect();
        place.vpc_endpoints = endpoints;
        place.of_direct.extend(rare_of("also from", &found.rare.iter().map(text).collect::<Vec<_>>()));
        place.of_direct.extend(rare_of("also through", &rare_endpoints));
    } else if seen.addresses.len() + seen.endpoints.len() > 0 {
        place.of_direct.push("networks are not clearly bounded, so none is expected".to_owned());
    }
    if let Some(bounds) = seen.clock.bounds(options.schedule_weeks, options.least_days) {
        (place.days, place.hours) = (bounds.days, bounds.hours);
        if !bounds.rare.is_empty() {
            place.of_all.push(format!("rare, review: also at {}", bounds.rare.join(", ")));
        }
    }
    place
}

impl Place {
    fn put_into(&self, line: &mut Line) {
        line.regions.clone_from(&self.regions);
        line.days.clone_from(&self.days);
        line.hours.clone_from(&self.hours);
        line.remarks.extend(self.of_all.iter().cloned());
        // Of a call that a service made no network is known.
        if line.via.contains(DIRECT) {
            line.from.clone_from(&self.from);
            line.vpc_endpoints.clone_from(&self.vpc_endpoints);
            line.remarks.extend(self.of_direct.iter().cloned());
        }
    }
}
