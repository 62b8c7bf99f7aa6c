//! Patterns with `*` (any run of characters) and `?` (any one), as IAM reads them in actions,
//! resources, `StringLike` and `ArnLike`.
//!
//! Invariant: linear with one mark to come back to, so that no pattern makes it slow.

/// One place of a pattern, where `*` and `?` may also stand for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<T> {
    /// Any run, also an empty one.
    Run,
    /// Any one.
    Any,
    /// This one.
    Is(T),
}

/// Whether `text` fits `pattern`. Case counts.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    if !pattern.contains(['*', '?']) {
        return pattern == text;
    }
    // Names of AWS are ASCII, where a character is a byte and nothing need be copied.
    if pattern.is_ascii() && text.is_ascii() {
        return fits(pattern.as_bytes(), text.as_bytes(), |byte| match byte {
            b'*' => Piece::Run,
            b'?' => Piece::Any,
            byte => Piece::Is(*byte),
        });
    }
    let chars: Vec<char> = text.chars().collect();
    fits(&pieces(pattern), &chars, |piece| *piece)
}

/// Whether `text` fits a pattern taken apart.
#[must_use]
pub fn glob_pieces(pattern: &[Piece<char>], text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    fits(pattern, &chars, |piece| *piece)
}

/// A pattern taken apart.
#[must_use]
pub fn pieces(pattern: &str) -> Vec<Piece<char>> {
    let piece = |c| match c {
        '*' => Piece::Run,
        '?' => Piece::Any,
        c => Piece::Is(c),
    };
    pattern.chars().map(piece).collect()
}

/// IAM's ArnLike (and ArnEquals, which is the same): the six parts of an ARN fit one by one, so that
/// no `*` runs over a colon into the next part; a bare `*` fits everything.
#[must_use]
pub fn arn_like(pattern: &str, arn: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let mut wanted = pattern.splitn(6, ':');
    let mut given = arn.splitn(6, ':');
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if glob(wanted, given) => {}
            _ => return false,
        }
    }
}

fn fits<P, T: PartialEq>(pattern: &[P], text: &[T], piece: impl Fn(&P) -> Piece<T>) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut mark: Option<(usize, usize)> = None;
    while let Some(c) = text.get(t) {
        match pattern.get(p).map(&piece) {
            Some(Piece::Run) => {
                mark = Some((p, t));
                p += 1;
            }
            Some(Piece::Any) => {
                p += 1;
                t += 1;
            }
            Some(Piece::Is(wanted)) if wanted == *c => {
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
    pattern.iter().skip(p).all(|rest| piece(rest) == Piece::Run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_of_an_arn_fit_one_by_one() {
        assert!(arn_like("arn:aws:iam::*:role/dev-*", "arn:aws:iam::111122223333:role/dev-ann/x"));
        assert!(!arn_like("arn:aws:iam::*:role/dev-*", "arn:aws:iam::1:group:role/dev-ann"));
        assert!(arn_like("*", "arn:aws:iam::1:user/x") && !arn_like("arn:*", "arn:aws:iam::1:user/x"));
        assert!(arn_like("arn:aws:sns:*:*:a:b", "arn:aws:sns:r:1:a:b"), "the sixth part may hold colons");
    }

    #[test]
    fn a_star_may_stand_for_itself() {
        let pattern = [Piece::Is('a'), Piece::Is('*'), Piece::Run];
        assert!(glob_pieces(&pattern, "a*b") && !glob_pieces(&pattern, "aab"));
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
            prop_assert_eq!(glob_pieces(&pieces(&pattern), &text), glob(&pattern, &text));
        }
    }
}
