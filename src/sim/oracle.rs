//! What must be told of a list of events, by the definition and without any cleverness: a record
//! qualifies when the window that ends at it passes; an incident is a chain of qualifying records with
//! gaps of at most `quiet`; its evidence is all that their windows hold.

use std::collections::BTreeSet;

use super::stream::{Call, Event, principal};

/// One incident: title of the rule, principal, event IDs.
pub type Told = (String, String, BTreeSet<String>);

const QUIET_SECS: i64 = 600;

/// What passes a window.
type Passes = fn(&[&Event]) -> bool;

/// The incidents that the rules of [`super::stream::RULES`] make of the events.
#[must_use]
pub fn expected(events: &[Event]) -> BTreeSet<Told> {
    let kinds: [(&str, Call, i64, Passes); 3] = [
        ("disabled", Call::Disable, 0, |_| true),
        ("burst", Call::Denied, 300, |window| window.len() >= 3),
        ("keys", Call::Denied, 600, |window| window.iter().map(|event| event.key).collect::<BTreeSet<_>>().len() >= 3),
    ];
    let mut told = BTreeSet::new();
    for (title, call, timespan, passes) in kinds {
        for who in events.iter().map(|event| event.principal).collect::<BTreeSet<_>>() {
            let mut matches: Vec<&Event> =
                events.iter().filter(|event| event.call == call && event.principal == who).collect();
            matches.sort_by_key(|event| event.secs);
            for ids in chains(&matches, timespan, passes) {
                told.insert((title.to_owned(), principal(who), ids));
            }
        }
    }
    told
}

fn chains(matches: &[&Event], timespan: i64, passes: Passes) -> Vec<BTreeSet<String>> {
    let window = |end: i64| -> Vec<&Event> {
        matches.iter().copied().filter(|event| end - timespan <= event.secs && event.secs <= end).collect()
    };
    let mut chains: Vec<(i64, BTreeSet<String>)> = Vec::new();
    for end in matches.iter().map(|event| event.secs) {
        let evidence = window(end);
        // With a timespan of nothing, all of one second are one window each by itself.
        if !passes(&evidence) {
            continue;
        }
        let ids = evidence.iter().map(|event| event.id.clone());
        match chains.last_mut() {
            Some((last, chain)) if end - *last <= QUIET_SECS => {
                *last = end;
                chain.extend(ids);
            }
            _ => chains.push((end, ids.collect())),
        }
    }
    chains.into_iter().map(|(_, ids)| ids).collect()
}
