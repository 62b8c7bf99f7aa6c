//! A pager: takes alerts, or fails before or after it did.

use std::collections::BTreeMap;

use crate::alert::{Alert, Status};

/// How a pager misbehaves, in parts of 256.
#[derive(Clone, Copy, Debug, Default)]
pub struct Misbehaviour {
    /// It takes nothing and says so.
    pub down: u8,
    /// It takes the alert and says that it did not.
    pub forgetful: u8,
}

/// A pager and what it was told.
#[derive(Debug, Default)]
pub struct Pager {
    /// How it misbehaves.
    pub misbehaviour: Misbehaviour,
    /// All that it took, in order.
    pub told: Vec<Alert>,
    /// Times that it failed.
    pub faults: u64,
}

impl Pager {
    /// Hands it an alert; whether it says that it took it.
    pub fn deliver(&mut self, alert: &Alert, rng: &mut fastrand::Rng) -> bool {
        if rng.u8(..) < self.misbehaviour.down {
            self.faults += 1;
            return false;
        }
        self.told.push(alert.clone());
        let forgets = rng.u8(..) < self.misbehaviour.forgetful;
        self.faults += u64::from(forgets);
        !forgets
    }

    /// The last word on each incident, by id.
    #[must_use]
    pub fn last_words(&self) -> BTreeMap<&str, &Alert> {
        self.told.iter().map(|alert| (alert.id.as_str(), alert)).collect()
    }

    /// An incident of which it heard anything before its opening.
    #[must_use]
    pub fn unannounced(&self) -> Option<&Alert> {
        let mut opened = std::collections::BTreeSet::new();
        self.told.iter().find(|alert| {
            if alert.status == Status::Open {
                opened.insert(alert.id.as_str());
            }
            !opened.contains(alert.id.as_str())
        })
    }

    /// Alerts of one id that are not about the same thing.
    #[must_use]
    pub fn contradiction(&self) -> Option<(&Alert, &Alert)> {
        let mut first: BTreeMap<&str, &Alert> = BTreeMap::new();
        self.told.iter().find_map(|alert| {
            let known = *first.entry(alert.id.as_str()).or_insert(alert);
            let same = known.rule.id == alert.rule.id
                && known.group == alert.group
                && known.dedup_key == alert.dedup_key
                && known.detected_at == alert.detected_at;
            (!same).then_some((known, alert))
        })
    }
}
