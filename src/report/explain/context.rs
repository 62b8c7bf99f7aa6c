//! What had been told of a key by the time of a record, from the picture.

use serde::Serialize;

use crate::alert::redact::printable;
use crate::event::derive::Use;
use crate::event::record::Record;
use crate::keys::expect::{Call, short_name};
use crate::keys::picture::Picture;
use crate::keys::picture::change::{place_of, stamp_of};

/// What was known of the key then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Known {
    /// Its names.
    pub aliases: Vec<String>,
    /// Its state.
    pub state: Option<String>,
    /// Who put its policy, and when.
    pub policy: Option<String>,
    /// The grant that allows the call.
    pub grant: Option<String>,
    /// How long the caller has been using the key.
    pub user: Option<String>,
}

/// What was known of the key of a use; nothing of a key that nothing was told of.
#[must_use]
pub fn of(record: &Record<'_>, used: &Use, picture: &Picture) -> Option<Known> {
    let arn = picture.resolve(used.key.as_ref()?, &place_of(record), record.time)?;
    let arn = arn.as_str();
    let portrait = picture.key(arn)?;
    let call = Call::of(used, record.name(), &record.fields, record.time);
    // What the record itself changes was not known before it.
    let before = stamp_of(record);
    let policy = portrait.policy.before(&before).map(|(stamp, policy)| match &policy.by {
        Some(by) => format!("put by {} at {}", short_name(by), stamp.time),
        None => format!("as KMS gave it at {}", stamp.time),
    });
    let user = portrait.users().find(|(who, _)| *who == used.principal.canonical).map(|(_, user)| {
        if user.first < record.time {
            format!("has used the key since {}", user.first)
        } else {
            "has not used the key before, as far as is known".to_owned()
        }
    });
    Some(Known {
        aliases: picture.aliases_of(arn, record.time).iter().map(|alias| printable(alias)).collect(),
        state: portrait
            .state
            .before(&before)
            .map(|(stamp, state)| format!("{} since {}", printable(&state.name), stamp.time)),
        policy: policy.map(|text| printable(&text)),
        grant: picture.granting(arn, &call).map(|grant| printable(&grant.to_string())),
        user,
    })
}
