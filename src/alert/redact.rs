//! What leaves the account in an alert: encryption-context values and tokens are not told, unless
//! configured. A redacted value keeps a short hash, so that two of the same can be told to be the same.
//!
//! Also makes text from records safe to show and to paste.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::field::FieldValue;

/// What is kept back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Redaction {
    /// Encryption-context values and tokens.
    #[default]
    EncryptionContext,
    /// Nothing: alerts stay within the account.
    None,
}

/// Members of `requestParameters` whose values are kept back.
const SECRET_MEMBERS: &[&str] = &[
    "encryptionContext",
    "sourceEncryptionContext",
    "destinationEncryptionContext",
    "grantTokens",
    "grantToken",
    "importToken",
];

impl Redaction {
    /// A record as evidence.
    #[must_use]
    pub fn record(self, raw: &str) -> Value {
        let mut record = serde_json::from_str::<Value>(raw).unwrap_or_else(|_| Value::String(raw.to_owned()));
        if self == Self::EncryptionContext {
            for parent in ["requestParameters", "responseElements"] {
                let Some(Value::Object(members)) = record.get_mut(parent) else { continue };
                for name in SECRET_MEMBERS {
                    if let Some(member) = members.get_mut(*name) {
                        hide(member);
                    }
                }
                if let Some(constraints) = members.get_mut("constraints") {
                    hide(constraints);
                }
            }
        }
        record
    }

    /// The value of a field in a sentence, a group or a command.
    #[must_use]
    pub fn field(self, path: &str, value: &str) -> String {
        let is_secret = is_secret(path) || path == "kms.object";
        if self == Self::EncryptionContext && is_secret && !value.starts_with("context:") {
            return hidden(value);
        }
        value.to_owned()
    }

    /// The value of a field, whatever it is; objects as JSON with what is secret in them kept back.
    #[must_use]
    pub fn value(self, path: &str, value: &FieldValue<'_>) -> String {
        let FieldValue::Json(json) = value else {
            return value.to_text().map_or_else(|| "null".to_owned(), |text| self.field(path, &text));
        };
        let around = |inside, segment| Value::Object(std::iter::once((String::from(segment), inside)).collect());
        let whole = path.rsplit('.').fold(json.clone(), around);
        let mut shown = self.record(&whole.to_string());
        for segment in path.split('.') {
            shown = shown.get_mut(segment).map(Value::take).unwrap_or_default();
        }
        shown.to_string()
    }
}

/// Whether a path leads into something that is kept back.
fn is_secret(path: &str) -> bool {
    let mut segments = path.split('.');
    matches!(segments.next(), Some("requestParameters" | "responseElements"))
        && segments.next().is_some_and(|member| member == "constraints" || SECRET_MEMBERS.contains(&member))
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(hide),
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Null => {}
        Value::String(text) => *text = hidden(text),
        other => *other = hidden(&other.to_string()).into(),
    }
}

fn hidden(text: &str) -> String {
    let hash: String = blake3::hash(text.as_bytes()).to_hex().chars().take(8).collect();
    format!("redacted:{hash}")
}

/// Whether a character does something else than show itself: controls; marks that turn the direction
/// of writing (UAX 9); line and paragraph separators; what is not seen at all, so that two names look
/// the same (UTS 39, 5.4); tags, which hide a text in another.
#[must_use]
pub fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Text from a record for a terminal, a log or a page: what [`deceives`] becomes visible, and it ends
/// somewhere.
#[must_use]
pub fn printable(text: &str) -> String {
    const MAX_CHARS: usize = 1024;
    let mut shown: String = text.chars().take(MAX_CHARS).map(|c| if deceives(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        shown.push('\u{2026}');
    }
    shown
}

/// Lines of our own with text from outside in them, whole: only line ends stay as they are.
#[must_use]
pub fn printable_lines(text: &str) -> String {
    text.chars().map(|c| if c != '\n' && deceives(c) { '\u{fffd}' } else { c }).collect()
}

/// Text from a record as one word of a shell command.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let text = printable(text);
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:/@=+,-".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_values_and_tokens_stay_behind() {
        let raw = r#"{"eventName":"Decrypt","requestParameters":{"keyId":"k","encryptionContext":{"customer":"4711"},"grantTokens":["t-secret"]}}"#;
        let shown = Redaction::default().record(raw).to_string();
        assert!(!shown.contains("4711") && !shown.contains("t-secret") && shown.contains("customer"), "{shown}");
        assert!(Redaction::None.record(raw).to_string().contains("4711"));
        assert!(!Redaction::default().field("kms.object", "arn:aws:s3:::b/4711").contains("4711"));
        assert_eq!(Redaction::default().field("kms.key", "alias/x"), "alias/x");
        for path in ["requestParameters.grantTokens", "requestParameters.constraints.encryptionContextEquals.customer"]
        {
            assert!(!Redaction::default().field(path, "4711").contains("4711"), "{path}");
        }
        let whole = FieldValue::Json(serde_json::json!({"keyId": "k", "encryptionContext": {"customer": "4711"}}));
        let shown = Redaction::default().value("requestParameters", &whole);
        assert!(shown.contains(r#""keyId":"k""#) && shown.contains("customer") && !shown.contains("4711"), "{shown}");
        assert_eq!(Redaction::default().value("errorCode", &FieldValue::Null), "null");
    }

    #[test]
    fn text_of_records_is_made_safe() {
        assert_eq!(printable("a\u{1b}[31mb\nc\u{202e}d"), "a\u{fffd}[31mb\u{fffd}c\u{fffd}d");
        for c in ['\u{9b}', '\u{61c}', '\u{2028}', '\u{200b}', '\u{2060}', '\u{feff}', '\u{e0041}', '\u{7f}', '\0'] {
            assert_eq!(printable(&format!("a{c}b")), "a\u{fffd}b", "{c:?}");
        }
        assert_eq!(printable(&"x".repeat(5000)).chars().count(), 1025);
        assert_eq!(shell_word("arn:aws:kms:eu-west-1:1:key/k-1"), "arn:aws:kms:eu-west-1:1:key/k-1");
        assert_eq!(shell_word("x; rm -rf $(y)'"), r"'x; rm -rf $(y)'\'''");
        assert_eq!(shell_word("--debug"), "'--debug'");
        assert_eq!(shell_word(""), "''");
    }
}
