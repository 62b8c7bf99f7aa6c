//! Texts as YAML, and as comments that stay comments.

use crate::alert::redact::printable;

/// A text in quotes, whatever is in it.
pub(super) fn quoted(text: &str) -> String {
    if text.chars().all(is_plain) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if is_plain(c) => out.push(c),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// Texts as a list on one line.
pub(super) fn list<'t>(texts: impl IntoIterator<Item = &'t String>) -> String {
    let texts: Vec<_> = texts.into_iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

/// A text in a comment: on one line, and showing what it holds.
pub(super) fn comment(text: &str) -> String {
    printable(text).chars().map(|c| if is_plain(c) { c } else { '\u{fffd}' }).collect()
}

/// Stands for itself in YAML and on a terminal.
fn is_plain(c: char) -> bool {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    !(c.is_control() || turns || breaks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_comes_back(text in any::<String>()) {
            let read: Vec<String> = serde_saphyr::from_str(&format!("- {}\n", quoted(&text))).unwrap();
            prop_assert_eq!(read, [text]);
        }

        #[test]
        fn a_comment_is_one_line(text in any::<String>()) {
            let read: Vec<String> = serde_saphyr::from_str(&format!("# {}\n- 'a'\n", comment(&text))).unwrap();
            prop_assert_eq!(read, ["a"]);
        }
    }
}
