//! Patterns over names: `*` and `?`, and in an ARN they stay within their part.
//!
//! `arn:aws:iam::*:role/developer-*` must not match an ARN whose account part the star ran over;
//! this is how IAM's ArnLike reads them.

use std::fmt;

/// A pattern as written in the inventory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamePattern {
    text: String,
}

impl NamePattern {
    /// Takes a pattern.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { text: text.trim().to_owned() }
    }

    /// Whether `name` fits. Case counts, as in IAM.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if self.text == "*" {
            return true;
        }
        if !self.text.starts_with("arn:") {
            return glob(&self.text, name);
        }
        let mut wanted = self.text.splitn(6, ':');
        let mut given = name.splitn(6, ':');
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return true,
                (Some(wanted), Some(given)) if glob(wanted, given) => {}
                _ => return false,
            }
        }
    }

    /// Whether it matches one name only.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.text.contains(['*', '?'])
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether `text` fits `pattern`; `*` is any run of characters, `?` any one.
fn glob(pattern: &str, text: &str) -> bool {
    if !pattern.contains(['*', '?']) {
        return pattern == text;
    }
    // Names of AWS are ASCII, where a character is a byte and nothing need be copied.
    if pattern.is_ascii() && text.is_ascii() {
        return glob_over(pattern.as_bytes(), text.as_bytes(), b'*', b'?');
    }
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    glob_over(&chars(pattern), &chars(text), '*', '?')
}

/// Linear with one mark to come back to, so that no pattern makes it slow.
fn glob_over<T: PartialEq + Copy>(pattern: &[T], text: &[T], run: T, any: T) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut mark: Option<(usize, usize)> = None;
    while let Some(c) = text.get(t) {
        match pattern.get(p) {
            Some(wanted) if *wanted == run => {
                mark = Some((p, t));
                p += 1;
            }
            Some(wanted) if *wanted == any || wanted == c => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, at)) = mark else { return false };
                mark = Some((star, at + 1));
                p = star + 1;
                t = at + 1;
            }
        }
    }
    pattern.iter().skip(p).all(|rest| *rest == run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_stays_within_its_arn_part() {
        let pattern = NamePattern::new("arn:aws:iam::*:role/developer-*");
        assert!(pattern.matches("arn:aws:iam::111122223333:role/developer-ann/x"));
        assert!(!pattern.matches("arn:aws:iam::1:group:role/developer-ann"));
        assert!(!pattern.matches("arn:aws:sts::111122223333:role/developer-ann"));
        assert!(NamePattern::new("service:*").matches("service:cloudtrail.amazonaws.com"));
        assert!(NamePattern::new("*").matches("arn:aws:iam::1:user/x"));
        assert!(!NamePattern::new("arn:aws:iam::1:user/x").matches("arn:aws:iam::1:user/X"));
    }

    /// The oracle: the definition, tried every way.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
            ([p, ps @ ..], [t, ts @ ..]) => (*p == '?' || p == t) && naive(ps, ts),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn glob_is_the_definition(pattern in "[abé*?]{0,7}", text in "[abé]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(glob(&pattern, &text), naive(&chars(&pattern), &chars(&text)));
        }
    }
}
