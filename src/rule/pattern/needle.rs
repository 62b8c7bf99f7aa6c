//! Texts to look for, with or without regard to case.
//!
//! Invariant: without case, two texts are equal when their lower case is; the quick way for ASCII
//! says the same as the slow one.

use std::borrow::Cow;

/// A text to look for, prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needle {
    /// Lower case unless `cased`.
    pub text: String,
    /// Case counts.
    pub cased: bool,
}

/// Where in a text another stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// It is the whole of it.
    Whole,
    /// Anywhere.
    Within,
    /// At the start.
    Start,
    /// At the end.
    End,
}

impl Needle {
    /// A text to look for.
    #[must_use]
    pub fn new(text: &str, cased: bool) -> Self {
        Self { text: if cased { text.to_owned() } else { text.to_lowercase() }, cased }
    }

    /// Whether it stands there in `text`.
    #[must_use]
    pub fn is_in(&self, text: &str, anchor: Anchor) -> bool {
        match anchor {
            Anchor::Whole => self.equals(text),
            Anchor::Within => self.is_within(text),
            Anchor::Start => self.starts(text),
            Anchor::End => self.ends(text),
        }
    }

    fn fold<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.cased { Cow::Borrowed(text) } else { Cow::Owned(text.to_lowercase()) }
    }

    /// Both as bytes when these can be compared one by one without regard to case: nearly always,
    /// for what AWS writes is ASCII. Beyond ASCII lower case may change the length.
    fn as_ascii<'t>(&'t self, text: &'t str) -> Option<(&'t [u8], &'t [u8])> {
        (!self.cased && self.text.is_ascii() && text.is_ascii()).then_some((self.text.as_bytes(), text.as_bytes()))
    }

    fn equals(&self, text: &str) -> bool {
        match self.as_ascii(text) {
            Some((needle, text)) => needle.eq_ignore_ascii_case(text),
            None => self.fold(text) == self.text,
        }
    }

    fn starts(&self, text: &str) -> bool {
        match self.as_ascii(text) {
            Some((needle, text)) => text.get(..needle.len()).is_some_and(|head| head.eq_ignore_ascii_case(needle)),
            None => self.fold(text).starts_with(&self.text),
        }
    }

    fn ends(&self, text: &str) -> bool {
        match self.as_ascii(text) {
            Some((needle, text)) => {
                let from = text.len().checked_sub(needle.len());
                from.and_then(|from| text.get(from..)).is_some_and(|tail| tail.eq_ignore_ascii_case(needle))
            }
            None => self.fold(text).ends_with(&self.text),
        }
    }

    fn is_within(&self, text: &str) -> bool {
        match self.as_ascii(text) {
            Some(([], _)) => true,
            Some((needle, text)) => text.windows(needle.len()).any(|part| part.eq_ignore_ascii_case(needle)),
            None => self.fold(text).contains(&self.text),
        }
    }
}
