//! What is wrong now: told under `/ready`, set by whoever meets it and cleared when it works again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What is wrong now, for `/ready`.
#[derive(Debug, Default)]
pub struct Health {
    troubles: Mutex<BTreeMap<String, String>>,
}

impl Health {
    /// Notes what is wrong with a part, or that nothing is.
    pub fn set(&self, part: &str, trouble: Option<String>) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(trouble) => drop(troubles.insert(part.to_owned(), trouble)),
            None => drop(troubles.remove(part)),
        }
    }

    /// What is wrong, if anything.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<_> = troubles.iter().map(|(part, trouble)| format!("{part}: {trouble}")).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}
