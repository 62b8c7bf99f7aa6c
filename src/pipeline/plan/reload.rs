//! Other rules, another inventory and snapshots of keys between two batches.
//!
//! Invariant: what changed is told by the rules that were there before, so that taking the telling
//! rule away is told too.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Accounting, Plan};
use crate::alert::redact::printable;
use crate::event::EventId;
use crate::keys::inventory::Inventory;
use crate::keys::snapshot::KeyFacts;
use crate::rule::RuleSet;
use crate::store::Commit;
use crate::time::EventTime;

/// What the service is asked to do about its rules.
#[derive(Clone, Debug)]
pub enum Reload {
    /// Go on with these.
    Swap {
        /// The rules.
        rules: Arc<RuleSet>,
        /// The inventory.
        inventory: Arc<Inventory>,
    },
    /// Know this of keys, too: KMS itself said so.
    Snapshot(Vec<KeyFacts>),
    /// They were changed and cannot be used; the old ones stay.
    Refused {
        /// The folder or file.
        path: String,
        /// Why, with the place.
        reason: String,
    },
}

/// Titles of rules that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Not there before.
    pub added: Vec<String>,
    /// Not there any more.
    pub removed: Vec<String>,
    /// Their text is another.
    pub changed: Vec<String>,
}

impl Difference {
    /// Between two sets, by rule id.
    #[must_use]
    pub fn between(old: &RuleSet, new: &RuleSet) -> Self {
        let known = |set: &RuleSet| -> BTreeMap<String, (String, String)> {
            let of =
                |rule: &crate::rule::Rule| (rule.meta.id.clone(), (rule.meta.hash.clone(), rule.meta.title.clone()));
            set.rules.iter().map(of).collect()
        };
        let (old, new) = (known(old), known(new));
        let mut difference = Self::default();
        for (id, (hash, title)) in &new {
            match old.get(id) {
                None => difference.added.push(title.clone()),
                Some((before, _)) if before != hash => difference.changed.push(title.clone()),
                Some(_) => {}
            }
        }
        let removed = old.iter().filter(|(id, _)| !new.contains_key(*id));
        difference.removed.extend(removed.map(|(_, (_, title))| title.clone()));
        difference
    }
}

/// Titles listed in a record; more are counted.
const MAX_LISTED: usize = 50;

impl Plan {
    /// Takes other rules, or says that it does not.
    pub fn reload(&mut self, reload: Reload, now: EventTime) -> (Commit, Accounting) {
        let mut accounting = Accounting::default();
        match reload {
            Reload::Snapshot(keys) => (self.take_snapshot(&keys), accounting),
            Reload::Refused { path, reason } => {
                let about = serde_json::json!({ "path": printable(&path), "reason": printable(&reason) });
                let id = EventId::of_bytes(format!("{path} {reason}").as_bytes());
                self.internal("RulesRefused", &id, now, about, now);
                (self.step(now, &mut accounting), accounting)
            }
            Reload::Swap { rules, inventory } => {
                let difference = Difference::between(&self.analyzer.rules, &rules);
                self.tell_difference(&difference, rules.rules.len(), now);
                self.engine.retire(&rules);
                let mut commit = self.step(now, &mut accounting);
                self.engine.replace(rules.clone());
                self.analyzer.rules = rules;
                self.analyzer.inventory = inventory;
                commit.deltas.extend(self.engine.take_step().deltas);
                (commit, accounting)
            }
        }
    }

    fn tell_difference(&mut self, difference: &Difference, count: usize, now: EventTime) {
        let mut about = serde_json::json!({ "rules": count });
        let lists = [("added", &difference.added), ("removed", &difference.removed), ("changed", &difference.changed)];
        for (name, titles) in lists.into_iter().filter(|(_, titles)| !titles.is_empty()) {
            let mut listed: Vec<_> = titles.iter().take(MAX_LISTED).map(|title| printable(title)).collect();
            if titles.len() > MAX_LISTED {
                listed.push(format!("and {} more", titles.len() - MAX_LISTED));
            }
            if let Some(about) = about.as_object_mut() {
                about.insert(name.to_owned(), listed.join("; ").into());
            }
        }
        let id = EventId::of_bytes(format!("{about} {now}").as_bytes());
        self.internal("RulesReloaded", &id, now, about, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Status;
    use crate::alert::redact::Redaction;
    use crate::pipeline::plan::Limits;
    use crate::rule::RuleText;
    use crate::source::{Delivery, Receipt};
    use crate::store::Restored;

    const BURST: &str = "title: burst\nid: 11111111-2222-4333-8444-000000000001\ncorrelation: {type: event_count, rules: [denied], group-by: [kms.principal], timespan: 5m, condition: {gte: 4}}\n---\ntitle: denied\nname: denied\nid: 11111111-2222-4333-8444-000000000002\nlogsource: {product: aws}\ndetection: {a: {eventSource: kms.amazonaws.com, kms.outcome: denied}, condition: a}\n";
    const DISABLED: &str = "title: disabled\nid: 11111111-2222-4333-8444-000000000003\nlogsource: {product: aws}\ndetection: {a: {eventSource: kms.amazonaws.com, eventName: DisableKey}, condition: a}\nkmswatch: {group-by: [kms.key_arn]}\n";
    const TOLD: &str = "title: told\nid: 11111111-2222-4333-8444-000000000004\nlogsource: {product: aws}\ndetection: {a: {eventSource: kmswatch.internal}, condition: a}\nkmswatch: {group-by: [eventName], summary: '{eventName}: {requestParameters.removed|requestParameters.reason}'}\n";

    fn rules(texts: &[&str]) -> Arc<RuleSet> {
        let texts: Vec<_> = texts
            .iter()
            .enumerate()
            .map(|(n, text)| RuleText { path: format!("{n}.yml"), text: (*text).to_owned() })
            .collect();
        let compiled = RuleSet::compile(&texts);
        Arc::new(compiled.rules.unwrap_or_else(|| panic!("{:?}", compiled.diagnostics)))
    }

    fn now() -> EventTime {
        EventTime::parse("2026-01-05T12:00:00Z").unwrap()
    }

    fn plan(rules: Arc<RuleSet>) -> Plan {
        Plan::new(rules, Arc::default(), Limits::default(), Redaction::None)
    }

    fn record(n: u32, name: &str, error: &str) -> Delivery {
        let body = format!(
            r#"{{"eventVersion":"1.11","eventID":"e{n}","eventTime":"2026-01-05T11:59:{n:02}Z","eventSource":"kms.amazonaws.com","eventName":"{name}",{error}"userIdentity":{{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/ann"}},"resources":[{{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/k"}}]}}"#
        );
        let receipt = Receipt(format!("r{n}"));
        Delivery { body: body.into_bytes(), receipt, label: String::new(), sent_at: None, receive_count: 1 }
    }

    fn denied(n: u32) -> Delivery {
        record(n, "Decrypt", r#""errorCode":"AccessDenied","#)
    }

    /// Commits as a store keeps them.
    #[derive(Default)]
    struct Store(BTreeMap<Vec<u8>, Vec<u8>>);

    impl Store {
        fn take(&mut self, commit: &Commit) -> Vec<(String, Status, u64, String)> {
            for delta in &commit.deltas {
                match &delta.value {
                    Some(value) => drop(self.0.insert(delta.key.clone(), value.clone())),
                    None => drop(self.0.remove(&delta.key)),
                }
            }
            let alerts = commit.outbox.iter();
            alerts.map(|one| (one.rule.title.clone(), one.status, one.count, one.summary.clone())).collect()
        }
    }

    #[test]
    fn a_burst_over_a_reload_is_one_and_what_is_gone_ends() {
        let mut store = Store::default();
        let mut plan = plan(rules(&[DISABLED, BURST, TOLD]));
        assert_eq!(store.take(&plan.batch(&[denied(1), denied(2)], now()).commit), []);
        let opened = store.take(&plan.batch(&[record(3, "DisableKey", "")], now()).commit);
        assert_eq!((opened[0].0.as_str(), opened[0].1), ("disabled", Status::Open));

        // The rule on DisableKey goes, the burst gets another threshold and another number.
        let fewer = rules(&[TOLD, &BURST.replace("gte: 4", "gte: 3")]);
        let swap = Reload::Swap { rules: fewer.clone(), inventory: Arc::default() };
        let told = store.take(&plan.reload(swap, now()).0);
        let summaries: Vec<_> = told.iter().map(|one| (one.0.as_str(), one.1, one.3.as_str())).collect();
        assert_eq!(summaries[0], ("told", Status::Open, "RulesReloaded: disabled"));
        assert_eq!((summaries[1].0, summaries[1].1), ("disabled", Status::Resolved));
        assert_eq!(told.len(), 2);

        // The same as a restart under those rules.
        let mut fresh = super::tests::plan(fewer);
        let rows = store.0.clone().into_iter().collect();
        assert_eq!(fresh.restore(&Restored { rows }).unwrap(), 0, "no row is left of what is gone");
        let mut other = Store(store.0.clone());
        let more = [denied(4), record(5, "DisableKey", "")];
        let after = store.take(&plan.batch(&more, now()).commit);
        assert_eq!(after.len(), 1);
        assert_eq!((after[0].0.as_str(), after[0].1, after[0].2), ("burst", Status::Open, 3));
        assert_eq!(other.take(&fresh.batch(&more, now()).commit), after);
        assert_eq!(other.0, store.0);
    }

    #[test]
    fn what_is_refused_is_told_and_changes_nothing() {
        let mut plan = plan(rules(&[DISABLED, TOLD]));
        let refused = Reload::Refused { path: "rules".to_owned(), reason: "x.yml:3:1: error\u{1b}".to_owned() };
        let told = Store::default().take(&plan.reload(refused, now()).0);
        assert_eq!((told.len(), told[0].0.as_str()), (1, "told"));
        assert!(told[0].3.starts_with("RulesRefused: x.yml:3:1: error") && !told[0].3.contains('\u{1b}'));
        assert_eq!(Store::default().take(&plan.batch(&[record(1, "DisableKey", "")], now()).commit)[0].0, "disabled");
    }

    #[test]
    fn differences_are_by_id_and_text() {
        let (old, new) = (rules(&[DISABLED, BURST]), rules(&[&DISABLED.replace("DisableKey", "EnableKey"), TOLD]));
        let difference = Difference::between(&old, &new);
        let expected = Difference {
            added: vec!["told".to_owned()],
            removed: vec!["burst".to_owned()],
            changed: vec!["disabled".to_owned()],
        };
        assert_eq!(difference, expected);
        assert_eq!(Difference::between(&old, &old), Difference::default());
    }
}
