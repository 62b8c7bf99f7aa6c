//! A first look over captures: what they tell of keys, so that the second look knows each key as it was
//! at the time of each record, whatever the order of files.
//!
//! Most pieces of a capture change nothing, and a look for a few words over their bytes tells so; only
//! records that may change something are decoded.
//!
//! Invariant: a change that the second look could read is found here. A false alarm costs time only.

use std::sync::LazyLock;

use regex::bytes::Regex;

use crate::event::envelope::{EnvelopeLimits, Found, open};
use crate::event::field::Projection;
use crate::event::record::decode;
use crate::keys::picture::change::{Change, NAMES, changes_of, stamp_of};
use crate::keys::picture::version::Stamp;
use crate::keys::picture::{Picture, PictureLimits};

/// What one or several files tell of keys.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    changes: Vec<(Stamp, Change)>,
}

/// Names of calls that change something, and what hides names: escapes, and the packed lines of
/// CloudWatch Logs subscriptions.
static TELLING: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let names: Vec<_> = NAMES.iter().map(|name| regex::escape(name)).chain(HIDING.map(str::to_owned)).collect();
    Regex::new(&names.join("|")).ok()
});
const HIDING: [&str; 2] = ["awslogs", r"\\u00"];

fn may_tell(text: &[u8]) -> bool {
    TELLING.as_ref().is_none_or(|telling| telling.is_match(text))
}

impl Survey {
    /// Looks over a piece of a file.
    pub fn look(&mut self, piece: &[u8]) {
        // Packed pieces say nothing before they are opened.
        let is_plain = matches!(piece.trim_ascii_start().first(), Some(b'{' | b'['));
        if is_plain && !may_tell(piece) {
            return;
        }
        let projection = Projection::fixed();
        let limits = EnvelopeLimits::of_captures();
        // What cannot be read is told of by the second look.
        let _ = open(piece, limits, &mut |found| {
            let Found::Record(raw) = found else { return };
            if !may_tell(raw.as_bytes()) {
                return;
            }
            let Ok(record) = decode(raw, &projection) else { return };
            let stamp = stamp_of(&record);
            self.changes.extend(changes_of(&record).into_iter().map(|change| (stamp.clone(), change)));
        });
    }

    /// Together with what another found.
    pub fn join(&mut self, other: Self) {
        self.changes.extend(other.changes);
    }

    /// All changes, as they were found.
    #[must_use]
    pub fn changes(self) -> Vec<(Stamp, Change)> {
        self.changes
    }

    /// Adds it to what is known already.
    pub fn tell(self, picture: &mut Picture) {
        for (stamp, change) in self.changes {
            picture.apply(&stamp, change);
        }
    }
}

/// A picture that forgets no change, for captures.
#[must_use]
pub fn whole_picture() -> Picture {
    let all = usize::MAX;
    Picture::new(PictureLimits {
        max_keys: all,
        max_aliases: all,
        max_grants_per_key: all,
        max_users_per_key: all,
        max_versions: all,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::EventTime;

    #[test]
    fn changes_are_found_in_any_packing() {
        let record = r#"{"eventTime":"2026-01-05T10:00:00Z","eventID":"e-1","eventSource":"kms.amazonaws.com","eventName":"CreateAlias","awsRegion":"eu-west-1","recipientAccountId":"111122223333","requestParameters":{"aliasName":"alias/a","targetKeyId":"k"},"resources":[{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/k"}]}"#;
        let escaped = record.replace("Alias\",", "\\u0041lias\",");
        let wrapped = format!(r#"{{"Records":[{record},{}]}}"#, record.replace("CreateAlias", "Decrypt"));
        let time = EventTime::parse("2026-01-05T10:00:00Z").unwrap();
        for text in [record, wrapped.as_str(), &escaped] {
            let mut survey = Survey::default();
            survey.look(text.as_bytes());
            let mut picture = whole_picture();
            survey.tell(&mut picture);
            let key = picture.key_of_alias("eu-west-1:111122223333", "alias/a", time);
            assert_eq!(key, Some("arn:aws:kms:eu-west-1:111122223333:key/k"), "{text}");
        }
        let mut survey = Survey::default();
        survey.look(record.replace("CreateAlias", "Decrypt").as_bytes());
        assert!(survey.changes.is_empty());
    }
}
