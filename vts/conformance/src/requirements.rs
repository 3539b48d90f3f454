// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `vts/REQUIREMENTS.md`, held against what it is about.
//!
//! Each row quotes a sentence of an AIDL comment or of a document, and names tests. Noticed are: a quote that
//! its source has not, a test that is gone, a test without a row, and a new sentence of the AIDL. For the
//! last, each section says how many sentences of its file ask nothing of a service and have no row.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use buffersync_testbed::checkout::root;

/// The error says what is wrong.
type Result<T> = std::result::Result<T, String>;

/// One row of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Its name, for ever.
    pub id: String,
    /// The words of the interface or the document.
    pub sentence: String,
    /// The heading above it: an AIDL file, or a document.
    pub source: String,
    /// The tests that fail when it is not so; none where the list says why no test can ask.
    pub tests: Vec<String>,
}

/// The list: its rows, and how many sentences of each AIDL file have none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct List {
    rows: Vec<Requirement>,
    without: BTreeMap<String, usize>,
}

/// Before the number of a file's sentences that have no row.
const WITHOUT: &str = "Sentences that ask nothing of a service: ";

/// Reads the list and checks it against its sources and the suite's tests.
pub fn checked(suite: &BTreeSet<String>) -> Result<Vec<Requirement>> {
    let list = parse(&read(&root().join("vts/REQUIREMENTS.md"))?)?;
    check_interface(&list)?;
    check_documents(&list.rows)?;
    check_tests(&list.rows, suite)?;
    Ok(list.rows)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn parse(text: &str) -> Result<List> {
    let mut source = String::new();
    let mut without = BTreeMap::new();
    let mut list: Vec<Requirement> = Vec::new();
    for line in text.lines() {
        if let Some(count) = line.strip_prefix(WITHOUT) {
            let count = count.trim_end_matches('.').parse();
            without.insert(source.clone(), count.map_err(|_| format!("no number: {line}"))?);
        }
        if let Some(heading) = line.strip_prefix("## ") {
            source = heading.to_string();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", id, sentence, tests, ""] = cells[..] else { continue };
        if id == "requirement" || id.starts_with("---") {
            continue;
        }
        if list.iter().any(|other| other.id == id) {
            return Err(format!("{id} is there twice"));
        }
        let tests = if tests.starts_with('—') { Vec::new() } else { names(tests) };
        let (id, sentence) = (id.to_string(), sentence.replace("&#124;", "|"));
        list.push(Requirement { id, sentence, source: source.clone(), tests });
    }
    if list.is_empty() {
        return Err("there are no requirements".into());
    }
    Ok(List { rows: list, without })
}

fn names(cell: &str) -> Vec<String> {
    cell.split(',').map(|name| name.trim().to_string()).collect()
}

fn check_interface(list: &List) -> Result<()> {
    let mut rows: Vec<(&str, &str)> =
        list.rows.iter().map(|row| (row.source.as_str(), row.sentence.as_str())).collect();
    let folder = root().join("aidl/vendor/buffersync");
    let files = fs::read_dir(&folder).map_err(|error| error.to_string())?.flatten();
    for path in files.map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut without = sentences(&read(&path)?);
        without.retain(|sentence| {
            let row = rows.iter().position(|row| *row == (name.as_str(), sentence.as_str()));
            row.map(|row| rows.swap_remove(row)).is_none()
        });
        let expected = list.without.get(&name).copied().unwrap_or(0);
        if without.len() != expected {
            return Err(format!(
                "{name}: {} sentences have no row, the list says {expected}. Give a new one that asks \
                 something of a service a row and tests, or count it. Without a row are:\n    {}",
                without.len(),
                without.join("\n    ")
            ));
        }
    }
    match rows.iter().find(|(source, _)| source.ends_with(".aidl")) {
        Some((source, sentence)) => Err(format!("{source} does not say any more: {sentence}")),
        None => Ok(()),
    }
}

/// The sentences of an AIDL file's comments, without pictures. An `@` tag begins one.
fn sentences(aidl: &str) -> Vec<String> {
    let mut all = Vec::new();
    for comment in aidl.split("/**").skip(1).filter_map(|rest| rest.split("*/").next()) {
        let mut text = comment.to_string();
        while let (Some(from), Some(to)) = (text.find("<pre>"), text.find("</pre>")) {
            text.replace_range(from..to + "</pre>".len(), "");
        }
        let lines = text.lines().map(|line| line.trim().trim_start_matches('*').trim());
        let words = lines.flat_map(str::split_whitespace);
        let mut sentence = String::new();
        let mut ended = false;
        for word in words {
            let tag = ["@param", "@return", "@throws"].contains(&word);
            let capital = word.starts_with(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit());
            if !sentence.is_empty() && (tag || ended && capital) {
                all.push(std::mem::take(&mut sentence));
            }
            if !sentence.is_empty() {
                sentence.push(' ');
            }
            sentence.push_str(word);
            ended = word.ends_with('.');
        }
        all.extend((!sentence.is_empty()).then_some(sentence));
    }
    all
}

fn check_documents(list: &[Requirement]) -> Result<()> {
    for requirement in list.iter().filter(|r| r.source.ends_with(".md")) {
        let text = read(&root().join(&requirement.source))?.replace("\\|", "|");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if !text.contains(&requirement.sentence) {
            let Requirement { id, source, .. } = requirement;
            return Err(format!("{id}: {source} does not say that any more"));
        }
    }
    Ok(())
}

fn check_tests(list: &[Requirement], suite: &BTreeSet<String>) -> Result<()> {
    let bound: BTreeSet<String> = list.iter().flat_map(|r| r.tests.iter().cloned()).collect();
    let gone: Vec<_> = bound.difference(suite).collect();
    let unbound: Vec<_> = suite.difference(&bound).collect();
    if !gone.is_empty() || !unbound.is_empty() {
        return Err(format!("tests that are gone: {gone:?}; tests of nothing: {unbound:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_taken_apart_into_sentences() {
        let aidl = "/**\n * One thing (e.g. that). Another,\n * of two lines: yes.\n * <pre>\n * a.  B.\n \
                    * </pre>\n *\n * @param x what it is. More.\n * @throws E. */\nvoid f();\n/** Last */";
        let expected = [
            "One thing (e.g. that).",
            "Another, of two lines: yes.",
            "@param x what it is.",
            "More.",
            "@throws E.",
            "Last",
        ];
        assert_eq!(sentences(aidl), expected);
    }

    #[test]
    fn rows_are_read_and_names_are_unique() {
        let text = "## X.aidl\nSentences that ask nothing of a service: 2.\n\
                    | requirement | sentence | tests |\n|---|---|---|\n\
                    | X-1 | a &#124; b | m::t, m::u |\n| X-2 | c | m::t |\n";
        let list = parse(text).unwrap();
        assert_eq!(list.rows[0].sentence, "a | b");
        assert_eq!((list.rows[0].tests.len(), list.without["X.aidl"]), (2, 2));
        assert!(parse(&text.replace("X-2", "X-1")).is_err() && parse("nothing").is_err());
        assert!(parse(&text.replace(": 2.", ": some.")).is_err());
    }

    #[test]
    fn a_test_that_is_gone_and_a_test_of_nothing_are_noticed() {
        let list = parse("| X-1 | a | m::t |").unwrap().rows;
        let suite = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        assert!(check_tests(&list, &suite(&["m::t"])).is_ok());
        assert!(check_tests(&list, &suite(&[])).is_err());
        assert!(check_tests(&list, &suite(&["m::t", "m::u"])).is_err());
    }

    #[test]
    fn a_sentence_that_is_not_listed_and_one_that_is_not_said_are_noticed() {
        let text = read(&root().join("vts/REQUIREMENTS.md")).unwrap();
        let right = parse(&text).unwrap();
        check_interface(&right).unwrap();
        check_documents(&right.rows).unwrap();
        let mut list = right.clone();
        let removed = list.rows.remove(0);
        assert!(check_interface(&list).unwrap_err().contains(&removed.sentence));
        let invented = Requirement { sentence: "The moon is a buffer.".into(), ..removed };
        list.rows = [right.rows, vec![invented.clone()]].concat();
        assert!(check_interface(&list).unwrap_err().contains("moon"));
        let source = "docs/design.md".to_string();
        assert!(check_documents(&[Requirement { source, ..invented }]).is_err());
    }
}
