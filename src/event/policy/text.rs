//! Pieces of sentences about policies. Text of a policy is chosen by whoever wrote it, so each piece
//! is cut; whoever prints it makes it printable.

/// Characters of a name or value that are shown.
const MAX_CHARS: usize = 128;

/// A name, cut.
pub(super) fn bounded(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A name of unknown kind, cut and in quotes.
pub(super) fn quoted_id(text: &str) -> String {
    format!("'{}'", bounded(text))
}

/// `a, b and c`, each cut; beyond `most` it says how many more.
pub(super) fn list<T: AsRef<str>>(items: &[T], most: usize) -> String {
    let shown = if items.len() > most { items.get(..most).unwrap_or_default() } else { items };
    let more = items.len() - shown.len();
    let texts: Vec<String> = shown.iter().map(|item| bounded(item.as_ref())).collect();
    if more > 0 {
        return format!("{} and {more} more", texts.join(", "));
    }
    join(&texts)
}

/// `a, b and c`, as they are.
pub(super) fn join(texts: &[String]) -> String {
    match texts.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_cuts() {
        assert_eq!(list::<&str>(&[], 3), "");
        assert_eq!(list(&["a"], 3), "a");
        assert_eq!(list(&["a", "b", "c"], 3), "a, b and c");
        assert_eq!(list(&["a", "b", "c"], 2), "a, b and 1 more");
        assert_eq!(bounded(&"é".repeat(200)).chars().count(), MAX_CHARS + 1);
    }
}
