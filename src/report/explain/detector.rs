//! What a match is to the rule that counts it, in words.

use crate::rule::detector::{Aggregate, Bound, Bounds, Test};
use crate::rule::{Detector, Role, Rule};

/// What one match does in a rule.
pub(super) fn in_words(rule: &Rule, role: Role) -> String {
    let per = match rule.group_by.as_slice() {
        [] => String::new(),
        paths => format!(" per {}", paths.join(", ")),
    };
    match (&rule.detector, role) {
        (_, Role::Closes) => format!("closes the case{per}"),
        (Detector::Case(case), Role::Escalates(number)) => {
            let level = case.escalations.get(usize::from(number)).map(|escalation| escalation.level);
            let level = level.map(|level| format!(" to {level}")).unwrap_or_default();
            format!("makes an open case{per} graver{level}")
        }
        (_, Role::Escalates(_)) => format!("makes an open case{per} graver"),
        (Detector::Case(case), Role::Counts(_)) => {
            format!("opens a case{per}, watched for {} until something closes it", case.keep)
        }
        (Detector::Every, Role::Counts(_)) => format!("each match opens or extends an incident{per}"),
        (Detector::Window { timespan, test }, Role::Counts(step)) => {
            format!("{} within {timespan}{per}", of_window(test, step))
        }
        (Detector::NewTerms(terms), Role::Counts(_)) => {
            let scope: Vec<_> = terms.per.iter().filter_map(|at| rule.group_by.get(*at)).map(String::as_str).collect();
            let scope = if scope.is_empty() { "the rule".to_owned() } else { format!("each {}", scope.join(", ")) };
            format!(
                "told of when {} has not been seen for {}, after {scope} was watched for {}",
                rule.group_by.join(" with "),
                terms.history,
                terms.learn
            )
        }
        (Detector::Rate(rate), Role::Counts(_)) => {
            let spike = rate.spike.map(|spreads| format!("{spreads} spreads above"));
            let drop = rate.drop.map(|spreads| format!("{spreads} spreads below"));
            let off: Vec<_> = spike.into_iter().chain(drop).collect();
            format!(
                "one in the count of each {}{per}, told of when {} what the same hour of the week is used to, and at least {}",
                rate.every,
                off.join(" or "),
                rate.least
            )
        }
        (Detector::Absence(absence), Role::Counts(_)) => {
            format!("told of when no such record comes for {}{per}", absence.after)
        }
    }
}

fn of_window(test: &Test, step: u8) -> String {
    let steps = |rules: &[String]| {
        let name = rules.get(usize::from(step)).map_or("", String::as_str);
        (usize::from(step) + 1, rules.len(), name.to_owned())
    };
    match test {
        Test::EventCount(bounds) => format!("one of {} records", of_bounds(bounds)),
        Test::ValueCount { path, bounds } => format!("one of {} different values of {path}", of_bounds(bounds)),
        Test::Number { path, how, bounds } => {
            let what = match how {
                Aggregate::Sum => "the sum".to_owned(),
                Aggregate::Average => "the mean".to_owned(),
                Aggregate::Percentile(percent) => format!("percentile {percent}"),
            };
            format!("goes into {what} of {path}, told of when {}", of_bounds(bounds))
        }
        Test::Temporal { rules, .. } => {
            let (number, of, name) = steps(rules);
            format!("part {number} of {of} (`{name}`), in any order,")
        }
        Test::Ordered { rules, variables } => {
            let (number, of, name) = steps(rules);
            let shared = match variables.as_slice() {
                [] => String::new(),
                names => format!(" that share {}", names.join(", ")),
            };
            format!("step {number} of {of} (`{name}`), in order,{shared}")
        }
    }
}

fn of_bounds(bounds: &Bounds) -> String {
    let one = |bound: &Bound| match bound {
        Bound::Gt(than) => format!("more than {than}"),
        Bound::Gte(than) => format!("at least {than}"),
        Bound::Lt(than) => format!("fewer than {than}"),
        Bound::Lte(than) => format!("at most {than}"),
        Bound::Eq(to) => format!("exactly {to}"),
        Bound::Neq(to) => format!("any number but {to}"),
    };
    bounds.0.iter().map(one).collect::<Vec<_>>().join(" and ")
}
