//! What the examples of rules came to: a table, and JUnit XML for build servers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::rule::Level;
use crate::rule::locate::Place;

/// A rule whose examples were run.
#[derive(Clone, Debug)]
pub struct Tested {
    /// Its file.
    pub path: String,
    /// Its title.
    pub title: String,
    /// Its family.
    pub family: String,
    /// Its level.
    pub level: Level,
    /// Its examples.
    pub cases: Vec<Case>,
}

/// An example.
#[derive(Clone, Debug)]
pub struct Case {
    /// Whether it must fire.
    pub fires: bool,
    /// Its number among those of its list, from 0.
    pub number: usize,
    /// Where it stands.
    pub place: Place,
    /// What is wrong.
    pub failure: Option<String>,
}

impl Case {
    /// As it is called in a report: `fires[0]`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}[{}]", if self.fires { "fires" } else { "silent" }, self.number)
    }
}

/// How many of how many passed.
#[derive(Clone, Copy, Default)]
struct Passed {
    passed: usize,
    all: usize,
}

impl Passed {
    fn of(rule: &Tested, fires: bool) -> Self {
        let cases = || rule.cases.iter().filter(|case| case.fires == fires);
        Self { passed: cases().filter(|case| case.failure.is_none()).count(), all: cases().count() }
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.all += other.all;
    }

    fn cell(self) -> String {
        format!("{}/{}", self.passed, self.all)
    }
}

/// A row for each rule, the failures, and totals.
#[must_use]
pub fn table(tested: &[Tested]) -> String {
    let mut out = format!("{:<13}  {:>7}  {:>7}  RULE\n", "LEVEL", "FIRES", "SILENT");
    let mut families: BTreeMap<&str, (usize, Passed, Passed)> = BTreeMap::new();
    for rule in tested {
        let (fires, silent) = (Passed::of(rule, true), Passed::of(rule, false));
        let _ = writeln!(out, "{:<13}  {:>7}  {:>7}  {}", rule.level.as_str(), fires.cell(), silent.cell(), rule.title);
        let family = families.entry(&rule.family).or_default();
        family.0 += 1;
        family.1.add(fires);
        family.2.add(silent);
    }
    let _ = writeln!(out, "\n{:<16}  {:>5}  {:>9}  {:>9}", "FAMILY", "RULES", "FIRES", "SILENT");
    for (family, (rules, fires, silent)) in families {
        let family = if family.is_empty() { "-" } else { family };
        let _ = writeln!(out, "{family:<16}  {rules:>5}  {:>9}  {:>9}", fires.cell(), silent.cell());
    }
    out.push('\n');
    for rule in tested {
        for (case, failure) in rule.cases.iter().filter_map(|case| Some((case, case.failure.as_ref()?))) {
            let _ = writeln!(out, "{}", told(rule, case, failure));
        }
    }
    let failed = tested.iter().flat_map(|rule| &rule.cases).filter(|case| case.failure.is_some()).count();
    let ran: usize = tested.iter().map(|rule| rule.cases.len()).sum();
    let _ = writeln!(out, "{} rules, {ran} examples, {failed} failed", tested.len());
    out
}

fn told(rule: &Tested, case: &Case, failure: &str) -> String {
    let Place { line, column } = case.place;
    format!("{}:{line}:{column}: {}: {}: this example {failure}", rule.path, rule.title, case.name())
}

/// JUnit XML: a suite for each file, a case for each example, the rule as its class.
///
/// # Errors
/// When it cannot be written.
pub fn junit(tested: &[Tested]) -> Result<String, quick_junit::SerializeError> {
    let mut suites: BTreeMap<&str, TestSuite> = BTreeMap::new();
    for rule in tested {
        let suite = suites.entry(&rule.path).or_insert_with(|| TestSuite::new(&*rule.path));
        for case in &rule.cases {
            let status = match &case.failure {
                None => TestCaseStatus::success(),
                Some(failure) => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status.set_message(format!("this example {failure}"));
                    status.set_description(told(rule, case, failure));
                    status
                }
            };
            let mut one = TestCase::new(case.name(), status);
            one.set_classname(&*rule.title);
            suite.add_test_case(one);
        }
    }
    let mut report = Report::new("kmswatch test");
    report.add_test_suites(suites.into_values());
    report.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tested() -> Vec<Tested> {
        let case = |fires, number, failure: Option<&str>| Case {
            fires,
            number,
            place: Place { line: 7, column: 9 },
            failure: failure.map(str::to_owned),
        };
        let rule = |path: &str, title: &str, cases| Tested {
            path: path.to_owned(),
            title: title.to_owned(),
            family: path.split('/').next().unwrap_or_default().to_owned(),
            level: Level::High,
            cases,
        };
        vec![
            rule(
                "grants/a.yml",
                "A <grant> & \"more\"",
                vec![case(true, 0, None), case(true, 1, Some("should \u{1b}[31mfire"))],
            ),
            rule("grants/a.yml", "Another", vec![case(false, 0, None)]),
            rule("alias/b.yml", "Alias", vec![case(false, 0, None)]),
        ]
    }

    #[test]
    fn a_table_with_totals() {
        let expected = "\
LEVEL            FIRES   SILENT  RULE
high               1/2      0/0  A <grant> & \"more\"
high               0/0      1/1  Another
high               0/0      1/1  Alias

FAMILY            RULES      FIRES     SILENT
alias                 1        0/0        1/1
grants                2        1/2        1/1

grants/a.yml:7:9: A <grant> & \"more\": fires[1]: this example should \u{1b}[31mfire
3 rules, 4 examples, 1 failed
";
        assert_eq!(table(&tested()), expected);
    }

    #[test]
    fn junit_is_whole_and_escaped() {
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="kmswatch test" tests="4" skipped="0" failures="1" errors="0">
    <testsuite name="alias/b.yml" tests="1" skipped="0" errors="0" failures="0">
        <testcase name="silent[0]" classname="Alias"/>
    </testsuite>
    <testsuite name="grants/a.yml" tests="3" skipped="0" errors="0" failures="1">
        <testcase name="fires[0]" classname="A &lt;grant&gt; &amp; &quot;more&quot;"/>
        <testcase name="fires[1]" classname="A &lt;grant&gt; &amp; &quot;more&quot;">
            <failure message="this example should fire">grants/a.yml:7:9: A &lt;grant&gt; &amp; &quot;more&quot;: fires[1]: this example should fire</failure>
        </testcase>
        <testcase name="silent[0]" classname="Another"/>
    </testsuite>
</testsuites>
"#;
        assert_eq!(junit(&tested()).unwrap(), expected);
    }
}
