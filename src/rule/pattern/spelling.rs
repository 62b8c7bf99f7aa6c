//! What a Sigma text is made of, and what the encoding modifiers make of it.
//!
//! Invariant: what comes out can stand in a record. Bytes that are no text are refused, for they
//! would match nothing.

use base64::Engine as _;
use rsigma_parser::{Modifier, SigmaString, SpecialChar, StringPart};

use super::PatternError;
use crate::rule::diagnostic::Code;

/// A piece of a text to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Itself.
    Text(String),
    /// `*`: any text.
    Many,
    /// `?`: any one character.
    One,
    /// Any of the characters that start an option on a command line.
    Dash,
}

/// Hyphen, slash, en dash, em dash, horizontal bar: one for another under `windash`.
const DASHES: [char; 5] = ['-', '/', '\u{2013}', '\u{2014}', '\u{2015}'];

/// With more dashes there would be too many ways to encode them.
const MAX_ENCODED_DASHES: usize = 4;

/// The pieces of a text with wildcards, or without.
#[must_use]
pub fn pieces(text: &str, has_wildcards: bool) -> Vec<Piece> {
    let spelled = if has_wildcards { SigmaString::new(text) } else { SigmaString::from_raw(text) };
    let piece = |part| match part {
        StringPart::Plain(text) => Piece::Text(text),
        StringPart::Special(SpecialChar::WildcardMulti) => Piece::Many,
        StringPart::Special(SpecialChar::WildcardSingle) => Piece::One,
    };
    spelled.parts.into_iter().map(piece).collect()
}

/// The pieces as a regular expression, without anchors.
#[must_use]
pub fn as_regex(pieces: &[Piece]) -> String {
    let written = |piece: &Piece| match piece {
        Piece::Text(text) => regex::escape(text),
        Piece::Many => ".*".to_owned(),
        Piece::One => ".".to_owned(),
        Piece::Dash => format!("[{}]", regex::escape(&DASHES.iter().collect::<String>())),
    };
    pieces.iter().map(written).collect()
}

/// Applies the encoding modifiers, in the order given but for `windash`, which is about the text as
/// typed; most texts come back as they are.
///
/// # Errors
/// When the text cannot be encoded so.
pub fn encoded(pieces: Vec<Piece>, modifiers: &[Modifier]) -> Result<Vec<Vec<Piece>>, PatternError> {
    let pieces = if modifiers.contains(&Modifier::WindAsh) { dashed(pieces) } else { pieces };
    let encodings: Vec<_> = modifiers.iter().copied().filter(|modifier| is_encoding(*modifier)).collect();
    if encodings.is_empty() {
        return Ok(vec![pieces]);
    }
    let mut variants: Vec<Vec<u8>> = plain(&pieces)?.into_iter().map(String::into_bytes).collect();
    for encoding in encodings {
        variants = variants.into_iter().flat_map(|bytes| encode(encoding, &bytes)).collect();
    }
    let as_text = |bytes| match String::from_utf8(bytes) {
        Ok(text) => Ok(vec![Piece::Text(text)]),
        Err(_) => Err((Code::BadValue, "encoded so it is no text; let `base64` or `base64offset` follow".to_owned())),
    };
    variants.into_iter().map(as_text).collect()
}

fn is_encoding(modifier: Modifier) -> bool {
    use Modifier::{Base64, Base64Offset, Utf16, Utf16be, Wide};
    matches!(modifier, Base64 | Base64Offset | Wide | Utf16 | Utf16be)
}

/// Cuts out every character that another may stand for.
fn dashed(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut out = Vec::new();
    for piece in pieces {
        let Piece::Text(text) = piece else {
            out.push(piece);
            continue;
        };
        for (index, part) in text.split(DASHES).enumerate() {
            out.extend((index > 0).then_some(Piece::Dash));
            out.extend((!part.is_empty()).then(|| Piece::Text(part.to_owned())));
        }
    }
    out
}

/// All texts without wildcards that the pieces stand for.
fn plain(pieces: &[Piece]) -> Result<Vec<String>, PatternError> {
    let refuse = |reason: String| Err((Code::BadValue, reason));
    if pieces.iter().filter(|piece| **piece == Piece::Dash).count() > MAX_ENCODED_DASHES {
        return refuse(format!("more than {MAX_ENCODED_DASHES} dashes to encode"));
    }
    let mut texts = vec![String::new()];
    for piece in pieces {
        match piece {
            Piece::Text(text) => texts.iter_mut().for_each(|so_far| so_far.push_str(text)),
            Piece::Dash => {
                texts = texts.iter().flat_map(|so_far| DASHES.map(|dash| format!("{so_far}{dash}"))).collect();
            }
            Piece::Many | Piece::One => return refuse("wildcards cannot be encoded".to_owned()),
        }
    }
    Ok(texts)
}

fn encode(modifier: Modifier, bytes: &[u8]) -> Vec<Vec<u8>> {
    let text = || String::from_utf8_lossy(bytes).into_owned();
    let wide = |to_bytes: fn(u16) -> [u8; 2]| text().encode_utf16().flat_map(to_bytes).collect::<Vec<u8>>();
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes).into_bytes();
    match modifier {
        Modifier::Wide => vec![wide(u16::to_le_bytes)],
        Modifier::Utf16be => vec![wide(u16::to_be_bytes)],
        Modifier::Utf16 => vec![[&[0xff, 0xfe], wide(u16::to_le_bytes).as_slice()].concat()],
        Modifier::Base64 => vec![base64(bytes)],
        // The text may stand at any of three offsets in what was encoded; only the characters that
        // it alone decides are looked for.
        Modifier::Base64Offset => (0..3_usize)
            .map(|offset| {
                let padded = [vec![b' '; offset], bytes.to_vec()].concat();
                let from = [0, 2, 3].get(offset).copied().unwrap_or(0);
                let keep = match padded.len() % 3 {
                    0 => usize::MAX,
                    1 => padded.len() / 3 * 4 + 1,
                    _ => padded.len() / 3 * 4 + 2,
                };
                base64(&padded).into_iter().take(keep).skip(from).collect()
            })
            .collect(),
        _ => vec![bytes.to_vec()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the specification, and a little more.
    #[test]
    fn backslashes() {
        let text = |text: &str| Piece::Text(text.to_owned());
        for (written, expected) in [
            (r"a\b", vec![text(r"a\b")]),
            (r"a\\b", vec![text(r"a\b")]),
            (r"\*", vec![text("*")]),
            (r"\?", vec![text("?")]),
            (r"\\*", vec![text(r"\"), Piece::Many]),
            (r"\\\*", vec![text(r"\*")]),
            (r"\\\\", vec![text(r"\\")]),
            (r"\\\x", vec![text(r"\\x")]),
            (r"a\", vec![text(r"a\")]),
            ("", vec![]),
        ] {
            assert_eq!(pieces(written, true), expected, "{written}");
        }
        assert_eq!(pieces(r"\*", false), vec![text(r"\*")]);
    }

    #[test]
    fn only_what_the_text_decides_is_looked_for() {
        let engine = base64::engine::general_purpose::STANDARD;
        for padding in 0..3 {
            for length in 3..9 {
                let needle = "abcdefghi".chars().take(length).collect::<String>();
                let parts = encoded(pieces(&needle, true), &[Modifier::Base64Offset]).unwrap();
                for tail in ["", "\0", "\u{7f}\u{7f}", "zz9"] {
                    let whole = engine.encode(format!("{}{needle}{tail}", "~".repeat(padding)));
                    let found =
                        parts.iter().any(|part| matches!(&part[..], [Piece::Text(part)] if whole.contains(part)));
                    assert!(found, "{needle} after {padding} before {tail:?}");
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let refused = |text: &str, modifiers: &[Modifier]| encoded(pieces(text, true), modifiers).is_err();
        assert!(
            refused("a", &[Modifier::Utf16]) && refused("é", &[Modifier::Wide]) && !refused("a", &[Modifier::Wide])
        );
        assert!(!refused("a", &[Modifier::Utf16, Modifier::Base64]));
        assert!(refused("a*", &[Modifier::Base64]));
        assert!(refused("-----", &[Modifier::WindAsh, Modifier::Base64]) && !refused("-----", &[Modifier::WindAsh]));
    }
}
