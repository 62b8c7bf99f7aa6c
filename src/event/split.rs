//! Cuts a text into its top-level JSON values, and goes on after a broken one.
//!
//! JSON lines, one document, documents one after the other, pretty-printed or not. Where a value is
//! broken its place and reason are given, and reading goes on: inside a broken list at its next
//! element, else at the next line that begins a value. Published captures are broken in all these
//! ways (captures INDEX, oddity 21).
//!
//! Invariant: every non-blank byte belongs to exactly one value or is reported.

use serde_json::value::RawValue;

/// A place in a text, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in bytes.
    pub column: usize,
    /// From 0.
    pub offset: usize,
}

/// One cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A well-formed JSON value.
    Value(&'a str),
    /// Something else, and why.
    Broken {
        /// Where it begins.
        place: Place,
        /// What is wrong, and where.
        reason: String,
    },
}

/// The values of a text, in order.
#[derive(Clone, Debug)]
pub struct Values<'a> {
    text: &'a str,
    at: usize,
    /// Inside a broken list, whose closing brackets are left over.
    salvaging: bool,
    /// That list, while nothing was reported of it and its end was not seen: a text that is cut
    /// between two elements would otherwise look whole.
    unclosed: Option<Unclosed>,
    lines: LineCount,
}

/// A list that was stepped into.
#[derive(Clone, Copy, Debug)]
struct Unclosed {
    place: Place,
    /// Brackets that it takes to close it.
    brackets: usize,
}

impl<'a> Values<'a> {
    /// Starts at the beginning of `text`.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { text, at, salvaging: false, unclosed: None, lines: LineCount::default() }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_between(&mut self) {
        let salvaging = self.salvaging;
        let blank = |c: char| c.is_whitespace() || c == ',' || c == '\u{1e}' || (salvaging && matches!(c, ']' | '}'));
        let from = self.at;
        self.at = self.text.len() - self.rest().trim_start_matches(blank).len();
        if let Some(list) = &mut self.unclosed {
            let skipped = self.text.get(from..self.at).unwrap_or_default();
            list.brackets = list.brackets.saturating_sub(skipped.matches([']', '}']).count());
            if list.brackets == 0 {
                self.unclosed = None;
            }
        }
    }

    /// A value that does not parse: step into a list, else step over it.
    fn broken(&mut self, error: &serde_json::Error) -> Option<Cut<'a>> {
        let rest = self.rest();
        if !self.salvaging
            && let Some(inside) = list_start(rest)
        {
            let brackets = if rest.starts_with('{') { 2 } else { 1 };
            self.unclosed = Some(Unclosed { place: self.lines.place(self.text, self.at), brackets });
            self.at += inside;
            self.salvaging = true;
            return None;
        }
        self.unclosed = None;
        let place = self.lines.place(self.text, self.at);
        let column = if error.line() <= 1 { place.column + error.column().saturating_sub(1) } else { error.column() };
        let what = error.to_string();
        let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
        let reason = format!("not valid JSON at line {} column {column}: {what}", place.line + error.line().max(1) - 1);
        self.at += lenient_end(rest).unwrap_or_else(|| next_line_value(rest));
        Some(Cut::Broken { place, reason })
    }

    fn junk(&mut self) -> Cut<'a> {
        self.unclosed = None;
        let place = self.lines.place(self.text, self.at);
        let rest = self.rest();
        self.at += next_line_value(rest);
        let shown: String = rest.chars().take(24).collect();
        Cut::Broken { place, reason: format!("not JSON: begins with {shown:?}") }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Cut<'a>;

    fn next(&mut self) -> Option<Cut<'a>> {
        loop {
            self.skip_between();
            let rest = self.rest();
            if rest.is_empty() {
                let reason = "the text ends within the list that begins here: it was cut short".to_owned();
                return self.unclosed.take().map(|list| Cut::Broken { place: list.place, reason });
            }
            if !rest.starts_with(['{', '[']) {
                return Some(self.junk());
            }
            let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
            match stream.next() {
                Some(Ok(value)) => {
                    self.at += stream.byte_offset();
                    return Some(Cut::Value(value.get()));
                }
                Some(Err(error)) => {
                    if let Some(cut) = self.broken(&error) {
                        return Some(cut);
                    }
                }
                None => return None,
            }
        }
    }
}

/// Counts lines forward, so that a text of many broken values is counted once.
#[derive(Clone, Debug, Default)]
struct LineCount {
    offset: usize,
    line: usize,
    line_start: usize,
}

impl LineCount {
    fn place(&mut self, text: &str, offset: usize) -> Place {
        let passed = text.as_bytes().get(self.offset..offset).unwrap_or_default();
        for (at, _) in passed.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            self.line += 1;
            self.line_start = self.offset + at + 1;
        }
        self.offset = offset;
        Place { line: self.line + 1, column: offset - self.line_start + 1, offset }
    }
}

/// Where the elements begin, if the text is a list or an S3 file's `{"Records":[`.
fn list_start(text: &str) -> Option<usize> {
    let mut rest = text;
    if let Some(inside) = rest.strip_prefix('{') {
        let after = inside.trim_start().strip_prefix("\"Records\"")?;
        rest = after.trim_start().strip_prefix(':')?.trim_start();
    }
    rest.strip_prefix('[').map(|elements| text.len() - elements.len())
}

/// Where a broken value ends if its brackets balance outside strings.
fn lenient_end(text: &str) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') | (false, b'"') => in_string = !in_string,
            // A raw line end inside a string: the string was never closed.
            (true, b'\n') => return None,
            (false, b'{' | b'[') => depth += 1,
            (false, b'}' | b']') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// The next line that begins with a bracket, or the end.
fn next_line_value(text: &str) -> usize {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if at > 0 && line.starts_with(['{', '[']) {
            return at;
        }
        at += line.len();
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(text: &str) -> Vec<String> {
        Values::new(text)
            .map(|cut| match cut {
                Cut::Value(value) => value.to_owned(),
                Cut::Broken { place, reason } => format!("{}:{} {reason}", place.line, place.column),
            })
            .collect()
    }

    #[test]
    fn values_in_every_arrangement() {
        assert_eq!(cut("{\"a\":1}\n{\"b\":2}\n"), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(cut("\u{feff} {\"a\":\n 1} [2]\r\n"), ["{\"a\":\n 1}", "[2]"]);
        assert_eq!(cut(" \n"), [""; 0]);
    }

    #[test]
    fn a_broken_line_does_not_take_its_neighbours_along() {
        let got = cut("{\"a\":1}\n{\"b\" 2}\n{\"c\":\"never closed\n{\"d\":4}");
        assert_eq!((got[0].as_str(), got[3].as_str()), ("{\"a\":1}", "{\"d\":4}"));
        assert!(got[1].starts_with("2:1 not valid JSON at line 2 column 6"), "{}", got[1]);
        assert!(got[2].starts_with("3:1 not valid JSON"), "{}", got[2]);
    }

    #[test]
    fn the_elements_of_a_broken_list_are_saved() {
        let got = cut("{\"Records\": [\n {\"a\":1},\n {\"b\" 2},\n {\"c\":3}\n]}");
        assert_eq!((got.len(), got[0].as_str(), got[2].as_str()), (3, "{\"a\":1}", "{\"c\":3}"));
        assert!(got[1].starts_with("3:2"), "{}", got[1]);
        let got = cut("[{\"a\":1},{\"b\":[");
        assert_eq!((got.len(), got[0].as_str()), (2, "{\"a\":1}"), "{got:?}");
    }

    #[test]
    fn a_list_that_is_cut_between_elements_is_not_taken_for_whole() {
        let whole = "{\"Records\": [{\"a\":1},\n {\"b\":[2]}]}";
        assert_eq!(cut(whole), [whole]);
        let begins = whole.find('[').unwrap() + 1;
        for end in begins..whole.len() {
            let got = cut(&whole[..end]);
            assert!(
                got.iter().any(|cut| cut.contains("not valid JSON") || cut.ends_with("cut short")),
                "{end}: {got:?}"
            );
        }
        assert_eq!(cut("[").len(), 1);
        assert!(cut("{\"a\":1}\n[{\"b\":2}, ")[2].starts_with("2:1 the text ends within the list"));
        assert_eq!(cut("[{\"a\":1},{\"b\":2},]").len(), 2, "a comma too many is no loss");
        let got = cut("[{\"a\":1},\n{\"b\":2}\n{\"c\":3}\n");
        assert_eq!(
            (got.len(), got[3].as_str()),
            (4, "1:1 the text ends within the list that begins here: it was cut short")
        );
    }

    #[test]
    fn text_around_json_is_reported_and_passed() {
        let got = cut("a title: {\n{\"a\":1}\nend");
        assert_eq!((got.len(), got[1].as_str()), (3, "{\"a\":1}"));
        assert!(got[0].starts_with("1:1 not JSON: begins with \"a title: {"), "{}", got[0]);
    }

    proptest! {
        #[test]
        fn any_text_ends_and_cuts_in_order(text in "[\\[\\]{}\",:a\\\\ \n]{0,80}") {
            let cuts = cut(&text);
            prop_assert!(cuts.len() <= text.len());
        }

        #[test]
        fn json_lines_survive_a_broken_one(good in 0_usize..6, bad in "[^\n]{1,20}", after in 0_usize..6) {
            let lines = |n| "{\"k\":\"v\"}\n".repeat(n);
            let text = format!("{}x{bad}\n{}", lines(good), lines(after));
            let values = Values::new(&text).filter(|cut| matches!(cut, Cut::Value(_))).count();
            prop_assert_eq!(values, good + after);
        }
    }
}
