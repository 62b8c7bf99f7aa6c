//! The detector kinds under `kmswatch:` that Sigma lacks, as written: new-terms, rate, absence,
//! resolve, and the steps of a sequence.
//!
//! Invariant: a setting without effect is an error, as everywhere in a rule.

use super::detection;
use super::detector::{Absence, Case, Deadline, Escalation, NewTerms, Rate, Trigger};
use super::diagnostic::{Code, Diagnostics};
use super::extension::{span, texts};
use super::locate::{Data, Key, Node, Place};
use super::placeholders::Placeholders;
use super::predicate::Predicate;
use super::{Detector, Level};
use crate::event::field::ProjectionBuilder;
use crate::time::Span;

/// A detector kind and the predicates that it needs beside the rule's own.
#[derive(Clone, Debug)]
pub struct Kind {
    /// What it is.
    pub detector: Detector,
    /// Of new-terms: the fields whose combination is the term.
    pub terms: Vec<(String, Place)>,
    /// Of a case: what closes it.
    pub closes: Option<Predicate>,
    /// Of a case: what makes it graver, by number of the escalation.
    pub escalates: Vec<(u8, Predicate)>,
}

/// A step of a sequence.
#[derive(Clone, Debug)]
pub struct Step {
    /// The rule, as in `correlation: rules`.
    pub rule: String,
    /// Where it stands.
    pub place: Place,
    /// Variable, field and place.
    pub bind: Vec<(String, String, Place)>,
}

/// What reading needs.
pub struct Reader<'r, 'p> {
    /// To compile selections.
    pub placeholders: &'r Placeholders,
    /// To compile selections.
    pub fields: &'r mut ProjectionBuilder,
    /// Fields named, with their places.
    pub used: &'r mut Vec<(String, Place)>,
    /// Mistakes.
    pub diagnostics: &'r mut Diagnostics<'p>,
}

const DAY: Span = Span::from_secs(86_400);
const WEEK: Span = Span::from_secs(7 * 86_400);

impl Reader<'_, '_> {
    /// Reads the kind that stands under `name`.
    pub fn kind(&mut self, name: &str, node: &Node) -> Option<Kind> {
        let plain = |detector| Kind { detector, terms: Vec::new(), closes: None, escalates: Vec::new() };
        if node.members().is_empty() {
            self.error(Code::BadValue, node.place, format!("`{name}` is a map"), None);
            return None;
        }
        match name {
            "new-terms" => self.new_terms(node),
            "rate" => self.rate(node).map(|rate| plain(Detector::Rate(rate))),
            "absence" => self.absence(node).map(|absence| plain(Detector::Absence(absence))),
            _ => self.case(node),
        }
    }

    /// The steps of a `sequence`.
    pub fn sequence(&mut self, node: &Node) -> Vec<Step> {
        let mut steps = Vec::new();
        for item in node.items() {
            self.only(item, &["rule", "bind"]);
            let Some(rule) = item.get("rule").and_then(Node::scalar_text) else {
                let help = Some("write steps like `{rule: grant_made, bind: {who: kms.grantee}}`".to_owned());
                self.error(Code::MissingKey, item.place, "a step needs its `rule`".to_owned(), help);
                continue;
            };
            let mut bind = Vec::new();
            for (name, field) in item.get("bind").map(Node::members).unwrap_or_default() {
                match field.scalar_text() {
                    Some(path) => {
                        self.used.push((path.clone(), field.place));
                        bind.push((name.text.clone(), path, field.place));
                    }
                    None => {
                        self.error(Code::BadValue, field.place, "the name of a field was expected".to_owned(), None)
                    }
                }
            }
            let place = item.get("rule").map_or(item.place, |rule| rule.place);
            steps.push(Step { rule, place, bind });
        }
        steps
    }

    fn new_terms(&mut self, node: &Node) -> Option<Kind> {
        self.only(node, &["fields", "per", "history", "learn"]);
        let terms = node.get("fields").map(|list| texts(list, "the name of a field", self.diagnostics));
        let terms = terms.unwrap_or_default();
        if terms.is_empty() {
            let help = Some("say what is new: `fields: [kms.key_arn, kms.principal]`".to_owned());
            self.error(Code::MissingKey, node.place, "`new-terms` needs `fields`".to_owned(), help);
            return None;
        }
        let mut per = Vec::new();
        for (path, place) in
            node.get("per").map(|list| texts(list, "the name of a field", self.diagnostics)).unwrap_or_default()
        {
            match terms.iter().position(|(term, _)| *term == path) {
                Some(at) => per.push(at),
                None => self.error(Code::BadValue, place, format!("`{path}` is not among `fields`"), None),
            }
        }
        let history = self.span(node, "history", Span::from_secs(30 * 86_400));
        let learn = self.span(node, "learn", WEEK);
        if history < DAY {
            self.error(Code::BadSpan, node.key_place("history"), "a `history` is a day or more".to_owned(), None);
        }
        let detector = Detector::NewTerms(NewTerms { history, learn, per });
        Some(Kind { detector, terms, closes: None, escalates: Vec::new() })
    }

    fn rate(&mut self, node: &Node) -> Option<Rate> {
        self.only(node, &["every", "history", "weeks", "spike", "times", "drop", "least"]);
        let rate = Rate {
            every: self.span(node, "every", Span::from_secs(3600)),
            history: self.span(node, "history", Span::from_secs(28 * 86_400)),
            weeks: u32::try_from(self.whole(node, "weeks", 3)).unwrap_or(u32::MAX),
            spike: self.spreads(node, "spike"),
            times: self.spreads(node, "times"),
            drop: self.spreads(node, "drop"),
            least: self.whole(node, "least", 20),
        };
        let every = rate.every.as_millis();
        let mut sound = true;
        let mut refuse = |reader: &mut Self, at: &str, message: &str| {
            sound = false;
            reader.error(Code::BadValue, node.key_place(at), message.to_owned(), None);
        };
        if every < 60_000 || !WEEK.as_millis().is_multiple_of(every.max(1)) {
            refuse(self, "every", "a week must be a whole number of `every`, which is a minute or more");
        }
        if rate.weeks == 0 || WEEK.as_millis().saturating_mul(u64::from(rate.weeks)) > rate.history.as_millis() {
            refuse(self, "history", "`history` must hold `weeks` weeks, and at least one");
        }
        if every > 0 && rate.history.as_millis() / every > 20_000 {
            refuse(self, "history", "`history` holds more than 20000 cells of `every`; make either smaller");
        }
        if rate.spike.is_none() && rate.drop.is_none() {
            refuse(self, "spike", "`rate` needs `spike` or `drop`: how many spreads off the median");
        }
        if rate.times.is_some() && rate.spike.is_none() {
            refuse(self, "times", "`times` bounds a `spike`, and there is none");
        }
        sound.then_some(rate)
    }

    fn spreads(&mut self, node: &Node, key: &str) -> Option<f64> {
        let value = node.get(key)?;
        let number = value.scalar_text().and_then(|text| text.parse::<f64>().ok());
        let number = number.filter(|number| number.is_finite() && *number > 0.0);
        if number.is_none() {
            self.error(Code::BadValue, value.place, format!("`{key}` is a number above zero"), None);
        }
        number
    }

    fn absence(&mut self, node: &Node) -> Option<Absence> {
        self.only(node, &["after", "steady", "forget"]);
        if node.get("after").is_none() {
            self.error(Code::MissingKey, node.place, "`absence` needs `after`".to_owned(), None);
            return None;
        }
        let after = self.span(node, "after", Span::ZERO);
        let forget = self.span(node, "forget", WEEK);
        if after == Span::ZERO || forget <= after {
            let message = "`after` is more than nothing and less than `forget`".to_owned();
            self.error(Code::BadSpan, node.key_place("after"), message, None);
            return None;
        }
        let steady = self.span(node, "steady", Span::ZERO);
        Some(Absence { after, steady, forget })
    }

    fn case(&mut self, node: &Node) -> Option<Kind> {
        self.only(node, &["when", "keep", "deadline", "escalate"]);
        let Some(when) = node.get("when") else {
            let help =
                Some("say what undoes it: `when: {eventName: CancelKeyDeletion, kms.outcome: success}`".to_owned());
            self.error(Code::MissingKey, node.place, "`resolve` needs `when`".to_owned(), help);
            return None;
        };
        let closes = Some(self.selection(when));
        let deadline = node.get("deadline").and_then(|node| self.deadline(node));
        let (mut escalations, mut escalates) = (Vec::new(), Vec::new());
        for item in node.get("escalate").map(Node::items).unwrap_or_default() {
            let Some((escalation, predicate)) = self.escalation(item, deadline.is_some()) else { continue };
            let number = u8::try_from(escalations.len()).unwrap_or(u8::MAX);
            escalates.extend(predicate.map(|predicate| (number, predicate)));
            escalations.push(escalation);
        }
        if escalations.len() > 64 {
            self.error(Code::BadValue, node.key_place("escalate"), "more than 64 escalations".to_owned(), None);
        }
        let keep = self.span(node, "keep", Span::from_secs(35 * 86_400));
        let detector = Detector::Case(Case { keep, deadline, escalations });
        Some(Kind { detector, terms: Vec::new(), closes, escalates })
    }

    fn deadline(&mut self, node: &Node) -> Option<Deadline> {
        self.only(node, &["days", "default"]);
        let Some(path) = node.get("days").and_then(Node::scalar_text) else {
            let help = Some("write `deadline: {days: requestParameters.pendingWindowInDays, default: 30}`".to_owned());
            self.error(
                Code::MissingKey,
                node.place,
                "a `deadline` needs `days`: the field that says how many".to_owned(),
                help,
            );
            return None;
        };
        self.used.push((path.clone(), node.key_place("days")));
        let default_days = u32::try_from(self.whole(node, "default", 30)).unwrap_or(u32::MAX);
        Some(Deadline { path, default_days })
    }

    fn escalation(&mut self, item: &Node, has_deadline: bool) -> Option<(Escalation, Option<Predicate>)> {
        self.only(item, &["when", "before", "level", "note"]);
        let note = item.get("note").and_then(Node::scalar_text).unwrap_or_default();
        let level = item.get("level").and_then(Node::scalar_text).unwrap_or_else(|| "critical".to_owned());
        let level = match level.parse::<Level>() {
            Ok(level) => level,
            Err(message) => {
                self.error(Code::BadValue, item.get("level").map_or(item.place, |node| node.place), message, None);
                return None;
            }
        };
        match (item.get("when"), item.get("before")) {
            (Some(when), None) => {
                let predicate = self.selection(when);
                Some((Escalation { level, when: Trigger::Record, note }, Some(predicate)))
            }
            (None, Some(_)) if has_deadline => {
                let before = self.span(item, "before", DAY);
                Some((Escalation { level, when: Trigger::Before(before), note }, None))
            }
            (None, Some(at)) => {
                self.error(Code::MissingKey, at.place, "`before` needs a `deadline` to be before".to_owned(), None);
                None
            }
            _ => {
                self.error(
                    Code::MissingKey,
                    item.place,
                    "an escalation has either `when` or `before`".to_owned(),
                    None,
                );
                None
            }
        }
    }

    /// A selection on its own, as one stands in a detection.
    fn selection(&mut self, node: &Node) -> Predicate {
        let key = |text: &str| Key { text: text.to_owned(), place: node.place };
        let condition = Node { place: node.place, data: Data::Text("when".to_owned()) };
        let block = Data::Map(vec![(key("when"), node.clone()), (key("condition"), condition)]);
        let block = Node { place: node.place, data: block };
        detection::compile(&block, &[], self.placeholders, self.fields, self.used, self.diagnostics)
    }

    fn span(&mut self, node: &Node, key: &str, default: Span) -> Span {
        node.get(key).and_then(|value| span(value, self.diagnostics)).unwrap_or(default)
    }

    fn whole(&mut self, node: &Node, key: &str, default: u64) -> u64 {
        let Some(value) = node.get(key) else { return default };
        match value.data {
            Data::Integer(number) if number >= 0 => number.unsigned_abs(),
            _ => {
                self.error(Code::BadValue, value.place, format!("`{key}` is a whole number"), None);
                default
            }
        }
    }

    fn only(&mut self, node: &Node, known: &[&str]) {
        for (key, _) in node.members().iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
            self.diagnostics.unknown(Code::UnknownKey, key.place, "key", &key.text, known.iter().copied());
        }
    }

    fn error(&mut self, code: Code, place: Place, message: String, help: Option<String>) {
        self.diagnostics.error(code, place, message, help);
    }
}
