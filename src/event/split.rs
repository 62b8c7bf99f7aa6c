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
    /// Why the list was broken off, until something else was told of it.
    cut_off: Option<Cut<'a>>,
    /// What may still be looked at in vain.
    patience: usize,
    lines: LineCount,
}

/// A text is looked at this often before values over several lines are no longer looked for. A line
/// that opens a bracket and never closes it costs a look at all that follows, so a text of such lines
/// would cost the square of its length.
const MAX_LOOKS: usize = 8;
/// Short texts are cheap.
const FREE_BYTES: usize = 1 << 20;

impl<'a> Values<'a> {
    /// Starts at the beginning of `text`.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let patience = text.len().saturating_mul(MAX_LOOKS).saturating_add(FREE_BYTES);
        Self { text, at, salvaging: false, cut_off: None, patience, lines: LineCount::default() }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Where the next value may lie: in the line, once patience is spent.
    fn window(&self) -> &'a str {
        let rest = self.rest();
        if self.patience > 0 {
            return rest;
        }
        rest.split_inclusive('\n').next().unwrap_or_default()
    }

    fn skip_between(&mut self) {
        let salvaging = self.salvaging;
        let blank = |c: char| c.is_whitespace() || c == ',' || c == '\u{1e}' || (salvaging && matches!(c, ']' | '}'));
        self.at = self.text.len() - self.rest().trim_start_matches(blank).len();
    }

    /// A value that does not parse: step into a list, else step over it.
    fn broken(&mut self, error: &serde_json::Error) -> Option<Cut<'a>> {
        let rest = self.window();
        let inside = list_start(rest).filter(|_| !self.salvaging);
        let place = self.lines.place(self.text, self.at);
        let column = if error.line() <= 1 { place.column + error.column().saturating_sub(1) } else { error.column() };
        let what = error.to_string();
        let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
        let reason = format!("not valid JSON at line {} column {column}: {what}", place.line + error.line().max(1) - 1);
        let cut = Cut::Broken { place, reason };
        if let Some(inside) = inside {
            self.at += inside;
            self.salvaging = true;
            // Cut off between two elements, the list looks whole from inside.
            self.cut_off = error.is_eof().then_some(cut);
            return None;
        }
        self.cut_off = None;
        self.at += match lenient_end(rest) {
            Ok(end) => end,
            Err(looked_at) => {
                self.patience = self.patience.saturating_sub(looked_at);
                next_line_value(self.rest())
            }
        };
        Some(cut)
    }

    fn junk(&mut self) -> Cut<'a> {
        self.cut_off = None;
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
            if !rest.starts_with(['{', '[']) {
                return if rest.is_empty() { self.cut_off.take() } else { Some(self.junk()) };
            }
            let mut stream = serde_json::Deserializer::from_str(self.window()).into_iter::<&RawValue>();
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

/// Where a broken value ends if its brackets balance outside strings; else how far was looked.
fn lenient_end(text: &str) -> Result<usize, usize> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') | (false, b'"') => in_string = !in_string,
            // A raw line end inside a string: the string was never closed.
            (true, b'\n') => return Err(at),
            (false, b'{' | b'[') => depth += 1,
            (false, b'}' | b']') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Ok(at + 1);
                }
            }
            _ => {}
        }
    }
    Err(text.len())
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
    fn a_list_that_is_cut_off_between_elements_is_told_of() {
        for text in ["[", "{\"Records\":[", "[{\"a\":1}", "{\"Records\": [{\"a\":1},\n", "[{\"a\":1}]  [{\"a\":1},"] {
            let got = cut(text);
            assert!(got.last().is_some_and(|last| last.contains("not valid JSON at line")), "{text:?}: {got:?}");
        }
        let got = cut("[{\"a\":1},{\"b\":[");
        assert_eq!(got.len(), 2, "{got:?}");
    }

    #[test]
    fn text_around_json_is_reported_and_passed() {
        let got = cut("a title: {\n{\"a\":1}\nend");
        assert_eq!((got.len(), got[1].as_str()), (3, "{\"a\":1}"));
        assert!(got[0].starts_with("1:1 not JSON: begins with \"a title: {"), "{}", got[0]);
    }

    #[test]
    fn lines_that_never_close_cost_no_square_of_their_number() {
        // Each of these looks like the beginning of all that follows.
        let text = "{\"a\":\n".repeat(50_000) + "{\"b\":1}\n";
        let cuts: Vec<_> = Values::new(&text).collect();
        assert_eq!(cuts.last(), Some(&Cut::Value("{\"b\":1}")));
        assert_eq!(cuts.len(), 50_001);
        let mut values = Values::new(&text);
        assert!(values.by_ref().all(|cut| matches!(cut, Cut::Broken { .. } | Cut::Value(_))));
        assert_eq!(values.patience, 0);
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
