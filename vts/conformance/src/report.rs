// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Results by requirement: a table for people, JSON and JUnit for machines.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use buffersync_testbed::command::made;
use buffersync_testbed::Failure;
use serde_json::json;

use super::requirements::Requirement;

/// The result of a test or a requirement. Of several results the worst one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Result {
    /// It holds.
    Ok,
    /// Nothing of it could be tried here.
    NotExercised,
    /// It does not hold.
    Failed,
}

impl Result {
    fn text(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotExercised => "not exercised",
            Self::Failed => "FAILED",
        }
    }
}

/// Gathers what a run prints.
pub struct Report {
    requirements: Vec<Requirement>,
    /// By `INSTANCE/MODULE::TEST`.
    tests: BTreeMap<String, Result>,
    /// The tests that noticed each wrong service; `None` if none did so far.
    faults: BTreeMap<&'static str, Option<String>>,
    /// Without a fault nothing failed.
    sound: bool,
}

impl Report {
    pub fn new(requirements: Vec<Requirement>, faults: impl Iterator<Item = &'static str>) -> Self {
        let faults = faults.map(|fault| (fault, None)).collect();
        Self { requirements, tests: BTreeMap::new(), faults, sound: false }
    }

    /// Takes a line of the run.
    pub fn read(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("wrong service ") {
            self.sound |= rest.ends_with(": nothing is wrong");
            if let Some((name, by)) = rest.split_once(": noticed by ") {
                if let Some(fault) = self.faults.get_mut(name) {
                    *fault = Some(by.to_string());
                }
            }
        }
        let Some((name, result)) = test_line(line) else { return };
        let worst = self.tests.entry(name.to_string()).or_insert(result);
        *worst = result.max(*worst);
    }

    /// The result of a requirement over all instances; `None` if no test asks.
    fn result(&self, requirement: &Requirement) -> Option<Result> {
        let of_test = |wanted: &String| {
            let results = self.tests.iter().filter_map(move |(name, result)| {
                let (_, test) = name.split_once('/')?;
                (test == wanted).then_some(*result)
            });
            results.max().unwrap_or(Result::NotExercised)
        };
        requirement.tests.iter().map(of_test).max()
    }

    /// True if every requirement holds and every wrong service was noticed.
    pub fn is_good(&self) -> bool {
        let holds = |requirement| self.result(requirement).is_none_or(|r| r == Result::Ok);
        let ran = !self.tests.is_empty() && self.tests.values().all(|r| *r != Result::Failed);
        ran && self.sound
            && self.requirements.iter().all(holds)
            && self.faults.values().all(Option::is_some)
    }

    /// Requirement, result and tests, line by line; then the wrong services.
    pub fn table(&self) -> String {
        let mut text =
            String::from("\nrequirement                             result         tests\n");
        for requirement in &self.requirements {
            if let Some(result) = self.result(requirement) {
                let tests = requirement.tests.join(", ");
                let _ = writeln!(text, "{:<39} {:<14} {tests}", requirement.id, result.text());
            }
        }
        text.push_str("\nwrong service                           noticed by\n");
        for (name, by) in &self.faults {
            let by = by.as_deref().unwrap_or("NOBODY");
            let _ = writeln!(text, "{name:<39} {by}");
        }
        text
    }

    /// Writes `report.json` and `junit.xml` into a folder, and says it in one line.
    pub fn finish(&self, folder: &Path) -> std::result::Result<String, Failure> {
        made(fs::create_dir_all(folder), "target/vts")?;
        made(fs::write(folder.join("report.json"), self.json()), "report.json")?;
        made(fs::write(folder.join("junit.xml"), self.junit()), "junit.xml")?;
        let asked = self.requirements.iter().filter_map(|r| self.result(r));
        let results: Vec<Result> = asked.collect();
        let good = results.iter().filter(|result| **result == Result::Ok).count();
        let noticed = self.faults.values().flatten().count();
        Ok(format!(
            "vts: {good} of {} requirements hold, {noticed} of {} wrong services noticed",
            results.len(),
            self.faults.len()
        ))
    }

    fn json(&self) -> String {
        let requirements: Vec<_> = self
            .requirements
            .iter()
            .map(|requirement| {
                json!({
                    "id": requirement.id,
                    "source": requirement.source,
                    "sentence": requirement.sentence,
                    "tests": requirement.tests,
                    "result": self.result(requirement).map_or("not asked", Result::text),
                })
            })
            .collect();
        let tests: BTreeMap<_, _> = self.tests.iter().map(|(k, v)| (k, v.text())).collect();
        let report =
            json!({ "requirements": requirements, "tests": tests, "wrong_services": self.faults });
        format!("{report:#}\n")
    }

    fn junit(&self) -> String {
        let count = |wanted| self.tests.values().filter(|result| **result == wanted).count();
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">\n",
            super::SUITE,
            self.tests.len(),
            count(Result::Failed),
            count(Result::NotExercised)
        );
        for (name, result) in &self.tests {
            let (class, test) = name.rsplit_once("::").unwrap_or(("", name));
            // Names are of words, slashes and colons: nothing to be escaped.
            let _ = write!(text, "  <testcase classname=\"{class}\" name=\"{test}\"");
            text.push_str(match result {
                Result::Ok => "/>\n",
                Result::NotExercised => "><skipped/></testcase>\n",
                Result::Failed => "><failure/></testcase>\n",
            });
        }
        text.push_str("</testsuite>\n");
        text
    }
}

/// `test default/locking::x   ... ok`
fn test_line(line: &str) -> Option<(&str, Result)> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let name = name.trim();
    let result = match result.trim() {
        "ok" => Result::Ok,
        "ignored" => Result::NotExercised,
        // Whatever a test prints stands before its result.
        text if text.ends_with("FAILED") => Result::Failed,
        _ => return None,
    };
    name.contains('/').then_some((name, result))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(id: &str, tests: &[&str]) -> Requirement {
        Requirement {
            id: id.into(),
            sentence: String::new(),
            source: "X.aidl".into(),
            tests: tests.iter().map(ToString::to_string).collect(),
        }
    }

    fn report() -> Report {
        let requirements = vec![
            requirement("A", &["m::one"]),
            requirement("B", &["m::one", "m::two"]),
            requirement("C", &[]),
        ];
        Report::new(requirements, ["f"].into_iter())
    }

    fn read(report: &mut Report, lines: &[&str]) {
        lines.iter().for_each(|line| report.read(line));
    }

    const GOOD: [&str; 4] = [
        "test default/m::one          ... ok",
        "test default/m::two ... ok",
        "wrong service f: noticed by m::two",
        "wrong service none: nothing is wrong",
    ];

    #[test]
    fn everything_has_to_be_said_for_a_good_report() {
        let mut all = report();
        assert!(!all.is_good(), "nothing has run");
        read(&mut all, &GOOD);
        assert!(all.is_good());
        for left_out in GOOD {
            let mut some = report();
            GOOD.iter().filter(|line| **line != left_out).for_each(|line| some.read(line));
            assert!(!some.is_good(), "without {left_out:?}");
        }
        read(&mut all, &["wrong service f: NOT NOTICED"]);
        let mut unnoticed = report();
        read(&mut unnoticed, &["wrong service f: NOT NOTICED"]);
        assert!(unnoticed.table().contains("NOBODY"));
    }

    #[test]
    fn the_worst_result_of_any_test_and_instance_is_the_requirements() {
        let mut report = report();
        read(&mut report, &GOOD);
        read(&mut report, &["test other/m::two ... FAILED"]);
        assert_eq!(report.result(&report.requirements[0]), Some(Result::Ok));
        assert_eq!(report.result(&report.requirements[1]), Some(Result::Failed));
        assert_eq!(report.result(&report.requirements[2]), None);
        assert!(!report.is_good());
        assert!(report.junit().contains("tests=\"3\" failures=\"1\""));
        assert!(report.json().contains("\"not asked\""));
    }

    #[test]
    fn other_lines_are_no_results() {
        for line in ["test result: ok. 3 passed", "test a ... ok", "test x/y ... maybe", ""] {
            assert_eq!(test_line(line), None, "{line}");
        }
        assert_eq!(test_line("test x/y ... ignored"), Some(("x/y", Result::NotExercised)));
    }
}
