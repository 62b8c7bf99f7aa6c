//! Lines under `respond` that put text of a record into a shell as it is.
//!
//! In a line that begins with a tool known to kmswatch every value becomes one quoted word. That
//! fails where the line puts it between quotes of its own, and where the line is a command that is
//! not known as one.

use super::Lint;
use crate::rule::diagnostic::Code;
use crate::rule::locate::Node;
use crate::rule::template::COMMANDS;
use crate::rule::{Template, TemplatePart};

/// Words that begin or join commands of a shell, beside [`COMMANDS`].
const SHELL: &[&str] = &[
    "bash",
    "cat",
    "curl",
    "dig",
    "docker",
    "echo",
    "env",
    "eval",
    "exec",
    "export",
    "for",
    "gh",
    "git",
    "grep",
    "helm",
    "kubectl",
    "nslookup",
    "ping",
    "python",
    "python3",
    "sam",
    "sh",
    "ssh",
    "sudo",
    "terraform",
    "while",
    "wget",
    "xargs",
    "zsh",
];

pub(super) fn look(lint: &mut Lint<'_, '_>) {
    let document = lint.document;
    let items =
        document.node.get("kmswatch").and_then(|block| block.get("respond")).map(Node::items).unwrap_or_default();
    // Lines with mistakes have no template; then there is an error, and lints are not shown.
    for (item, template) in items.iter().zip(&document.extension.respond) {
        let Some(field) = first_field(template) else { continue };
        if template.is_command() {
            if is_within_quotes(template) {
                let message = format!("`{{{field}}}` stands between quotes, where its own quoting does not protect");
                let help = "leave the quotes out: in a command every value becomes one quoted word";
                lint.warning(Code::UnsafeCommand, item.place, message, help);
            }
        } else if let Some(word) = shell_word_in(template) {
            let message = format!("`{{{field}}}` goes as it is into what looks like a command (`{word}`)");
            let help = format!(
                "begin the line with the command ({}), so that values are quoted, or leave the value out",
                COMMANDS.join(", ")
            );
            lint.warning(Code::UnsafeCommand, item.place, message, &help);
        }
    }
}

fn first_field(template: &Template) -> Option<&str> {
    template.fields().map(|(path, _)| path).next()
}

/// Whether a value comes where a quote of the line itself is open.
fn is_within_quotes(template: &Template) -> bool {
    let mut open: Option<char> = None;
    for part in &template.parts {
        match part {
            TemplatePart::Literal(text) => {
                for c in text.chars().filter(|c| ['\'', '"', '`'].contains(c)) {
                    open = match open {
                        None => Some(c),
                        Some(quote) if quote == c => None,
                        still => still,
                    };
                }
            }
            TemplatePart::Field(_) if open.is_some() => return true,
            TemplatePart::Field(_) | TemplatePart::Count => {}
        }
    }
    false
}

/// The word that makes prose look like a command: one that begins it, or one of ours with a
/// subcommand and options somewhere before a value.
fn shell_word_in(template: &Template) -> Option<String> {
    let text = template.to_string();
    let begins = text.split_whitespace().next().unwrap_or_default();
    let begins = begins.trim_start_matches(['$', '`', '(']);
    if SHELL.contains(&begins) || COMMANDS.contains(&begins) || (begins.contains('=') && !begins.contains('{')) {
        return Some(begins.to_owned());
    }
    let words: Vec<_> = text.split_whitespace().collect();
    let trim = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
    let at = words.iter().position(|word| COMMANDS.contains(&trim(word).as_str()))?;
    let rest = words.get(at + 1..).unwrap_or_default();
    let option = rest.iter().position(|word| word.starts_with("--"))?;
    let value = rest.iter().position(|word| word.contains('{'))?;
    (option < value || value <= 2).then(|| words.get(at).map(|word| trim(word))).flatten()
}
