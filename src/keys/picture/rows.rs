//! The picture as rows for the store, and back.
//!
//! Row keys begin with a letter that no row of the engine has: `K` a key, `G` a grant, `U` a user,
//! `A` an alias; names follow, parted by a zero byte. Values are JSON behind one version byte: they
//! are few, and their parts come and go with what KMS tells.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Part, Picture};

/// A row that changed: its key, and its value or its removal.
pub type PictureRow = (Vec<u8>, Option<Vec<u8>>);

/// Version of the values' encoding.
const VERSION: u8 = 1;

/// A row that cannot be read back: the store is damaged or of another version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "state row {row} of the key picture cannot be read: {reason}; move the state file away to begin anew (open incidents and what was learnt are lost with it), or use the kmswatch that wrote it"
)]
pub struct RowError {
    row: String,
    reason: String,
}

impl Picture {
    /// Whether a row of the store is of the picture.
    #[must_use]
    pub fn owns(key: &[u8]) -> bool {
        matches!(key.first(), Some(b'K' | b'G' | b'U' | b'A'))
    }

    /// The rows that changed since the last call.
    pub fn take_rows(&mut self) -> Vec<PictureRow> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|part| (part.key(), self.value(&part))).collect()
    }

    fn value(&self, part: &Part) -> Option<Vec<u8>> {
        match part {
            Part::Key(arn) => self.keys.get(arn).map(encode),
            Part::Grant(arn, id) => self.keys.get(arn)?.grant_row(id).map(encode),
            Part::User(arn, who) => self.keys.get(arn)?.user_row(who).map(encode),
            Part::Alias(place, alias) => self.aliases.get(&(place.clone(), alias.clone())).map(encode),
        }
    }

    /// Takes a row back.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        let named = |reason: &str| RowError {
            row: String::from_utf8_lossy(key).chars().take(120).collect(),
            reason: reason.to_owned(),
        };
        let part = Part::of(key).ok_or_else(|| named("its key is not of this version"))?;
        let Some((&VERSION, json)) = value.split_first() else { return Err(named("it is of another version")) };
        let fail = |error: serde_json::Error| named(&error.to_string());
        match part {
            Part::Key(arn) => {
                let row = decode(json).map_err(fail)?;
                self.portrait(&arn).restore(row);
            }
            Part::Grant(arn, id) => {
                let grant = decode(json).map_err(fail)?;
                self.portrait(&arn).restore_grant(id, grant);
            }
            Part::User(arn, who) => {
                let user = decode(json).map_err(fail)?;
                self.portrait(&arn).restore_user(who, user);
            }
            Part::Alias(place, alias) => {
                let versions = decode(json).map_err(fail)?;
                self.aliases.insert((place, alias), versions);
            }
        }
        Ok(())
    }
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    // Nothing in it can fail to be JSON; an empty value would be refused on the way back.
    bytes.extend(serde_json::to_vec(value).unwrap_or_default());
    bytes
}

fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(json)
}

impl Part {
    fn key(&self) -> Vec<u8> {
        let (letter, first, second) = match self {
            Self::Key(arn) => (b'K', arn, None),
            Self::Grant(arn, id) => (b'G', arn, Some(id)),
            Self::User(arn, who) => (b'U', arn, Some(who)),
            Self::Alias(place, alias) => (b'A', place, Some(alias)),
        };
        let mut key = vec![letter];
        key.extend(first.as_bytes());
        if let Some(second) = second {
            key.push(0);
            key.extend(second.as_bytes());
        }
        key
    }

    fn of(key: &[u8]) -> Option<Self> {
        let (letter, names) = key.split_first()?;
        let names = std::str::from_utf8(names).ok()?;
        let pair = || names.split_once('\0').map(|(first, second)| (first.to_owned(), second.to_owned()));
        Some(match letter {
            b'K' => Self::Key(names.to_owned()),
            b'G' => pair().map(|(arn, id)| Self::Grant(arn, id))?,
            b'U' => pair().map(|(arn, who)| Self::User(arn, who))?,
            b'A' => pair().map(|(place, alias)| Self::Alias(place, alias))?,
            _ => return None,
        })
    }
}
